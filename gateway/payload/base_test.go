package payload

import (
	"bytes"
	"testing"

	"minikv/internal/object"
)

// TestRunsAreNamedOnceAndInOrder: names differ across blocks and writers, ascend within a block, and spread over shards.
func TestRunsAreNamedOnceAndInOrder(t *testing.T) {
	const shards, each = 256, baseBlock + 1000
	seen := make(map[object.RunBase]bool)
	var perShard [shards]int
	for range 2 {
		b, before := new(bases), object.RunBase{}
		for i := range each {
			base := b.next(1)
			if seen[base] {
				t.Fatal("a name came twice")
			}
			if base.Blob(0) != object.BlobID(base) || base[0] != 1 {
				t.Fatalf("%v is no base of pool 1", base)
			}
			if i%baseBlock > 0 && bytes.Compare(before[:], base[:]) >= 0 {
				t.Fatalf("%v after %v", base, before)
			}
			seen[base], before = true, base
			perShard[base.Blob(0).Shard(shards)]++
		}
	}
	for s, n := range perShard {
		if mean := 2 * each / shards; n < mean/2 || n > 2*mean {
			t.Errorf("shard %d has %d of %d runs", s, n, 2*each)
		}
	}
}
