package rebalance

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/coordinator/meta"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// loses takes a blob from a volume, and says so in a row.
func (w *world) loses(v uint32, id object.BlobID) {
	w.t.Helper()
	w.mu.Lock()
	delete(w.volumes[v].blobs, id)
	w.mu.Unlock()
	w.do(&metapb.Command{Op: &metapb.Command_ReportMissing{ReportMissing: &metapb.ReportMissing{Rows: []*metapb.MissingRow{
		{Blob: id[:], Volume: v, Reason: meta.MissingLost},
	}}}})
}

// repaired brings members what their rows say.
func (w *world) repaired() {
	w.t.Helper()
	rows := w.missing()
	w.mu.Lock()
	for _, x := range rows {
		w.volumes[x.Volume].blobs[object.BlobID(x.Blob)] = true
	}
	w.mu.Unlock()
	w.do(&metapb.Command{Op: &metapb.Command_ClearMissing{ClearMissing: &metapb.ClearMissing{Rows: rows}}})
}

// TestWhatOnlyAVolumeThatIsDownHas comes to a joining volume, too: a move does not go by the lists of members that all lack blobs, neither
// to its end, where no row is of who stays, nor as far as to where it goes on when they were repaired.
func TestWhatOnlyAVolumeThatIsDownHas(t *testing.T) {
	for _, x := range []struct {
		name        string
		replication uint32
		holds, goes uint32 // has the only copy and is down; leaves
	}{
		{"and stays", 2, 1, 2},
		{"and is replaced", 3, 1, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, x.replication, int(x.replication)+1)
				ids := putMany(w, 20)
				last := w.put("last")
				for v := uint32(1); v <= x.replication; v++ {
					if v != x.holds {
						w.loses(v, last)
					}
				}
				w.volumes[x.holds].down = true
				w.state(x.goes, meta.VolumeIn, meta.VolumeOut)
				m := New(w, w, Config{Up: w.up})
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { m.Run(ctx) })
				time.Sleep(time.Minute)
				w.whole(append(ids, last)...)
				w.mu.Lock()
				w.volumes[x.holds].down = false
				w.mu.Unlock()
				w.repaired()
				time.Sleep(time.Minute)
				cancel()
				wg.Wait()
				n, moving := holding(w.layout(), x.goes)
				require.Zero(t, n)
				require.Zero(t, moving)
				w.whole(append(ids, last)...)
			})
		})
	}
}
