package store

import (
	"encoding/binary"
	"maps"
	"os"
	"slices"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// checkpointName is the file in which a clean close leaves the index, so that the next open reads no segments. It is removed
// before anything is written, so that it is there only if it is true; it is checked against the segments nevertheless. It has
//
//	 0 16B preamble          | 16 16B incarnation | 32 u64 sequence       | 40 u64 last segment number
//	48 u64 horizon           | 56 u64 newest epoch| 64 u32 segments       | 68 u32 zero | 72 u64 entries
//	then per segment  0 u64 number | 8 u64 seed | 16 u64 end | 24 u8 role | 25 7B zero
//	then the entries, 32 bytes each (index.Entry)
//	then u32 CRC32C of all before it
const checkpointName = "CHECKPOINT"

const (
	checkpointHead    = 80
	checkpointSegment = 32
)

// copyStep is how much of a checkpoint is written or read at once, in bytes: a multiple of an entry.
const copyStep = 1 << 20

// The roles of segments in a checkpoint.
const (
	roleSealed = 0
	roleActive = 1
	roleSpare  = 2
)

// writeCheckpoint is called by Close, when nothing is written any more. Where segments are damaged, or writes have failed (hints
// among them may be lost, of which the index still knows), there is none, and the next open reads the segments.
func (st *Store) writeCheckpoint() error {
	if len(st.damage) > 0 || st.counters.failures.Load() > 0 || len(st.small.pending)+len(st.large.pending) > 0 {
		return nil
	}
	name := st.o.FS.PathJoin(st.dir, checkpointName)
	size := checkpointHead + checkpointSegment*(len(*st.segments.Load())+2) + index.EntryLen*int(st.index.Len()) + 4
	w := &checkpointWriter{buf: make([]byte, 0, min(size, copyStep))}
	err := w.open(st.o.FS, name+".tmp")
	if err == nil {
		st.dump(w)
		err = w.close()
	}
	if err == nil {
		err = st.o.FS.Rename(name+".tmp", name)
	}
	if err == nil {
		err = vfs.SyncDir(st.o.FS, st.dir)
	}
	if err != nil {
		st.o.Logf("no checkpoint: %v; the next start reads the segments", err)
	}
	return nil
}

func (st *Store) dump(w *checkpointWriter) {
	segments := *st.segments.Load()
	spares := []*segment.File{}
	for _, l := range []*log{st.small, st.large} {
		if l.spare != nil {
			spares = append(spares, l.spare)
		}
	}
	b := make([]byte, checkpointHead)
	segment.PutPreamble(b, segment.MagicCheckpoint)
	copy(b[16:], st.id.Incarnation[:])
	for i, v := range []uint64{st.sequence.Load(), st.lastNumber.Load(), st.horizon.Load(), st.newest.Load(), uint64(len(segments) + len(spares)), uint64(st.index.Len())} {
		binary.LittleEndian.PutUint64(b[32+8*i:], v)
	}
	w.write(b)
	for _, n := range slices.Sorted(maps.Keys(segments)) {
		s := segments[n]
		if s.end == 0 {
			w.segment(s.File, s.Pos(), roleActive)
		} else {
			w.segment(s.File, s.end, roleSealed)
		}
	}
	for _, f := range spares {
		w.segment(f, segment.HeaderLen, roleSpare)
	}
	var e [index.EntryLen]byte
	st.index.Scan(object.BlobID{}, func(x *index.Entry) bool {
		w.write(x.AppendTo(e[:0]))
		return w.err == nil
	})
}

// checkpointWriter buffers, sums and remembers the first error.
type checkpointWriter struct {
	f   vfs.File
	buf []byte
	off int64
	crc uint32
	err error
}

func (w *checkpointWriter) open(fs vfs.FS, name string) error {
	if err := fs.Remove(name); err != nil && !vfs.IsNotExist(err) {
		return err
	}
	f, err := vfs.OpenFile(fs, name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	w.f = f
	return err
}

func (w *checkpointWriter) write(b []byte) {
	if len(w.buf)+len(b) > copyStep {
		w.flush()
	}
	w.buf = append(w.buf, b...)
}

func (w *checkpointWriter) flush() {
	w.crc = record.UpdateCRC(w.crc, w.buf)
	if w.err == nil {
		_, w.err = w.f.WriteAt(w.buf, w.off)
	}
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
}

func (w *checkpointWriter) segment(f *segment.File, end int64, role byte) {
	b := make([]byte, checkpointSegment)
	binary.LittleEndian.PutUint64(b, f.Number)
	binary.LittleEndian.PutUint64(b[8:], f.Seed)
	binary.LittleEndian.PutUint64(b[16:], uint64(end))
	b[24] = role
	w.write(b)
}

func (w *checkpointWriter) close() error {
	w.flush()
	w.buf = binary.LittleEndian.AppendUint32(w.buf, w.crc)
	w.flush()
	if w.err == nil {
		w.err = w.f.Sync()
	}
	if err := w.f.Close(); w.err == nil {
		w.err = err
	}
	return w.err
}

// loadCheckpoint takes the index from the checkpoint, if there is one and it fits the segments, and removes it. Damaged and stale ones
// are left for the segments to replace; only one of a newer format is an error.
func (st *Store) loadCheckpoint(files []*segment.File) (bool, error) {
	name := st.o.FS.PathJoin(st.dir, checkpointName)
	f, err := st.o.FS.Open(name)
	if vfs.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, errs.WrapKind("", errs.Unavailable, err)
	}
	c := &checkpoint{st: st, files: files}
	err = c.load(f, name)
	f.Close()
	if errs.Is(err, errs.Unsupported) {
		return false, err
	}
	if rerr := st.o.FS.Remove(name); rerr != nil {
		return false, errs.WrapKind("", errs.Unavailable, rerr)
	}
	if rerr := vfs.SyncDir(st.o.FS, st.dir); rerr != nil {
		return false, errs.WrapKind("", errs.Unavailable, rerr)
	}
	if err != nil {
		st.o.Logf("the checkpoint is of no use: %v; reading the segments", err)
		return false, nil
	}
	return true, c.resume()
}

// checkpoint is one being loaded.
type checkpoint struct {
	st       *Store
	files    []*segment.File
	segments map[uint64]checkpointEntry
}

type checkpointEntry struct {
	seed uint64
	end  int64
	role byte
}

func (c *checkpoint) load(f vfs.File, name string) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	size := fi.Size()
	b := make([]byte, min(size, checkpointHead))
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	if err := segment.CheckPreamble(b, segment.MagicCheckpoint, name); err != nil {
		return err
	}
	if len(b) < checkpointHead || segment.UUID(b[16:32]) != c.st.id.Incarnation {
		return errs.E("", errs.Corrupt, "%s is of another volume", name)
	}
	count, entries := int64(binary.LittleEndian.Uint32(b[64:])), int64(binary.LittleEndian.Uint64(b[72:]))
	if entries < 0 || entries > size || size != checkpointHead+count*checkpointSegment+entries*int64(index.EntryLen)+4 {
		return errs.E("", errs.Corrupt, "%s has %d bytes", name, size)
	}
	if err := checkSum(f, size); err != nil {
		return err
	}
	if err := c.loadSegments(f, int(count)); err != nil {
		return err
	}
	st := c.st
	st.sequence.Store(binary.LittleEndian.Uint64(b[32:]))
	st.lastNumber.Store(max(st.lastNumber.Load(), binary.LittleEndian.Uint64(b[40:])))
	st.horizon.Store(binary.LittleEndian.Uint64(b[48:]))
	st.newest.Store(binary.LittleEndian.Uint64(b[56:]))
	st.index.Reserve(entries)
	return c.loadEntries(f, checkpointHead+count*checkpointSegment, size-4)
}

// checkSum compares the sum of all but the last four bytes with these.
func checkSum(f vfs.File, size int64) error {
	buf := make([]byte, max(4, min(size, copyStep)))
	crc := uint32(0)
	for off := int64(0); off < size-4; {
		b := buf[:min(int64(len(buf)), size-4-off)]
		if _, err := f.ReadAt(b, off); err != nil {
			return err
		}
		crc = record.UpdateCRC(crc, b)
		off += int64(len(b))
	}
	if _, err := f.ReadAt(buf[:4], size-4); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(buf) != crc {
		return errs.E("", errs.Corrupt, "it fails its checksum")
	}
	return nil
}

// loadSegments checks that the segments are those that were there at the close, with nothing written since.
func (c *checkpoint) loadSegments(f vfs.File, count int) error {
	b := make([]byte, count*checkpointSegment)
	if count > 0 {
		if _, err := f.ReadAt(b, checkpointHead); err != nil {
			return err
		}
	}
	c.segments = make(map[uint64]checkpointEntry, count)
	for ; len(b) > 0; b = b[checkpointSegment:] {
		e := checkpointEntry{seed: binary.LittleEndian.Uint64(b[8:]), end: int64(binary.LittleEndian.Uint64(b[16:])), role: b[24]}
		c.segments[binary.LittleEndian.Uint64(b)] = e
	}
	if len(c.files) != count || len(c.st.damage) > 0 {
		return errs.E("", errs.Corrupt, "it speaks of %d segments and there are %d", count, len(c.files))
	}
	for _, f := range c.files {
		e, ok := c.segments[f.Number]
		if !ok || e.seed != f.Seed {
			return errs.E("", errs.Corrupt, "it does not know segment %s", segment.Name(f.Number, f.Kind))
		}
		if e.role != roleSealed && f.HasRecord(e.end) {
			return errs.E("", errs.Corrupt, "segment %s was written since", segment.Name(f.Number, f.Kind))
		}
	}
	return nil
}

func (c *checkpoint) loadEntries(f vfs.File, off, end int64) error {
	buf := make([]byte, min(end-off, copyStep))
	for off < end {
		b := buf[:min(int64(len(buf)), end-off)]
		if _, err := f.ReadAt(b, off); err != nil {
			return err
		}
		for ; len(b) >= index.EntryLen; b = b[index.EntryLen:] {
			c.st.index.Put(index.ParseEntry(b))
			off += int64(index.EntryLen)
		}
	}
	return nil
}

// resume lets the logs go on where they ended.
func (c *checkpoint) resume() error {
	for _, f := range c.files {
		e := c.segments[f.Number]
		s := (*c.st.segments.Load())[uint32(f.Number)]
		if e.role == roleSealed {
			s.end = e.end
			f.Ended(e.end)
			continue
		}
		if err := f.Resume(c.st.o.FS, e.end); err != nil {
			return err
		}
		l := c.st.small
		if f.Kind == segment.Large {
			l = c.st.large
		}
		if e.role == roleActive {
			l.active = s
			continue
		}
		l.spare = f
		c.st.alterSegments(func(m map[uint32]*seg) { delete(m, uint32(f.Number)) })
	}
	return nil
}
