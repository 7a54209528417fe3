// Package datadir is the data directory of one minikv: its format marker, its lock, the stored root credentials, and the folders
// of the parts.
//
//	DATA/minikv.json        format marker, written first
//	DATA/LOCK               held by the running process
//	DATA/node-id            id of a node of a cluster, drawn at its first start
//	DATA/RESTORING          a restore began and has not succeeded: why, as text
//	DATA/credentials.json   root credentials made at the first start, mode 0600
//	DATA/coordinator/       Raft log, snapshots, metadata
//	DATA/volume-1/          blobs
//
//	D1 Nothing below DATA is touched before the lock is held and the format is known.
//	D2 A directory of a newer format is refused, with both versions; it is never changed.
//	D3 A directory that is not empty and has no marker is refused: it is not ours, and is not changed. A restore takes one that has only volumes.
//	D4 A directory into which a restore began is refused until one succeeds: an empty store would take the place of the one that was to be
//	   restored. RESTORING is durable before anything else of a restore is, and means nothing beside a coordinator's folder, which appears
//	   whole, in one step.
package datadir

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"minikv/internal/buildinfo"
	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// Format is the version of the layout above.
const Format = 1

const (
	markerName      = "minikv.json"
	restoringName   = "RESTORING"
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
func Open(fs vfs.FS, path string) (*Dir, error) { return openDir(fs, path, false) }

// OpenToRestore is Open for a directory that a coordinator is to be restored into. errs.Conflict: there is one. The directory is refused by
// Open from then on, until Restored.
func OpenToRestore(fs vfs.FS, path string) (*Dir, error) { return openDir(fs, path, true) }

func openDir(fs vfs.FS, path string, restore bool) (*Dir, error) {
	const op = "datadir.Open"
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, errs.WrapKind(op, errs.Invalid, err)
	}
	if err := vfs.MkdirAll(fs, abs, 0o700); err != nil {
		return nil, errs.WrapKind(op, errs.Unavailable, err)
	}
	d := &Dir{Path: abs, fs: fs}
	if err := d.foreign(restore); err != nil { // and gets no LOCK
		return nil, errs.Wrap(op, err)
	}
	lock, err := vfs.LockDir(fs, abs)
	if err != nil {
		if errs.Is(err, errs.Conflict) {
			err = fmt.Errorf("%w (stop that pid, or choose another --data)", err)
		}
		return nil, errs.Wrap(op, err)
	}
	d.lock = lock
	if err := d.checkFormat(restore); err != nil {
		lock.Close()
		return nil, errs.Wrap(op, err)
	}
	return d, nil
}

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }

// Coordinator is the folder of the coordinator.
func (d *Dir) Coordinator() string { return filepath.Join(d.Path, "coordinator") }

// HasCoordinator says whether there is anything in the folder of the coordinator.
func (d *Dir) HasCoordinator() (bool, error) {
	entries, err := d.fs.List(d.Coordinator())
	if vfs.IsNotExist(err) {
		return false, nil
	}
	return len(entries) > 0, errs.Wrap("datadir.HasCoordinator", err)
}

// Volume is the folder of a volume.
func (d *Dir) Volume(number uint32) string {
	return filepath.Join(d.Path, fmt.Sprintf("volume-%d", number))
}

// Restored ends what OpenToRestore began. With the cause of a failure the directory stays refused, and tells the cause.
func (d *Dir) Restored(failed error) error {
	const op = "datadir.Restored"
	name := filepath.Join(d.Path, restoringName)
	if failed != nil {
		return errs.Wrap(op, vfs.AtomicWriteFile(d.fs, name, []byte(failed.Error()+"\n"), 0o600))
	}
	return errs.Wrap(op, d.remove(name))
}

func (d *Dir) remove(name string) error {
	if err := d.fs.Remove(name); err != nil && !vfs.IsNotExist(err) {
		return err
	}
	return vfs.SyncDir(d.fs, d.Path)
}

// checkRestore keeps D4: it begins a restore, or refuses what an earlier one left.
func (d *Dir) checkRestore(begin bool) error {
	name := filepath.Join(d.Path, restoringName)
	_, err := d.fs.Stat(d.Coordinator())
	switch there := err == nil; {
	case err != nil && !vfs.IsNotExist(err):
		return err
	case begin && there:
		return errs.E("", errs.Conflict, "%s is there already; a backup is restored where there is no coordinator", d.Coordinator())
	case begin:
		return vfs.AtomicWriteFile(d.fs, name, []byte("it did not come to its end\n"), 0o600)
	case there:
		return d.remove(name)
	}
	why, err := vfs.ReadFile(d.fs, name, smallFileMax)
	if vfs.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return errs.E("", errs.Invalid, "a restore into %s failed: %s. Run minikv restore again; or, for an empty store, remove %s",
		d.Path, strings.TrimSpace(string(why)), name)
}

func (d *Dir) checkFormat(restore bool) error {
	name := filepath.Join(d.Path, markerName)
	b, err := vfs.ReadFile(d.fs, name, smallFileMax)
	if vfs.IsNotExist(err) {
		return d.create(name, restore)
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
	return d.checkRestore(restore)
}

// before are names that may be there before the marker is: LOCK.held is a lock where files have none.
var before = []string{vfs.LockName, vfs.LockName + ".held", "lost+found", markerName + ".tmp", restoringName, restoringName + ".tmp"}

// foreign refuses a directory that holds something and no marker (D3). A restore is for volumes, too, that were moved to a place of their own.
func (d *Dir) foreign(restore bool) error {
	entries, err := d.fs.List(d.Path)
	if err != nil || slices.Contains(entries, markerName) {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(before, e) && !(restore && isVolume(e)) {
			return errs.E("", errs.Invalid, "%s holds %q and no %s: it is not a data directory of minikv", d.Path, e, markerName)
		}
	}
	return nil
}

// isVolume says whether Volume gives folders such a name.
func isVolume(name string) bool {
	number, ok := strings.CutPrefix(name, "volume-")
	_, err := strconv.ParseUint(number, 10, 32)
	return ok && err == nil
}

func (d *Dir) create(name string, restore bool) error {
	if err := d.foreign(restore); err != nil {
		return err
	}
	if err := d.checkRestore(restore); err != nil {
		return err
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
