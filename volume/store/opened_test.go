package store

import (
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// TestAFailedOpenLeavesNothingBehind: no file is open and nothing is done any more in a folder that could not be opened; it may be another's by
// then.
func TestAFailedOpenLeavesNothingBehind(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, mem *vfs.Mem) (vfs.Hooks, Options){
		"of another program": func(t *testing.T, mem *vfs.Mem) (vfs.Hooks, Options) {
			must(t, mem.Remove("/v/"+volumeName))
			return vfs.Hooks{}, tiny(nil)
		},
		"while a segment is made ahead": func(t *testing.T, mem *vfs.Mem) (vfs.Hooks, Options) {
			o := tiny(nil)
			o.noSpares, o.FirstSegment, o.SmallSegment = false, 512<<10, 512<<10
			made, late := atomic.Int64{}, atomic.Bool{}
			return vfs.Hooks{Before: func(op vfs.Op) vfs.Fault {
				switch {
				case op.Kind == vfs.OpPreallocate && made.Add(1) > 1:
					return vfs.Fault{Delay: time.Minute} // the segment that is made ahead, when half of the first is used
				case op.Kind == vfs.OpWrite && op.Off > 300<<10 && op.Len < 4000: // the seal, which comes last
					late.Store(true)
				case op.Kind == vfs.OpSync && late.Load():
					return vfs.Fault{Err: syscall.EIO}
				}
				return vfs.Fault{}
			}}, o
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := vfs.NewMem()
				o := tiny(mem)
				o.Fsync, o.FirstSegment = Never, 512<<10
				st, err := Open("/v", o)
				must(t, err)
				put(t, st, 0, 4000)
				release, err := st.small.park() // it is synced
				must(t, err)
				release()
				for n := 1; n < 100; n++ {
					put(t, st, n, 4000)
				}
				crashed := mem.CrashClone(vfs.Survival{Percent: 100})
				must(t, st.Close())

				hooks, o := fail(t, crashed)
				files, ended := atomic.Int64{}, atomic.Bool{}
				fs := vfs.NewInject(crashed, vfs.Hooks{Before: hooks.Before, After: func(op vfs.Op, err error) {
					switch {
					case ended.Load():
						t.Errorf("%v of %s after Open failed", op.Kind, op.Path)
					case !contains(op.Path, ".seg"):
					case err == nil && (op.Kind == vfs.OpOpen || op.Kind == vfs.OpCreate):
						files.Add(1)
					case err == nil && op.Kind == vfs.OpClose:
						files.Add(-1)
					}
				}})
				o.FS = fs
				_, err = Open("/v", o)
				ended.Store(true)
				if err == nil || errs.Is(err, errs.Conflict) {
					t.Fatal(err)
				}
				if n := files.Load(); n != 0 {
					t.Errorf("%d files are open", n)
				}
				time.Sleep(time.Hour) // of the bubble: nobody works on
				synctest.Wait()
			})
		})
	}
}
