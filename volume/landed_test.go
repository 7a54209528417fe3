package volume

import (
	"bytes"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
)

// TestFetchWaitsForWhatIsOnItsWay: a blob that is being written, and can be read before it is on disk, is not there yet: the leader would strike
// it off the list of what is missing, and a failed sync takes it back.
func TestFetchWaitsForWhatIsOnItsWay(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const many = 20
			syncs, hold := atomic.Int64{}, []chan struct{}{make(chan struct{}), make(chan struct{})}
			fs := vfs.NewInject(vfs.NewMem(), vfs.Hooks{})
			s := open(t, fs)
			prepare(t, s, run(200).Blob(0), 1) // makes a segment
			fs.SetHooks(vfs.Hooks{Before: func(op vfs.Op) vfs.Fault {
				if n := syncs.Add(1); op.Kind == vfs.OpSync && n <= 2 {
					<-hold[n-1]
					if fails && n == 2 {
						return vfs.Fault{Err: syscall.EIO}
					}
				} else if op.Kind != vfs.OpSync {
					syncs.Add(-1)
				}
				return vfs.Fault{}
			}})
			data := bytes.Repeat([]byte("0123456789abcdef"), 100)
			ends := make(chan error, many+1)
			begin := func(n byte) {
				go func() {
					_, err := s.Prepare(ctx, run(n).Blob(0), object.Epochs{Cluster: 1}, [][]byte{data})
					ends <- err
				}()
			}
			begin(100)
			synctest.Wait() // it is being synced, the others gather
			for n := range many {
				begin(byte(n))
			}
			synctest.Wait()
			close(hold[0])
			synctest.Wait() // the group of the others is being synced

			got := make(chan object.Fetched, 1)
			go func() {
				want := []object.Want{{ID: run(1).Blob(0), Length: int64(len(data)), Epochs: object.Epochs{Cluster: 1}}}
				got <- s.Fetch(ctx, want, sources(nil))[0]
			}()
			synctest.Wait()
			select {
			case f := <-got:
				t.Errorf("before the sync ended: %+v", f)
				got <- f
			default:
			}
			close(hold[1])
			f := <-got
			for range many + 1 {
				if err := <-ends; (err != nil) != fails && !(err == nil && fails) {
					t.Error(err)
				}
			}
			_, err := s.Stat(run(1).Blob(0))
			if here := err == nil; here == fails || (f.Outcome == object.FetchHad) != here {
				t.Errorf("failing %v: %+v, and then %v", fails, f, err)
			}
			if fails && !errs.Is(err, errs.BlobMissing) {
				t.Error(err)
			}
			must(t, s.Close())
		})
	}
}
