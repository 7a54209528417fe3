package store

import (
	"context"
	"encoding/binary"
	"os"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// filterName is the file of a Bloom filter over all ids of the index file of the same generation. With it, after a start, that a blob is
// not here is known without reading the index from a cold disk. It is written without a sync and may be missing, torn or older than the
// index: then it is made again in the background. What is removed is never removed on its word (lookupSure).
//
//	0 16B preamble | 16 16B incarnation | 32 u64 generation | 40 u32 CRC32C of all before it | 44 u32 zero
//	48 the filter (index.Filter), seeded with the generation, with a checksum of its own
const filterName = "FILTER"

const filterHeadLen = 48

func (st *Store) filterHead(generation uint64) []byte {
	b := make([]byte, segment.PreambleLen, filterHeadLen)
	segment.PutPreamble(b, segment.MagicFilter)
	b = append(b, st.id.Incarnation[:]...)
	b = binary.LittleEndian.AppendUint64(b, generation)
	b = binary.LittleEndian.AppendUint32(b, record.CRC(b))
	return b[:filterHeadLen]
}

// writeFilter writes the filter of the index file of a generation; without it, it is made again later.
func (st *Store) writeFilter(generation uint64, f *index.Filter) {
	if err := st.putFilter(generation, f); err != nil {
		st.o.Logf("writing the filter of the index: %v", err)
	}
}

func (st *Store) putFilter(generation uint64, f *index.Filter) error {
	fs, name := st.o.FS, st.o.FS.PathJoin(st.dir, filterName)
	w, err := vfs.OpenFile(fs, name+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	b, err := f.MarshalBinary()
	if err == nil {
		_, err = w.WriteAt(append(st.filterHead(generation), b...), 0)
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fs.Rename(name+".tmp", name)
	}
	if err != nil {
		fs.Remove(name + ".tmp")
	}
	return err
}

// checkFilter looks at the head of the filter file at open. Only one of a newer format is an error.
func (st *Store) checkFilter(c *cut) error {
	st.filterStale = true
	f, err := vfs.OpenFile(st.o.FS, st.o.FS.PathJoin(st.dir, filterName), os.O_RDONLY, 0)
	if vfs.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return errs.WrapKind("", errs.Unavailable, err)
	}
	defer f.Close()
	b := make([]byte, filterHeadLen)
	n, _ := f.ReadAt(b, 0) // a short one is of no use
	if err := segment.CheckPreamble(b[:n], segment.MagicFilter, filterName); errs.Is(err, errs.Unsupported) {
		return err
	}
	st.filterStale = c == nil || string(b[:n]) != string(st.filterHead(c.generation))
	return nil
}

// tailFilter gives the base its filter while the tail is read after a kill, if the file is good: what is new in the tail is then told
// without touching a page of the index for each, which on a cold disk is a read.
func (st *Store) tailFilter() {
	if f, err := st.readFilter(st.last.generation); err == nil {
		st.index.Base().SetFilter(f)
	}
}

// fetchFilter gives the base that was found at open its filter, from the file or made again, unless it has it. It is called once, in the
// background.
func (st *Store) fetchFilter(ctx context.Context, base *index.Base, generation uint64) error {
	if base.Filtered() {
		return nil
	}
	if f, err := st.readFilter(generation); err == nil {
		base.SetFilter(f)
		return nil
	} else if !st.filterStale {
		st.o.Logf("the filter of the index is of no use: %v; making it again", err)
	}
	f, err := base.MakeFilter(func() bool { return ctx.Err() == nil })
	if err != nil {
		st.indexError(err)
		return errs.WrapKind("store.fetchFilter", errs.Unavailable, err)
	}
	if f == nil {
		return ctx.Err()
	}
	base.SetFilter(f)
	st.janitor.tidy.Lock() // no index is written meanwhile
	defer st.janitor.tidy.Unlock()
	if st.last != nil && st.last.generation == generation && !st.indexBad.Load() {
		st.writeFilter(generation, f)
	}
	return nil
}

func (st *Store) readFilter(generation uint64) (*index.Filter, error) {
	if st.filterStale {
		return nil, errs.E("", errs.Corrupt, "%s is of another index", filterName)
	}
	fs, name := st.o.FS, st.o.FS.PathJoin(st.dir, filterName)
	b, err := vfs.ReadFile(fs, name, filterMax)
	if err != nil {
		return nil, err
	}
	if len(b) < filterHeadLen || string(b[:filterHeadLen]) != string(st.filterHead(generation)) {
		return nil, errs.E("", errs.Corrupt, "%s is of another index", filterName)
	}
	return index.ParseTableFilter(b[filterHeadLen:])
}

// filterMax bounds the filter file in bytes: at a byte for each blob.
const filterMax = 1 << 34
