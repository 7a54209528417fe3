// Package datadir is the data directory of one minikv: its format marker, its lock, the stored root credentials, and the folders
// of the parts.
//
//	DATA/minikv.json        format marker, written first
//	DATA/LOCK               held by the running process
//	DATA/node-id            id of a node of a cluster, drawn at its first start
//	DATA/credentials.json   root credentials made at the first start, mode 0600
//	DATA/coordinator/       Raft log, snapshots, metadata
//	DATA/volume-1/          blobs
//
//	D1 Nothing below DATA is touched before the lock is held and the format is known.
//	D2 A directory of a newer format is refused, with both versions; it is never changed.
//	D3 A directory that is not empty and has no marker is refused: it is not ours.
package datadir

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"minikv/internal/buildinfo"
	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// Format is the version of the layout above.
const Format = 1

const (
	markerName      = "minikv.json"
	credentialsName = "credentials.json"
	smallFileMax    = 64 << 10
)

// Marker is the content of minikv.json.
type Marker struct {
	Format    int       `json:"format"`
	CreatedBy string    `json:"created_by"`
	Created   time.Time `json:"created"`
}

// Dir is an open data directory.
type Dir struct {
	Path  string // absolute
	Fresh bool   // this process made it
	fs    vfs.FS
	lock  io.Closer
}

// Open makes the directory if need be, takes its lock and checks its format. A second process is refused with errs.Conflict and
// told who holds it; a newer format with errs.Unsupported.
func Open(fs vfs.FS, path string) (*Dir, error) {
	const op = "datadir.Open"
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, errs.WrapKind(op, errs.Invalid, err)
	}
	if err := vfs.MkdirAll(fs, abs, 0o700); err != nil {
		return nil, errs.WrapKind(op, errs.Unavailable, err)
	}
	lock, err := vfs.LockDir(fs, abs)
	if err != nil {
		if errs.Is(err, errs.Conflict) {
			err = fmt.Errorf("%w (its pid; stop it or choose another --data)", err)
		}
		return nil, errs.Wrap(op, err)
	}
	d := &Dir{Path: abs, fs: fs, lock: lock}
	if err := d.checkFormat(); err != nil {
		lock.Close()
		return nil, errs.Wrap(op, err)
	}
	return d, nil
}

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }

// Coordinator is the folder of the coordinator.
func (d *Dir) Coordinator() string { return filepath.Join(d.Path, "coordinator") }

// Volume is the folder of a volume.
func (d *Dir) Volume(number uint32) string {
	return filepath.Join(d.Path, fmt.Sprintf("volume-%d", number))
}

func (d *Dir) checkFormat() error {
	name := filepath.Join(d.Path, markerName)
	b, err := vfs.ReadFile(d.fs, name, smallFileMax)
	if vfs.IsNotExist(err) {
		return d.create(name)
	}
	if err != nil {
		return err
	}
	var m Marker
	if err := json.Unmarshal(b, &m); err != nil || m.Format < 1 {
		return errs.E("", errs.Corrupt, "%s is damaged: restore it, or move the directory away", name)
	}
	if m.Format > Format {
		return errs.E("", errs.Unsupported, "%s has format %d; this minikv (%s) reads formats up to %d: use a newer minikv", d.Path, m.Format, version(), Format)
	}
	return nil
}

func (d *Dir) create(name string) error {
	entries, err := d.fs.List(d.Path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e != vfs.LockName && e != "lost+found" && e != markerName+".tmp" {
			return errs.E("", errs.Invalid, "%s holds %q and no %s: it is not a data directory of minikv", d.Path, e, markerName)
		}
	}
	b, err := json.MarshalIndent(Marker{Format, "minikv " + version(), time.Now().UTC().Truncate(time.Second)}, "", "  ")
	if err != nil {
		return err
	}
	d.Fresh = true
	return vfs.AtomicWriteFile(d.fs, name, append(b, '\n'), 0o600)
}

func version() string {
	v, _ := buildinfo.Get()
	return v
}
