package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// bodies runs a test on every body and through the wrapper; all must behave alike.
func bodies(t *testing.T, test func(t *testing.T, fs vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := vfs.NewMem()
		must(t, m.MkdirAll("/d", 0o755))
		test(t, m, "/d")
	})
	t.Run("inject", func(t *testing.T) { test(t, vfs.NewInject(vfs.OS(), vfs.Hooks{}), t.TempDir()) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestBodiesAgree(t *testing.T) {
	bodies(t, func(t *testing.T, fs vfs.FS, dir string) {
		name := fs.PathJoin(dir, "a")
		if _, err := vfs.OpenFile(fs, name, os.O_RDWR, 0); !vfs.IsNotExist(err) {
			t.Fatalf("opening what is not there: %v", err)
		}
		f, err := vfs.OpenFile(fs, name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		must(t, err)
		if _, err := vfs.OpenFile(fs, name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); !errors.Is(err, os.ErrExist) {
			t.Fatalf("creating twice: %v", err)
		}
		must(t, vfs.Preallocate(f, 10000))
		st, err := f.Stat()
		must(t, err)
		if st.Size() != 10000 || st.Mode().Perm() != 0o600 {
			t.Fatalf("size %d mode %v", st.Size(), st.Mode())
		}
		_, err = f.WriteAt([]byte("hello"), 9998)
		must(t, err)
		must(t, f.SyncData())
		b := make([]byte, 8)
		n, err := f.ReadAt(b, 9996)
		if n != 7 || err == nil || string(b[:7]) != "\x00\x00hello" {
			t.Fatalf("read %q, %v", b[:n], err)
		}
		must(t, vfs.ZeroFill(f, 0, 9999, nil))
		_, err = f.ReadAt(b[:4], 9997)
		must(t, err)
		if string(b[:4]) != "\x00\x00el" {
			t.Fatalf("after the fill %q", b[:4])
		}
		must(t, f.Close())
		must(t, fs.Link(name, fs.PathJoin(dir, "b")))
		must(t, fs.Rename(name, fs.PathJoin(dir, "c")))
		names, err := fs.List(dir)
		must(t, err)
		slices.Sort(names)
		if !slices.Equal(names, []string{"b", "c"}) {
			t.Fatalf("names %v", names)
		}
		must(t, fs.Remove(fs.PathJoin(dir, "b")))
		if err := fs.Remove(fs.PathJoin(dir, "b")); !vfs.IsNotExist(err) {
			t.Fatalf("removing twice: %v", err)
		}
		must(t, vfs.MkdirAll(fs, fs.PathJoin(dir, "x", "y"), 0o755))
		must(t, vfs.MkdirAll(fs, fs.PathJoin(dir, "x", "y"), 0o755))
		if err := fs.Remove(fs.PathJoin(dir, "x")); err == nil {
			t.Fatal("a folder that is not empty was removed")
		}
		must(t, fs.RemoveAll(fs.PathJoin(dir, "x")))
	})
}

func TestDirect(t *testing.T) {
	bodies(t, func(t *testing.T, fs vfs.FS, dir string) {
		f, direct, err := vfs.OpenDirect(fs, fs.PathJoin(dir, "d"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		must(t, err)
		defer f.Close()
		b := vfs.AlignedBuffer(2 * vfs.DirectAlign)
		copy(b[vfs.DirectAlign:], "direct")
		_, err = f.WriteAt(b, vfs.DirectAlign)
		must(t, err)
		must(t, f.SyncData())
		got := vfs.AlignedBuffer(vfs.DirectAlign)
		_, err = f.ReadAt(got, 2*vfs.DirectAlign)
		must(t, err)
		if !bytes.HasPrefix(got, []byte("direct")) {
			t.Fatalf("read %q", got[:8])
		}
		if _, err := f.WriteAt(b[:100], 0); direct && !errors.Is(err, syscall.EINVAL) {
			t.Fatalf("an unaligned direct write: %v", err)
		}
	})
}

func TestLockDirTellsTheHolder(t *testing.T) {
	bodies(t, func(t *testing.T, fs vfs.FS, dir string) {
		l, err := vfs.LockDir(fs, dir)
		must(t, err)
		_, err = vfs.LockDir(fs, dir)
		if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on", os.Getpid())) {
			t.Fatalf("second lock: %v", err)
		}
		must(t, l.Close())
		l, err = vfs.LockDir(fs, dir)
		must(t, err)
		must(t, l.Close())
	})
}

func TestAtomicWriteFile(t *testing.T) {
	bodies(t, func(t *testing.T, fs vfs.FS, dir string) {
		name := fs.PathJoin(dir, "f")
		must(t, vfs.AtomicWriteFile(fs, name, []byte("old and long"), 0o600))
		must(t, vfs.AtomicWriteFile(fs, name, []byte("new"), 0o600))
		b, err := vfs.ReadFile(fs, name, 100)
		must(t, err)
		st, err := fs.Stat(name)
		must(t, err)
		if string(b) != "new" || st.Mode().Perm() != 0o600 {
			t.Fatalf("%q, mode %v", b, st.Mode())
		}
		if _, err := vfs.ReadFile(fs, name, 2); !errs.Is(err, errs.LimitExceeded) {
			t.Fatalf("reading over the limit: %v", err)
		}
	})
}

// TestAtomicWriteFileCrash cuts the power after every operation: the file is old or new, and new once the call has returned.
func TestAtomicWriteFileCrash(t *testing.T) {
	mem := vfs.NewMem()
	must(t, vfs.AtomicWriteFile(mem, "/f", []byte("old"), 0o600))
	read := func(m *vfs.Mem) string {
		b, err := vfs.ReadFile(m, "/f", 100)
		must(t, err)
		return string(b)
	}
	clones, seen := 0, map[string]bool{}
	fs := vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		for _, s := range vfs.Survivals {
			for seed := range uint64(8) {
				s.Seed = seed
				got := read(mem.CrashClone(s))
				if got != "old" && got != "new" {
					t.Errorf("after %v of %s, %+v: %q", op.Kind, op.Path, s, got)
				}
				seen[got] = true
				clones++
			}
		}
	}})
	must(t, vfs.AtomicWriteFile(fs, "/f", []byte("new"), 0o600))
	if got := read(mem.CrashClone(vfs.Survival{})); got != "new" {
		t.Fatalf("after the return: %q", got)
	}
	if !seen["old"] || !seen["new"] || clones < 100 {
		t.Fatalf("%d clones saw %v", clones, seen)
	}
}

func TestCrashCloneRules(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("/f", "")
	must(t, err)
	page := bytes.Repeat([]byte{1}, 4096)
	for i := range 64 {
		_, err = f.WriteAt(page, int64(i)*4096)
		must(t, err)
	}
	if _, err := m.CrashClone(vfs.Survival{}).Stat("/f"); !vfs.IsNotExist(err) {
		t.Fatalf("an unsynced name survived: %v", err)
	}
	must(t, f.Sync())
	must(t, vfs.SyncDir(m, "/"))
	for i := range 64 {
		_, err = f.WriteAt(bytes.Repeat([]byte{2}, 4096), int64(i)*4096)
		must(t, err)
	}
	count := func(s vfs.Survival) (old, new, torn int) {
		c := m.CrashClone(s)
		b, err := vfs.ReadFile(c, "/f", 1<<20)
		must(t, err)
		for i := 0; i < len(b); i += 4096 {
			switch bytes.Count(b[i:i+4096], []byte{2}) {
			case 0:
				old++
			case 4096:
				new++
			default:
				torn++
			}
		}
		return
	}
	if o, n, x := count(vfs.Survival{Percent: 0}); o != 64 {
		t.Fatal(o, n, x)
	}
	if o, n, x := count(vfs.Survival{Percent: 100}); n != 64 {
		t.Fatal(o, n, x)
	}
	if o, n, x := count(vfs.Survival{Percent: 50}); o < 16 || n < 16 || x != 0 {
		t.Fatal(o, n, x)
	}
	if _, _, x := count(vfs.Survival{Percent: 50, Torn: true}); x < 50 {
		t.Fatal(x)
	}
	// A clone is independent of what follows.
	c := m.CrashClone(vfs.Survival{Percent: 100})
	_, err = f.WriteAt([]byte{9}, 0)
	must(t, err)
	b, err := vfs.ReadFile(c, "/f", 1<<20)
	must(t, err)
	if b[0] != 2 {
		t.Fatalf("the clone saw a later write: %d", b[0])
	}
}

func TestRenameNeverLosesBothNames(t *testing.T) {
	m := vfs.NewMem()
	must(t, vfs.AtomicWriteFile(m, "/a", []byte("x"), 0o600))
	must(t, m.Rename("/a", "/b"))
	for seed := range uint64(50) {
		c := m.CrashClone(vfs.Survival{Percent: 50, Seed: seed})
		names, err := c.List("/")
		must(t, err)
		if len(names) != 1 {
			t.Fatalf("seed %d: %v", seed, names)
		}
	}
}

func TestCapacity(t *testing.T) {
	m := vfs.NewMem()
	m.SetCapacity(16 << 12)
	f, err := m.Create("/f", "")
	must(t, err)
	must(t, vfs.Preallocate(f, 10<<12))
	if err := vfs.Preallocate(f, 17<<12); !vfs.IsNoSpace(err) {
		t.Fatalf("preallocating too much: %v", err)
	}
	must(t, m.Remove("/f"))
	u, err := m.GetDiskUsage("/")
	must(t, err)
	if u.AvailBytes != 16<<12 {
		t.Fatalf("available after removal: %d", u.AvailBytes)
	}
	f, err = m.Create("/g", "")
	must(t, err)
	n, err := f.WriteAt(make([]byte, 20<<12), 0)
	if n != 16<<12 || !vfs.IsNoSpace(err) {
		t.Fatalf("wrote %d, %v", n, err)
	}
}

func TestInjectedFaults(t *testing.T) {
	mem := vfs.NewMem()
	fs := vfs.NewInject(mem, vfs.Hooks{Before: vfs.FailNth(2, vfs.OnPath("*.seg", vfs.Kinds(vfs.OpWrite)), syscall.EIO, 3)})
	f, err := fs.Create("/1.seg", "")
	must(t, err)
	_, err = f.WriteAt([]byte("aaaaa"), 0)
	must(t, err)
	n, err := f.WriteAt([]byte("bbbbb"), 5)
	if n != 3 || !errors.Is(err, syscall.EIO) {
		t.Fatalf("the second write: %d, %v", n, err)
	}
	_, err = f.WriteAt([]byte("ccccc"), 8)
	must(t, err)
	b, err := vfs.ReadFile(mem, "/1.seg", 100)
	must(t, err)
	if string(b) != "aaaaabbbccccc" {
		t.Fatalf("%q", b)
	}
	if fs.Ops() != 4 {
		t.Fatalf("%d operations", fs.Ops())
	}
	fs.SetHooks(vfs.Hooks{Before: vfs.FailFrom(1, vfs.Kinds(vfs.OpSync), syscall.ENOSPC)})
	for range 2 {
		if err := f.SyncData(); !vfs.IsNoSpace(err) {
			t.Fatalf("sync: %v", err)
		}
	}
}
