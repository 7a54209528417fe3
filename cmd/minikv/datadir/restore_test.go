package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// D4: what a restore that failed, or that was killed, leaves is refused, and can be restored into.
func TestAnUnfinishedRestoreIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d, err := OpenToRestore(vfs.OS(), path)
	require.NoError(t, err)
	require.NoError(t, d.Close()) // killed
	_, err = Open(vfs.OS(), path)
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	require.ErrorContains(t, err, "it did not come to its end")
	require.ErrorContains(t, err, filepath.Join(path, "RESTORING"))

	d, err = OpenToRestore(vfs.OS(), path)
	require.NoError(t, err)
	require.NoError(t, d.Restored(errors.New("the backup is cut short")))
	require.NoError(t, d.Close())
	_, err = Open(vfs.OS(), path)
	require.ErrorContains(t, err, "the backup is cut short. Run minikv restore again")

	d, err = OpenToRestore(vfs.OS(), path)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(d.Coordinator(), 0o700))
	require.NoError(t, d.Restored(nil))
	require.NoError(t, d.Close())
	require.NoError(t, open(t, path).Close())
	_, err = OpenToRestore(vfs.OS(), path)
	require.True(t, errs.Is(err, errs.Conflict), "%v", err)
	require.NoError(t, open(t, path).Close(), "a refused restore changes nothing")
}

// TestRestoreBesideVolumes: a folder into which only volumes were moved is no data directory yet, and can become one by a restore.
func TestRestoreBesideVolumes(t *testing.T) {
	path := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(path, "volume-1"), 0o700))
	_, err := Open(vfs.OS(), path)
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	require.ErrorContains(t, err, "volume-1")
	d, err := OpenToRestore(vfs.OS(), path)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(d.Coordinator(), 0o700))
	require.NoError(t, d.Restored(nil))
	require.NoError(t, d.Close())
	require.NoError(t, open(t, path).Close())
	for _, other := range []string{"holiday.jpg", "volume-x", "volume-", "coordinator"} {
		path := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(path, other), 0o700))
		_, err = OpenToRestore(vfs.OS(), path)
		require.True(t, errs.Is(err, errs.Invalid), "%s: %v", other, err)
	}
}

// TestACoordinatorThatCameBack ends the refusal: the operator moved the old one in again, or the restore ended between its last two steps.
func TestACoordinatorThatCameBack(t *testing.T) {
	path := t.TempDir()
	d, err := OpenToRestore(vfs.OS(), path)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(d.Coordinator(), 0o700))
	require.NoError(t, d.Close())
	require.NoError(t, open(t, path).Close())
	require.NoFileExists(t, filepath.Join(path, "RESTORING"))
}

// TestNoCutMakesAnEmptyStoreOfARestore: after each operation of its beginning, the power goes.
func TestNoCutMakesAnEmptyStoreOfARestore(t *testing.T) {
	mem := vfs.NewMem()
	refused := 0
	fs := vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		for _, s := range vfs.Survivals {
			cut := mem.CrashClone(s)
			if _, err := cut.Stat("/data/minikv.json"); err != nil {
				continue
			}
			d, err := Open(cut, "/data")
			if err == nil {
				d.Close()
			}
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("after %v of %s, %+v: %v", op.Kind, op.Path, s, err)
			}
			refused++
		}
	}})
	d, err := OpenToRestore(fs, "/data")
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.Positive(t, refused)
}
