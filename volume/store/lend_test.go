package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"minikv/internal/object"
	"minikv/internal/vfs"
)

// cutInto cuts data into pieces of the given lengths, each at an address that is or is not a multiple of vfs.DirectAlign.
func cutInto(data []byte, aligned bool, lengths ...int) (pieces [][]byte) {
	for i := 0; len(data) > 0; i++ {
		n := min(lengths[i%len(lengths)], len(data))
		b := vfs.AlignedBuffer(n + 1)
		if !aligned {
			b = b[1:]
		}
		pieces, data = append(pieces, b[:copy(b[:n], data)]), data[n:]
	}
	return pieces
}

// TestLentBytes: however the bytes of a large blob lie in memory, written from there or copied, the same blob comes of them, and the
// memory is the caller's again.
func TestLentBytes(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"disk": vfs.OS(), "memory": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := "/v"
			if name == "disk" {
				dir = filepath.Join(t.TempDir(), "v")
			}
			o := tiny(fs)
			o.BlobMax, o.LargeSegment = 1<<20, 4<<20
			st, err := Open(dir, o)
			must(t, err)
			var wg sync.WaitGroup
			n := 0
			var lengths []int
			for _, length := range []int{8 << 10, 64 << 10, 64<<10 + 1, 200_000, 1 << 20} {
				for _, cut := range [][]int{{1 << 20}, {64 << 10}, {4096, 5000}, {8192, 12288}, {10_000}} {
					for _, aligned := range []bool{true, false} {
						id, pieces := n, cutInto(testData(n, length), aligned, cut...)
						wg.Go(func() {
							durable, err := st.Prepare(ctx, testID(id), object.Epochs{Cluster: 1}, pieces)
							if !durable || err != nil {
								t.Error(durable, err)
							}
							for _, p := range pieces {
								clear(p)
							}
						})
						lengths = append(lengths, length)
						n++
					}
				}
			}
			wg.Wait()
			for range 2 {
				for n, length := range lengths {
					check(t, st, n, length)
				}
				must(t, st.Close())
				st, err = Open(dir, o)
				must(t, err)
			}
			must(t, st.Close())
		})
	}
}

// TestLendable: what is aligned and long is written from where it is; the rest is copied.
func TestLendable(t *testing.T) {
	for _, c := range []struct {
		aligned bool
		cut     int
		pieces  int // of the write
	}{
		{true, 64 << 10, 7},  // header, two lent, end and next header, two lent, end
		{true, 32 << 10, 1},  // too short
		{true, 65 << 10, 5},  // the second is too short, the third does not begin at a multiple of a block
		{false, 64 << 10, 1}, // elsewhere in a block
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			st, err := Open("/v", Options{FS: vfs.NewMem(), Reserve: -1, Ballast: -1})
			must(t, err)
			defer st.Close()
			b, layout := newBatch(1<<20, st.o.lendMin), st.large.layout
			for n := range 2 {
				data := testData(n, 140_000)
				it := item{data: cutInto(data, c.aligned, c.cut), lend: true}
				it.h.Length = uint32(len(data))
				b.fill(layout, b.reserve(layout, &it), &it)
			}
			got, length := b.parts(layout, 0), 0
			for _, p := range got {
				length += len(p)
			}
			if len(got) != c.pieces || length != b.used {
				t.Fatalf("%d pieces of %d bytes, want %d of %d", len(got), length, c.pieces, b.used)
			}
		})
	}
}

// TestEndedContextTakesBack: a writer whose context ends has its memory again when Prepare returns. Its blob, which may be there or
// not, is whole.
func TestEndedContextTakesBack(t *testing.T) {
	const n, length = 1, 60_000
	for _, late := range []bool{false, true} {
		t.Run(map[bool]string{false: "before it is written", true: "while it is written"}[late], func(t *testing.T) {
			var returned atomic.Bool
			ending, end := context.WithCancel(ctx)
			defer end()
			fs := vfs.NewInject(vfs.NewMem(), vfs.Hooks{})
			st, err := Open("/v", tiny(fs))
			must(t, err)
			put(t, st, 0, length) // there is a segment
			release, err := st.large.park()
			must(t, err)
			if late {
				fs.SetHooks(vfs.Hooks{Before: func(op vfs.Op) vfs.Fault {
					if op.Kind == vfs.OpWrite {
						end()
						for i := 0; i < 1000 && !returned.Load(); i++ {
							runtime.Gosched()
						}
					}
					return vfs.Fault{}
				}})
			}
			done := make(chan error)
			go func() {
				data := testData(n, length)
				_, err := st.Prepare(ending, testID(n), object.Epochs{Cluster: 1}, [][]byte{data})
				clear(data)
				returned.Store(true)
				done <- err
			}()
			for gathered := 0; gathered == 0; runtime.Gosched() {
				st.large.mu.Lock()
				if st.large.open != nil {
					gathered = st.large.open.used
				}
				st.large.mu.Unlock()
			}
			if late {
				release()
				must(t, <-done)
			} else {
				end()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				release()
			}
			fs.SetHooks(vfs.Hooks{})
			put(t, st, 2, length) // it is written by now
			check(t, st, n, length)
			must(t, st.Close())
		})
	}
}
