package consensus

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFollowersLookOneAfterTheOther: each once, a little later than the one before it, and not when the leader is heard.
func TestFollowersLookOneAfterTheOther(t *testing.T) {
	for rank, want := range []time.Duration{time.Second, 1100 * time.Millisecond, 1200 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := silence{timeout: time.Second}
			begin := time.Now()
			heard := begin
			var looks []time.Duration
			for time.Since(begin) < 10*time.Second {
				time.Sleep(50 * time.Millisecond) // a bubble's
				if time.Since(begin) < 5*time.Second {
					heard = time.Now()
				}
				if s.over(heard, func() int { return rank }) {
					looks = append(looks, time.Since(heard))
				}
			}
			require.Len(t, looks, 1)
			require.GreaterOrEqual(t, looks[0], want)
			require.LessOrEqual(t, looks[0], want+100*time.Millisecond)
		})
	}
}

// TestWhoStoodStillHearsFirstWhatWaits: the first look after a long pause says nothing.
func TestWhoStoodStillHearsFirstWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silence{timeout: time.Second}
		heard := time.Now()
		time.Sleep(time.Minute) // a bubble's
		first := func() int { return 0 }
		require.False(t, s.over(heard, first))
		require.False(t, s.over(time.Now(), first), "a heartbeat had waited")
		require.False(t, s.over(time.Time{}, first), "no leader was ever heard")
	})
}
