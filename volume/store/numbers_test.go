package store

import (
	"errors"
	"syscall"
	"testing"

	"minikv/internal/object"
	"minikv/internal/vfs"
)

// TestNumbersOfSegmentsAreNotUsedAgain: a seal may outlive the segment that it speaks of, in one of a lower number. When all segments of
// higher numbers are gone, a crash must not give that number to another, which would end where the old one did.
func TestNumbersOfSegmentsAreNotUsedAgain(t *testing.T) {
	mem := vfs.NewMem()
	fs := vfs.NewInject(mem, vfs.Hooks{})
	o := tiny(fs)
	o.OverlayMax = 1000 // tidying writes no index
	st, err := Open("/v", o)
	must(t, err)
	fail := func(n int) {
		t.Helper()
		fs.SetHooks(vfs.Hooks{Before: vfs.FailNth(1, vfs.OnPath("*.large.seg*", vfs.Kinds(vfs.OpSync)), syscall.EIO, 0)})
		if _, err := st.Prepare(ctx, testID(n), object.Epochs{Cluster: 5}, [][]byte{testData(n, 20000)}); err == nil {
			t.Fatal("a failed sync was acknowledged")
		}
		fs.SetHooks(vfs.Hooks{})
	}
	drop := func(n, left int) {
		t.Helper()
		must(t, st.Delete(ctx, testID(n)))
		must(t, st.Tidy(ctx))
		if s := st.Stats(); s.Segments != left {
			t.Fatalf("%d segments, want %d", s.Segments, left)
		}
	}
	put(t, st, 1, 100) // keeps the first segment, of small blobs
	put(t, st, 2, 20000)
	fail(9)              // ends the second early
	put(t, st, 3, 20000) // begins the third, behind the seal of the second
	fail(9)
	drop(3, 2) // the seal of the second goes to the first
	drop(2, 1)

	st, err = Open("/v", tiny(mem.CrashClone(vfs.Survival{Percent: 100})))
	must(t, err)
	for n := 10; n < 30; n++ {
		put(t, st, n, 4000)
	}
	again, err := Open("/v", tiny(st.o.FS.(*vfs.Mem).CrashClone(vfs.Survival{})))
	must(t, err)
	check(t, again, 1, 100)
	for n := 10; n < 30; n++ {
		check(t, again, n, 4000)
	}
	if d := again.Damage(); len(d) > 0 {
		t.Fatalf("%+v", d)
	}
	must(t, again.Close())
	must(t, st.Close())
}

// TestTheIndexIsWrittenAfterAFailure: the log of large blobs failed and nobody writes to it any more; the seal that it owes must not keep the
// index from being written down for ever.
func TestTheIndexIsWrittenAfterAFailure(t *testing.T) {
	mem := vfs.NewMem()
	fs := vfs.NewInject(mem, vfs.Hooks{})
	st, err := Open("/v", tiny(fs))
	must(t, err)
	put(t, st, 1, 20000)
	fs.SetHooks(vfs.Hooks{Before: vfs.FailNth(1, vfs.OnPath("*.large.seg*", vfs.Kinds(vfs.OpSync)), syscall.EIO, 0)})
	if _, err := st.Prepare(ctx, testID(2), object.Epochs{Cluster: 5}, [][]byte{testData(2, 20000)}); err == nil {
		t.Fatal("a failed sync was acknowledged")
	}
	fs.SetHooks(vfs.Hooks{Before: vfs.FailFrom(1, vfs.OnPath("*.large.seg*", vfs.Kinds(vfs.OpCreate)), syscall.EIO)})
	for n := 10; n < 30; n++ {
		put(t, st, n, 100)
	}
	if err := st.Checkpoint(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("it cannot be sealed, and says %v", err)
	}
	fs.SetHooks(vfs.Hooks{})
	must(t, st.Tidy(ctx))
	if s := st.Stats(); s.Checkpoints != 1 || st.index.New() > 0 {
		t.Fatalf("%d checkpoints, %d entries are newer", s.Checkpoints, st.index.New())
	}
	for _, without := range []string{"", indexName} {
		crashed := mem.CrashClone(vfs.Survival{})
		if without != "" {
			must(t, crashed.Remove("/v/"+without))
		}
		again, err := Open("/v", tiny(crashed))
		must(t, err)
		check(t, again, 1, 20000)
		for n := 10; n < 30; n++ {
			check(t, again, n, 100)
		}
		if d := again.Damage(); len(d) > 0 {
			t.Fatalf("%+v", d)
		}
		must(t, again.Close())
	}
	must(t, st.Close())
}

// TestASegmentWithoutADurableNameGoes: when the folder cannot be synced, the segment that was made is not left behind with its space.
func TestASegmentWithoutADurableNameGoes(t *testing.T) {
	mem := vfs.NewMem()
	fs := vfs.NewInject(mem, vfs.Hooks{})
	st, err := Open("/v", tiny(fs))
	must(t, err)
	fs.SetHooks(vfs.Hooks{Before: vfs.FailFrom(1, vfs.Kinds(vfs.OpSyncDir), syscall.EIO)})
	for range 3 {
		if _, err := st.Prepare(ctx, testID(1), object.Epochs{Cluster: 5}, [][]byte{testData(1, 100)}); err == nil {
			t.Fatal("acknowledged in a segment whose name is not on disk")
		}
	}
	fs.SetHooks(vfs.Hooks{})
	put(t, st, 1, 100)
	names, err := vfs.NewInject(mem, vfs.Hooks{}).List("/v")
	must(t, err)
	files := 0
	for _, name := range names {
		if contains(name, ".seg") {
			files++
		}
	}
	if s := st.Stats(); files != 1 || s.Segments != 1 {
		t.Fatalf("%d files, %d segments", files, s.Segments)
	}
	must(t, st.Close())
}
