package store

import (
	"encoding/binary"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// volumeName is the file that makes a folder a volume:
//
//	0 16B preamble | 16 16B volume | 32 16B incarnation | 48 u32 CRC32C of all before it
const volumeName = "VOLUME"

const volumeLen = 52

// identity names a volume. The id may be given by the cluster; the incarnation is new whenever a volume is made.
type identity struct {
	Volume, Incarnation segment.UUID
}

// openIdentity reads the volume's file, or makes it in a folder without segments.
func openIdentity(o *Options, dir string, empty bool) (identity, error) {
	const op = "store.Open"
	name := o.FS.PathJoin(dir, volumeName)
	b, err := vfs.ReadFile(o.FS, name, 4096)
	switch {
	case vfs.IsNotExist(err) && empty:
		return makeIdentity(o, name)
	case vfs.IsNotExist(err):
		return identity{}, errs.E(op, errs.Corrupt, "%s holds segments but no file %s", dir, volumeName)
	case err != nil:
		return identity{}, errs.WrapKind(op, errs.Unavailable, err)
	}
	if err := segment.CheckPreamble(b, segment.MagicVolume, name); err != nil {
		return identity{}, err
	}
	if len(b) != volumeLen || binary.LittleEndian.Uint32(b[48:]) != record.CRC(b[:48]) {
		return identity{}, errs.E(op, errs.Corrupt, "%s fails its checksum", name)
	}
	return identity{segment.UUID(b[16:32]), segment.UUID(b[32:48])}, nil
}

func makeIdentity(o *Options, name string) (identity, error) {
	id := identity{newUUID(o), newUUID(o)}
	b := make([]byte, volumeLen)
	segment.PutPreamble(b, segment.MagicVolume)
	copy(b[16:], id.Volume[:])
	copy(b[32:], id.Incarnation[:])
	binary.LittleEndian.PutUint32(b[48:], record.CRC(b[:48]))
	return id, errs.WrapKind("store.Open", errs.Unavailable, vfs.AtomicWriteFile(o.FS, name, b, 0o644))
}

func newUUID(o *Options) (u segment.UUID) {
	binary.LittleEndian.PutUint64(u[:8], o.Rand())
	binary.LittleEndian.PutUint64(u[8:], o.Rand())
	return u
}
