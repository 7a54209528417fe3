package segment

import (
	"testing"

	"minikv/internal/vfs"
	"minikv/volume/record"
)

// TestFilled appends groups of odd lengths, ended with whole pages, to segments that were zeroed ahead, all of them or less: every record is
// where it belongs, and the file has as many bytes as it should.
func TestFilled(t *testing.T) {
	const capacity = 3*fillStep + 1000
	for name, x := range map[string]struct {
		steps  int // after which it is enough; 0: never
		zeroed int64
	}{
		"all": {0, capacity / pageLen * pageLen}, "none": {1, HeaderLen}, "one step": {2, HeaderLen + fillStep},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			stop := func() error {
				if asked++; asked == x.steps {
					return ErrEnough
				}
				return nil
			}
			f, err := Create(vfs.OS(), t.TempDir(), Header{Number: 7, Seed: 99, Capacity: capacity, Kind: Small}, capacity, stop)
			must(t, err)
			defer f.Release()
			if f.zeroed != x.zeroed {
				t.Fatalf("zeroed up to %d, want %d", f.zeroed, x.zeroed)
			}
			var at []int64
			for n := 0; ; n++ {
				b := put(f, f.Pos(), record.Header{Type: record.Blob, ID: id(n), Sequence: uint64(n + 1)}, make([]byte, 1+(n*997)%9000))
				if int64(len(b)) > f.Room() {
					break
				}
				pad := f.Padding(len(b))
				if end := f.Pos() + int64(len(b)); end < x.zeroed && (end+int64(pad))%pageLen != 0 || end >= x.zeroed && pad != 0 {
					t.Fatalf("%d zeros after %d", pad, end)
				}
				at = append(at, f.Pos())
				must(t, f.AppendPadded(pad, append(b, make([]byte, pad)...)))
			}
			must(t, f.Sync())
			gaps, err := f.Scan(HeaderLen, f.Pos(), func(off int64, _ record.Header, _ []byte) error {
				if off != at[0] {
					t.Fatalf("a record at %d, want %d", off, at[0])
				}
				at = at[1:]
				return nil
			})
			must(t, err)
			if len(gaps) > 0 || len(at) > 0 {
				t.Fatalf("gaps %v, %d records left", gaps, len(at))
			}
			fi, err := f.r.Stat()
			must(t, err)
			if fi.Size() != capacity {
				t.Fatalf("the file has %d bytes", fi.Size())
			}
		})
	}
}
