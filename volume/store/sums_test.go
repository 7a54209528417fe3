package store

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"minikv/internal/vfs"
	"minikv/volume/record"
)

// TestSumsWithHelp compares checksums of blobs in pieces of any length, summed by several writers and the helper, with those of one goroutine.
func TestSumsWithHelp(t *testing.T) {
	st, err := Open("/v", tiny(vfs.NewMem()))
	must(t, err)
	defer func() { must(t, st.Close()) }()
	most := make([]byte, 2<<20)
	for i, x := 0, rand.NewPCG(1, 1); i < len(most); i += 8 {
		binary.LittleEndian.PutUint64(most[i:], x.Uint64())
	}
	var wg sync.WaitGroup
	for w := range uint64(3) {
		rng := rand.New(rand.NewPCG(w, 1))
		wg.Go(func() {
			for range 20 {
				length := rng.IntN(len(most))
				all := most[len(most)-length:]
				var data [][]byte
				for rest := all; len(rest) > 0; {
					n := min(len(rest), 1+rng.IntN(1<<(10+rng.IntN(12))))
					data, rest = append(data, rest[:n]), rest[n:]
				}
				before := []uint32{1, 2}
				want := record.Sums(slices.Clone(before), [][]byte{all})
				if got := st.sumsOf(before, data, length); !slices.Equal(got, want) {
					t.Errorf("sums of %d bytes in %d pieces differ", length, len(data))
				}
			}
		})
	}
	wg.Wait()
}
