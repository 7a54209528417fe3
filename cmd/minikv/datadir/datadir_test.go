package datadir

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(vfs.OS(), path)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func TestFirstAndSecondStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "data")
	d := open(t, path)
	require.True(t, d.Fresh)
	first, made, err := d.Credentials()
	require.NoError(t, err)
	require.True(t, made)
	require.Len(t, first.AccessKey, 20)
	require.Len(t, first.SecretKey, 40)
	st, err := os.Stat(filepath.Join(path, "credentials.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	require.NoError(t, d.Close())

	d = open(t, path)
	require.False(t, d.Fresh)
	again, made, err := d.Credentials()
	require.NoError(t, err)
	require.False(t, made)
	require.Equal(t, first, again)
	stored, err := StoredCredentials(path)
	require.NoError(t, err)
	require.Equal(t, first, stored)
	require.NotContains(t, first.String()+first.GoString(), first.SecretKey)
}

func TestSecondProcessIsToldTheHolder(t *testing.T) {
	path := t.TempDir()
	open(t, path)
	_, err := Open(vfs.OS(), path)
	require.True(t, errs.Is(err, errs.Conflict), "%v", err)
	require.Contains(t, err.Error(), strconv.Itoa(os.Getpid()))
	require.Contains(t, err.Error(), "pid")
}

// D2
func TestNewerFormatIsRefusedAndUnchanged(t *testing.T) {
	path := t.TempDir()
	require.NoError(t, open(t, path).Close())
	marker := filepath.Join(path, "minikv.json")
	require.NoError(t, os.WriteFile(marker, []byte(`{"format": 99}`), 0o600))
	_, err := Open(vfs.OS(), path)
	require.True(t, errs.Is(err, errs.Unsupported), "%v", err)
	require.Contains(t, err.Error(), "99")
	require.Contains(t, err.Error(), "up to 1")
	b, err := os.ReadFile(marker)
	require.NoError(t, err)
	require.Equal(t, `{"format": 99}`, string(b))
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		file, content string
		kind          errs.Kind
	}{
		"foreign":        {"holiday.jpg", "x", errs.Invalid}, // D3
		"damaged marker": {"minikv.json", "{", errs.Corrupt},
		"no format":      {"minikv.json", "{}", errs.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(path, tc.file), []byte(tc.content), 0o600))
			_, err := Open(vfs.OS(), path)
			require.True(t, errs.Is(err, tc.kind), "%v", err)
			_, err = Open(vfs.OS(), path)
			require.False(t, errs.Is(err, errs.Conflict), "the lock was given back: %v", err)
		})
	}
}

func TestReadableCredentialsAreRefused(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	_, _, err := d.Credentials()
	require.NoError(t, err)
	require.NoError(t, os.Chmod(filepath.Join(path, "credentials.json"), 0o644))
	_, _, err = d.Credentials()
	require.True(t, errs.Is(err, errs.AccessDenied), "%v", err)
}

// TestTheNodesID is drawn once, and goes with the directory.
func TestTheNodesID(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	id, err := d.NodeID()
	require.NoError(t, err)
	require.Len(t, id, 16)
	again, err := d.NodeID()
	require.NoError(t, err)
	require.Equal(t, id, again)
	other, err := open(t, t.TempDir()).NodeID()
	require.NoError(t, err)
	require.NotEqual(t, id, other)
	require.NoError(t, os.WriteFile(filepath.Join(path, "node-id"), []byte("short\n"), 0o600))
	_, err = d.NodeID()
	require.True(t, errs.Is(err, errs.Corrupt), "%v", err)
}
