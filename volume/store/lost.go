package store

import (
	"encoding/binary"
	"os"
	"strings"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// A segment with a piece that does not parse may have held blobs that nobody here knows of any more. It is emptied by compaction at once,
// whatever its dead share. What of it is alive by the index but cannot be read is on the list of repairs and keeps the segment, until
// it was prepared again or dropped. Whole records that the index lacks (the piece could be read again) are taken for prepared:
// the collector asks the leader about them. When nothing is left, the pieces are written to a file of their own and the segment goes; the
// damage stays reported, over restarts, until an operator, satisfied that all replicas are whole, removes that file.

// lostSuffix makes of a segment's name that of the file with its pieces:
//
//	0 16B preamble | 16 u64 segment | 24 u64 seed | 32 u32 pieces
//	36 per piece   u64 from | u64 to
//	   u32 CRC32C of all before it
//	   the bytes of the pieces, one after the other, as the disk gave them; zeros where it gave none
const (
	lostSuffix  = ".lost"
	lostHeadLen = 36
	lostMax     = 1 << 16 // pieces that are named; the last one ends where the segment ended
)

func encodeLost(h *segment.Header, gaps []segment.Gap) []byte {
	b := make([]byte, segment.PreambleLen, lostHeadLen+16*len(gaps)+4)
	segment.PutPreamble(b, segment.MagicLost)
	b = binary.LittleEndian.AppendUint64(b, h.Number)
	b = binary.LittleEndian.AppendUint64(b, h.Seed)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(gaps)))
	for _, g := range gaps {
		b = binary.LittleEndian.AppendUint64(b, uint64(g.From))
		b = binary.LittleEndian.AppendUint64(b, uint64(g.To))
	}
	return binary.LittleEndian.AppendUint32(b, record.CRC(b))
}

// decodeLost reads what encodeLost wrote. Errors: errs.Unsupported for a newer version, else errs.Corrupt.
func decodeLost(b []byte, name string) ([]segment.Gap, error) {
	if err := segment.CheckPreamble(b, segment.MagicLost, name); err != nil {
		return nil, err
	}
	bad := errs.E("", errs.Corrupt, "%s: the head fails its checksum", name)
	if len(b) < lostHeadLen {
		return nil, bad
	}
	n := int(binary.LittleEndian.Uint32(b[32:]))
	end := lostHeadLen + 16*n
	if n > lostMax || len(b) < end+4 || binary.LittleEndian.Uint32(b[end:]) != record.CRC(b[:end]) {
		return nil, bad
	}
	gaps := make([]segment.Gap, n)
	for i := range gaps {
		gaps[i] = segment.Gap{From: int64(binary.LittleEndian.Uint64(b[lostHeadLen+16*i:])), To: int64(binary.LittleEndian.Uint64(b[lostHeadLen+16*i+8:]))}
	}
	return gaps, nil
}

// setAside writes the pieces of a segment that do not parse to a file of their own; it is on disk when nil is returned.
func (st *Store) setAside(s *seg, gaps []segment.Gap) error {
	if len(gaps) > lostMax {
		gaps = append(gaps[:lostMax-1:lostMax-1], segment.Gap{From: gaps[lostMax-1].From, To: gaps[len(gaps)-1].To})
	}
	fs, name := st.o.FS, segment.Name(s.Number, s.Kind)
	tmp := fs.PathJoin(st.dir, name+lostSuffix+".tmp")
	err := st.writeLost(tmp, s, gaps)
	if err == nil {
		err = fs.Rename(tmp, fs.PathJoin(st.dir, name+lostSuffix))
	}
	if err == nil {
		err = vfs.SyncDir(fs, st.dir)
	}
	if err != nil {
		fs.Remove(tmp)
		return errs.WrapKind("", errs.Unavailable, err)
	}
	st.reportLost(name, gaps)
	return nil
}

func (st *Store) writeLost(path string, s *seg, gaps []segment.Gap) error {
	if err := st.o.FS.Remove(path); err != nil && !vfs.IsNotExist(err) {
		return err
	}
	f, err := vfs.OpenFile(st.o.FS, path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	b := encodeLost(&s.Header, gaps)
	_, err = f.WriteAt(b, 0)
	off := int64(len(b))
	for _, g := range gaps {
		for at := g.From; at < g.To && err == nil; {
			piece := s.Raw(at, int(min(g.To-at, mib)))
			_, err = f.WriteAt(piece, off)
			at, off = at+int64(len(piece)), off+int64(len(piece))
		}
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

// reportLost replaces what was said of a segment's damage.
func (st *Store) reportLost(name string, gaps []segment.Gap) {
	st.mu.Lock()
	defer st.mu.Unlock()
	kept := make([]Damage, 0, len(st.damage)+len(gaps))
	for _, d := range st.damage {
		if d.Segment != name {
			kept = append(kept, d)
		}
	}
	for _, g := range gaps {
		kept = append(kept, Damage{Segment: name, From: g.From, To: g.To, Cause: "no valid record; its bytes are kept in " + name + lostSuffix})
	}
	st.damage = kept
	st.o.Logf("segment %s is removed; what could not be read of it is kept in %s%s", name, name, lostSuffix)
}

// loadLost reports the pieces of earlier segments. One whose segment is still there was interrupted and is done again.
func (st *Store) loadLost() {
	names, err := st.o.FS.List(st.dir)
	if err != nil {
		st.o.Logf("looking for lost pieces: %v", err)
		return
	}
	for _, name := range names {
		base, found := strings.CutSuffix(name, lostSuffix)
		number, _, ok := segment.ParseName(base)
		if !found || !ok || (*st.segments.Load())[uint32(number)] != nil {
			continue
		}
		gaps, err := st.readLost(name)
		if err != nil {
			st.damaged(Damage{Segment: base, To: -1, Cause: err.Error()})
		}
		for _, g := range gaps {
			st.damaged(Damage{Segment: base, From: g.From, To: g.To, Cause: "no valid record; its bytes are kept in " + name})
		}
	}
}

func (st *Store) readLost(name string) ([]segment.Gap, error) {
	f, err := st.o.FS.Open(st.o.FS.PathJoin(st.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(fi.Size(), lostHeadLen+16*lostMax+4))
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return decodeLost(b, name)
}

// noteUnreadable puts what is alive in a damaged segment, but cannot be read, on the list of repairs.
func (st *Store) noteUnreadable(s *seg) {
	var living []index.Entry
	err := st.index.Scan(object.BlobID{}, func(e *index.Entry) bool {
		if e.Segment == uint32(s.Number) && e.State() < index.Dropped {
			living = append(living, *e)
		}
		return true
	})
	st.indexError(err)
	for i := range living {
		e := &living[i]
		if _, err := s.HeaderAt(e.ID, e.Off(), e.Length()); errs.Is(err, errs.Corrupt) {
			st.noteBad(e, err)
		}
	}
}
