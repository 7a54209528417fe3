package coordinator

import (
	"testing"
	"time"
)

// TestAges: what was applied a delay ago is old, not much later and never sooner, and little is remembered.
func TestAges(t *testing.T) {
	const delay = 15 * time.Minute
	a := &ages{delay: delay}
	applied := map[uint64]time.Duration{}
	index := uint64(0)
	for now := time.Duration(0); now < 10*delay; now += 10 * time.Second {
		index++
		applied[index] = now
		a.note(index, now)
		old := a.old(now)
		if old > 0 && now-applied[old] < delay {
			t.Fatalf("at %v the entry of %v is old", now, applied[old])
		}
		if now > 2*delay && now-applied[old] > delay+2*a.every() {
			t.Fatalf("at %v only the entry of %v is old", now, applied[old])
		}
		if len(a.seen) > 2*agesSteps {
			t.Fatalf("%d are remembered", len(a.seen))
		}
	}
}
