package store

import (
	"syscall"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// TestAnIndexThatCannotBeWrittenGivesItsSpaceBack: on a full disk what there is of an index must not take the room that deletes need.
func TestAnIndexThatCannotBeWrittenGivesItsSpaceBack(t *testing.T) {
	for _, name := range []string{indexName, filterName} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			fs := vfs.NewInject(mem, vfs.Hooks{})
			st, err := Open("/v", tiny(fs))
			must(t, err)
			for n := range 100 {
				put(t, st, n, 100)
			}
			fs.SetHooks(vfs.Hooks{Before: vfs.FailNth(1, vfs.OnPath(name+".tmp", vfs.Kinds(vfs.OpWrite)), syscall.ENOSPC, 4096)})
			if err := st.Checkpoint(); (err != nil) != (name == indexName) {
				t.Fatal(err)
			}
			if _, err := mem.Stat("/v/" + name + ".tmp"); !vfs.IsNotExist(err) {
				t.Fatalf("%s.tmp is left: %v", name, err)
			}
			fs.SetHooks(vfs.Hooks{})
			must(t, st.Checkpoint())
			st = reopen(t, st)
			for n := range 100 {
				check(t, st, n, 100)
			}
			must(t, st.Close())
		})
	}
}

// TestAnIndexNeedsRoom: one for which there is no room is not begun.
func TestAnIndexNeedsRoom(t *testing.T) {
	mem := vfs.NewMem()
	created := 0
	fs := vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		if op.Kind == vfs.OpCreate && contains(op.Path, indexName) {
			created++
		}
	}})
	st, err := Open("/v", tiny(fs))
	must(t, err)
	for n := range 1000 {
		put(t, st, n, 0)
	}
	u, err := mem.GetDiskUsage("/v")
	must(t, err)
	mem.SetCapacity(int64(u.UsedBytes) + 20<<10)
	err = st.Checkpoint()
	if !errs.Is(err, errs.Unavailable) || created > 0 {
		t.Fatalf("%v, begun %d times", err, created)
	}
	must(t, st.Delete(ctx, testID(1)))
	mem.SetCapacity(0)
	must(t, st.Checkpoint())
	must(t, st.Close())
}

// TestLostPiecesKeepTheNumber: a segment does not get the number of one whose lost pieces are kept: they would be taken for its own.
func TestLostPiecesKeepTheNumber(t *testing.T) {
	mem := vfs.NewMem()
	must(t, mem.MkdirAll("/v", 0o755))
	must(t, vfs.AtomicWriteFile(mem, "/v/00000009.small.seg"+lostSuffix, []byte("pieces"), 0o600))
	st, err := Open("/v", tiny(mem))
	must(t, err)
	put(t, st, 1, 100)
	if n := st.small.active.Number; n != 10 {
		t.Fatalf("segment %d", n)
	}
	must(t, st.Close())
}
