package consensus

import (
	"strings"

	"minikv/internal/vfs"
)

// markerFS orders what Pebble leaves to the file system. To switch to another MANIFEST, Pebble creates a marker file that names
// it, removes the old marker, and only then syncs the folder: a power cut may keep the marker without the MANIFEST, or neither
// marker. Here the folder is synced before and after a marker is created. Markers move rarely.
type markerFS struct{ vfs.FS }

const markerPrefix = "marker."

// Create is Pebble's way to make files.
func (m markerFS) Create(name string, c vfs.Category) (vfs.File, error) {
	if !strings.HasPrefix(m.PathBase(name), markerPrefix) {
		return m.FS.Create(name, c)
	}
	dir := m.PathDir(name)
	if err := vfs.SyncDir(m.FS, dir); err != nil {
		return nil, err
	}
	f, err := m.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	if err := vfs.SyncDir(m.FS, dir); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
