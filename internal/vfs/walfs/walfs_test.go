package walfs_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"minikv/internal/vfs"
	"minikv/internal/vfs/walfs"
)

// meta keeps raft-wal's state; a real one stands on the same file system.
type meta struct{ state types.PersistentState }

func (m *meta) Load(string) (types.PersistentState, error) { return m.state, nil }
func (m *meta) CommitState(s types.PersistentState) error  { m.state = s; return nil }
func (m *meta) GetStable([]byte) ([]byte, error)           { return nil, nil }
func (m *meta) SetStable([]byte, []byte) error             { return nil }
func (m *meta) Close() error                               { return nil }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, fs vfs.FS, dir string, m meta) *wal.WAL {
	t.Helper()
	w, err := wal.Open(dir, wal.WithMetaStore(&m), wal.WithSegmentFiler(segment.NewFiler(dir, walfs.RaftWAL(fs))), wal.WithSegmentSize(32<<10))
	must(t, err)
	return w
}

// TestAcknowledgedEntriesSurvive cuts the power after every 10 entries; segments rotate meanwhile.
func TestAcknowledgedEntriesSurvive(t *testing.T) {
	mem := vfs.NewMem()
	must(t, vfs.MkdirAll(mem, "/wal", 0o755))
	var m meta
	w, err := wal.Open("/wal", wal.WithMetaStore(&m), wal.WithSegmentFiler(segment.NewFiler("/wal", walfs.RaftWAL(mem))), wal.WithSegmentSize(32<<10))
	must(t, err)
	defer w.Close()
	for i := uint64(1); i <= 200; i++ {
		must(t, w.StoreLog(&raft.Log{Index: i, Data: fmt.Appendf(nil, "entry %d %s", i, make([]byte, 500))}))
		if i%10 != 0 {
			continue
		}
		for _, s := range vfs.Survivals {
			s.Seed = i
			again := open(t, mem.CrashClone(s), "/wal", m)
			last, err := again.LastIndex()
			must(t, err)
			if last < i {
				t.Fatalf("%+v: last index %d, acknowledged %d", s, last, i)
			}
			var l raft.Log
			must(t, again.GetLog(i, &l))
			must(t, again.Close())
		}
	}
}

func TestCreateAndDelete(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"os": vfs.OS(), "mem": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, fs.MkdirAll(dir, 0o755))
			w := walfs.RaftWAL(fs)
			f, err := w.Create(dir, "1.wal", 512<<10)
			must(t, err)
			if _, err := w.Create(dir, "1.wal", 0); !errors.Is(err, os.ErrExist) {
				t.Fatalf("creating twice: %v", err)
			}
			st, err := fs.Stat(fs.PathJoin(dir, "1.wal"))
			must(t, err)
			if st.Size() != 512<<10 {
				t.Fatalf("%d bytes", st.Size())
			}
			_, err = f.WriteAt([]byte("x"), 1<<20)
			must(t, err)
			must(t, f.Sync())
			must(t, f.Close())
			names, err := w.ListDir(dir)
			must(t, err)
			if len(names) != 1 {
				t.Fatal(names)
			}
			must(t, w.Delete(dir, "1.wal"))
			if _, err := w.OpenReader(dir, "1.wal"); !vfs.IsNotExist(err) {
				t.Fatalf("opening what is deleted: %v", err)
			}
			if _, err := w.ListDir(fs.PathJoin(dir, "none")); err == nil {
				t.Fatal("a folder that is not there was listed")
			}
		})
	}
}
