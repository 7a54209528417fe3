package store

import (
	"encoding/binary"
	"maps"
	"os"
	"slices"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// indexName is the file of the mapped index: what the volume held at one moment, the cut, and up to where in each segment that counts
// all records. It stays true when it is older than the segments: what lies above the cut is read from them, and entries in segments
// that are gone count for nothing. It has
//
//	  0 16B preamble      | 16 16B incarnation   | 32 u64 generation  | 40 u64 sequence | 48 u64 last segment number
//	 56 u64 horizon       | 64 u64 newest epoch  | 72 u64 entries     | 80 u64 homes    | 88 u64 slots
//	 96 u32 segments      | 100 u32 damages
//	104 per segment  0 u64 number | 8 u64 seed | 16 u64 end | 24 u64 living blobs | 32 u64 their bytes | 40 u64 bytes of their records
//	                 48 u8 role (0 sealed, 1 active, 2 spare) | 49 u8 flags (1 damaged, 2 stale copies) | 50 6B zero
//	    per damage   0 u64 segment | 8 u64 from | 16 u64 to
//	    u32 CRC32C of all before it; zeros up to a multiple of 4,096
//	then the table (index.Base), seeded with the generation
const indexName = "INDEX"

// cleanName is a file that a clean close leaves: nothing was written after the cut of the index of the same generation. It is removed
// before anything is written. 0 16B preamble | 16 u64 generation | 24 u32 CRC32C
const cleanName = "CLEAN"

// oldCheckpointName is what early versions left instead of both. It is removed; the segments say the same.
const oldCheckpointName = "CHECKPOINT"

const (
	indexHeadLen    = 104
	indexSegmentLen = 56
	indexDamageLen  = 24
	indexHeadMax    = 1 << 28
)

// The roles of segments at a cut.
const (
	roleSealed = 0
	roleActive = 1
	roleSpare  = 2
)

const (
	flagDamaged = 1
	flagStale   = 2
)

// cut is the head of the index file.
type cut struct {
	generation, sequence, lastNumber, horizon, newest uint64
	entries, slots                                    int64
	homes                                             uint64
	segments                                          map[uint64]*cutSegment
	damage                                            []cutDamage
}

type cutSegment struct {
	seed, end            uint64
	blobs, bytes, stored int64
	role, flags          byte
	layout               record.Layout // not stored
}

type cutDamage struct{ segment, from, to uint64 }

func (c *cut) headLen() int64 {
	n := indexHeadLen + indexSegmentLen*len(c.segments) + indexDamageLen*len(c.damage) + 4
	return (int64(n) + index.PageLen - 1) / index.PageLen * index.PageLen
}

func (c *cut) encode(incarnation segment.UUID) []byte {
	b := make([]byte, segment.PreambleLen, c.headLen())
	segment.PutPreamble(b, segment.MagicIndex)
	b = append(b, incarnation[:]...)
	for _, v := range []uint64{c.generation, c.sequence, c.lastNumber, c.horizon, c.newest, uint64(c.entries), c.homes, uint64(c.slots)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.segments)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.damage)))
	for _, n := range slices.Sorted(maps.Keys(c.segments)) {
		s := c.segments[n]
		for _, v := range []uint64{n, s.seed, s.end, uint64(s.blobs), uint64(s.bytes), uint64(s.stored)} {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		b = append(b, s.role, s.flags, 0, 0, 0, 0, 0, 0)
	}
	for _, d := range c.damage {
		for _, v := range []uint64{d.segment, d.from, d.to} {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
	}
	b = binary.LittleEndian.AppendUint32(b, record.CRC(b))
	return b[:cap(b)]
}

// decodeCut reads a head. Errors: errs.Unsupported for a newer version, else errs.Corrupt.
func decodeCut(b []byte, incarnation segment.UUID) (*cut, error) {
	if err := segment.CheckPreamble(b, segment.MagicIndex, indexName); err != nil {
		return nil, err
	}
	bad := func(why string) error { return errs.E("", errs.Corrupt, "%s: %s", indexName, why) }
	if len(b) < indexHeadLen {
		return nil, bad("the head is cut off")
	}
	segments, damages := int(binary.LittleEndian.Uint32(b[96:])), int(binary.LittleEndian.Uint32(b[100:]))
	n := indexHeadLen + indexSegmentLen*segments + indexDamageLen*damages
	if len(b) < n+4 || binary.LittleEndian.Uint32(b[n:]) != record.CRC(b[:n]) {
		return nil, bad("the head fails its checksum")
	}
	if segment.UUID(b[16:32]) != incarnation {
		return nil, bad("it is of another volume")
	}
	u := func(off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }
	c := &cut{
		generation: u(32), sequence: u(40), lastNumber: u(48), horizon: u(56), newest: u(64),
		entries: int64(u(72)), homes: u(80), slots: int64(u(88)), segments: make(map[uint64]*cutSegment, segments),
	}
	off := indexHeadLen
	for range segments {
		c.segments[u(off)] = &cutSegment{
			seed: u(off + 8), end: u(off + 16), blobs: int64(u(off + 24)), bytes: int64(u(off + 32)), stored: int64(u(off + 40)),
			role: b[off+48], flags: b[off+49],
		}
		off += indexSegmentLen
	}
	for range damages {
		c.damage = append(c.damage, cutDamage{u(off), u(off + 8), u(off + 16)})
		off += indexDamageLen
	}
	return c, nil
}

// count takes an entry into the accounts of its segment.
func (c *cut) count(e *index.Entry) {
	if s := c.segments[uint64(e.Segment)]; s != nil && e.State() < index.Dropped {
		s.blobs++
		s.bytes += int64(e.Length())
		s.stored += int64(s.layout.Size(e.Length()))
	}
}

// writeIndex writes the merged entries and the head under a temporary name, gives it its name, and opens it. Where there is no room for it,
// it takes none.
func (st *Store) writeIndex(c *cut, m *index.Merge) (base *index.Base, err error) {
	fs, name := st.o.FS, st.o.FS.PathJoin(st.dir, indexName)
	if err := fs.Remove(name + ".tmp"); err != nil && !vfs.IsNotExist(err) {
		return nil, err
	}
	if err := st.roomForIndex(c.headLen() + m.Entries()*int64(index.EntryLen)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			fs.Remove(name + ".tmp")
		}
	}()
	f, err := vfs.OpenFile(fs, name+".tmp", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, s := range c.segments { // an earlier attempt may have counted
		s.blobs, s.bytes, s.stored = 0, 0, 0
	}
	w := index.NewWriter(f, c.headLen(), m.Entries(), c.generation)
	filter := index.NewTableFilter(m.Entries(), c.generation)
	err = m.Visit(func(e *index.Entry) bool {
		c.count(e)
		w.Add(e)
		filter.Add(e.ID)
		return w.Err() == nil
	})
	if err != nil {
		return nil, err
	}
	if c.slots, c.homes, c.entries, err = w.Finish(); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(c.encode(st.id.Incarnation), 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if err := fs.Rename(name+".tmp", name); err != nil {
		return nil, err
	}
	if err := vfs.SyncDir(fs, st.dir); err != nil {
		return nil, err
	}
	if base, err = mapIndex(f, c); err != nil {
		return nil, err
	}
	base.SetFilter(filter)
	st.writeFilter(c.generation, filter)
	return base, nil
}

// roomForIndex refuses to begin an index of at least so many bytes that will not fit: on a full disk that would take, with every attempt, what
// deletes need.
func (st *Store) roomForIndex(bytes int64) error {
	u, err := st.o.FS.GetDiskUsage(st.dir)
	if err == nil && u.AvailBytes < uint64(bytes) {
		return errs.E("", errs.StorageFull, "%d bytes are free, the index needs %d", u.AvailBytes, bytes)
	}
	return err
}

// mapIndex looks at the table of an index file whose head is known.
func mapIndex(f vfs.File, c *cut) (*index.Base, error) {
	head := c.headLen()
	if c.slots < 0 || c.slots > 1<<40 {
		return nil, errs.E("", errs.Corrupt, "%s: %d slots", indexName, c.slots)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if want := head + index.BaseSize(c.slots); fi.Size() != want {
		return nil, errs.E("", errs.Corrupt, "%s has %d bytes, not %d", indexName, fi.Size(), want)
	}
	b, unmap, err := vfs.Map(f, fi.Size())
	if err != nil {
		return nil, err
	}
	return index.OpenBase(b[head:], c.slots, c.homes, c.entries, c.generation, unmap)
}

// loadIndex opens the index file if it is there and fits the segments; a nil cut means that the segments must be read. Only one of a newer
// format is an error.
func (st *Store) loadIndex(files []*segment.File) (*cut, error) {
	f, err := vfs.OpenFile(st.o.FS, st.o.FS.PathJoin(st.dir, indexName), os.O_RDONLY, 0) // a file that can be mapped
	if vfs.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, errs.WrapKind("", errs.Unavailable, err)
	}
	defer f.Close()
	c, base, err := st.readIndex(f)
	if err == nil {
		err = c.fits(files)
	}
	switch {
	case errs.Is(err, errs.Unsupported):
		return nil, err
	case err != nil:
		st.o.Logf("the index is of no use: %v; reading the segments", err)
		return nil, nil
	}
	st.index = index.New(base)
	st.adopt(c, files)
	return c, nil
}

func (st *Store) readIndex(f vfs.File) (*cut, *index.Base, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	b := make([]byte, min(fi.Size(), index.PageLen))
	if _, err := f.ReadAt(b, 0); err != nil && len(b) > 0 {
		return nil, nil, err
	}
	if len(b) == index.PageLen { // the rest of a longer head
		n := indexHeadLen + indexSegmentLen*int64(binary.LittleEndian.Uint32(b[96:])) + indexDamageLen*int64(binary.LittleEndian.Uint32(b[100:])) + 4
		if n > index.PageLen && n <= min(fi.Size(), indexHeadMax) {
			b = make([]byte, n)
			if _, err := f.ReadAt(b, 0); err != nil {
				return nil, nil, err
			}
		}
	}
	c, err := decodeCut(b, st.id.Incarnation)
	if err != nil {
		return nil, nil, err
	}
	base, err := mapIndex(f, c)
	return c, base, err
}

// fits refuses an index of other segments than these.
func (c *cut) fits(files []*segment.File) error {
	for _, f := range files {
		if s := c.segments[f.Number]; s != nil && (s.seed != f.Seed || int64(s.end) > f.Capacity || s.end < segment.HeaderLen) {
			return errs.E("", errs.Corrupt, "%s speaks of another segment %s", indexName, segment.Name(f.Number, f.Kind))
		}
	}
	return nil
}

// adopt takes over what the cut says; segments that are gone since are dropped.
func (st *Store) adopt(c *cut, files []*segment.File) {
	st.sequence.Store(c.sequence)
	st.lastNumber.Store(max(st.lastNumber.Load(), c.lastNumber))
	st.horizon.Store(c.horizon)
	st.newest.Store(c.newest)
	st.last = c
	there := map[uint64]bool{}
	segments := *st.segments.Load()
	names := map[uint64]string{}
	for _, f := range files {
		cs := c.segments[f.Number]
		if cs == nil {
			continue
		}
		there[f.Number] = true
		names[f.Number] = segment.Name(f.Number, f.Kind)
		s := segments[uint32(f.Number)]
		s.blobs.Store(cs.blobs)
		s.bytes.Store(cs.stored)
		s.damaged, s.stale = cs.flags&flagDamaged != 0, cs.flags&flagStale != 0
		st.counters.liveBlobs.Add(cs.blobs)
		st.counters.liveBytes.Add(cs.bytes)
		if cs.role == roleSealed {
			s.end = int64(cs.end)
			f.Ended(s.end)
		}
	}
	for n := range c.segments {
		if !there[n] {
			st.index.Drop(uint32(n))
		}
	}
	for _, d := range c.damage {
		if there[d.segment] {
			st.damaged(Damage{Segment: names[d.segment], From: int64(d.from), To: int64(d.to), Cause: "no valid record"})
		}
	}
}
