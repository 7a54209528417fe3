package store

import (
	"strings"
	"testing"

	"minikv/internal/vfs"
	"minikv/volume/segment"
)

// TestSegmentGoneAfterCleanClose: a clean close leaves all segments that its index names, so one that is gone then was lost, with its living
// blobs. After a crash it may have been removed in good order, which is not told apart.
func TestSegmentGoneAfterCleanClose(t *testing.T) {
	for _, clean := range []bool{true, false} {
		mem := vfs.NewMem()
		st, err := Open("/v", tiny(mem))
		must(t, err)
		put(t, st, 1, 3000)
		put(t, st, 2, 20000)
		e, _, err := st.index.Get(testID(2))
		must(t, err)
		must(t, st.Close())
		must(t, mem.Remove("/v/"+segment.Name(uint64(e.Segment), segment.Large)))
		if !clean {
			must(t, mem.Remove("/v/"+cleanName))
		}
		st, err = Open("/v", tiny(mem))
		must(t, err)
		switch d := st.Damage(); {
		case clean && (len(d) != 1 || !strings.HasPrefix(d[0].Segment, segmentNumber(uint64(e.Segment))) || !strings.Contains(d[0].Cause, "1 living blobs")):
			t.Errorf("%+v", d)
		case !clean && len(d) != 0:
			t.Errorf("after a crash: %+v", d)
		}
		check(t, st, 1, 3000)
		must(t, st.Close())
		st, err = Open("/v", tiny(mem))
		must(t, err)
		if d := st.Damage(); len(d) != 0 {
			t.Errorf("told again, of an index that does not name it: %+v", d)
		}
		must(t, st.Close())
	}
}
