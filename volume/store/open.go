package store

import (
	"cmp"
	"slices"
	"strings"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/segment"
)

// Open opens the volume in dir, or makes one in an empty or missing folder. A folder in use is refused with errs.Conflict and who
// holds it, one of a newer format with errs.Unsupported and both versions. Damaged segments do not keep it from opening; see
// Store.Damage.
func Open(dir string, o Options) (*Store, error) {
	const op = "store.Open"
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := vfs.MkdirAll(o.FS, dir, 0o755); err != nil {
		return nil, errs.WrapKind(op, errs.Unavailable, err)
	}
	lock, err := vfs.LockDir(o.FS, dir)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	st := &Store{o: o, dir: dir, lock: lock, index: index.New(nil), help: make(chan *summing)}
	st.segments.Store(&map[uint32]*seg{})
	st.flights.init()
	st.small = newLog(st, segment.Small, o.smallGroup())
	st.large = newLog(st, segment.Large, o.largeGroup())
	st.janitor.init(st)
	st.compaction.turn = make(chan struct{}, 1)
	st.compaction.give()
	if err := st.open(); err != nil {
		st.abandon()
		return nil, errs.Wrap(op, err)
	}
	return st, nil
}

func (st *Store) open() error {
	files, strays, err := st.openFiles()
	if err != nil {
		return err
	}
	if st.id, err = openIdentity(&st.o, st.dir, len(files)+len(strays) == 0); err != nil {
		for _, f := range files {
			f.Release()
		}
		return err
	}
	files = slices.DeleteFunc(files, func(f *segment.File) bool { return !st.own(f) })
	for _, f := range files {
		st.added(f)
	}
	r, err := st.load(files)
	if err != nil {
		return err
	}
	if err := st.janitor.checkSpace(); err != nil {
		return err
	}
	go st.small.run()
	go st.large.run()
	if r != nil {
		if err := st.salvage(r); err != nil {
			st.small.close()
			st.large.close()
			return err
		}
	}
	st.janitor.start()
	return nil
}

// load makes the index: from its file alone after a clean close, else also from the segments, of which r tells.
func (st *Store) load(files []*segment.File) (r *replay, err error) {
	strays := len(st.damage)
	c, err := st.loadIndex(files)
	if err != nil {
		return nil, err
	}
	if err := st.checkFilter(c); err != nil {
		return nil, err
	}
	clean, err := st.takeClean(c, files)
	if err != nil {
		return nil, err
	}
	if clean {
		return nil, st.resume(c, files)
	}
	r, err = st.replay(files, c)
	if c != nil && (errs.Is(err, errs.Corrupt) || st.indexBad.Load()) {
		st.o.Logf("the index is of no use: %v; reading the segments", err)
		st.unload(files, strays)
		r, err = st.replay(files, nil)
	}
	return r, err
}

// unload forgets what a damaged index file said.
func (st *Store) unload(files []*segment.File, strays int) {
	st.index, st.last = index.New(nil), nil
	st.indexBad.Store(false)
	st.damage = st.damage[:strays]
	st.counters.liveBlobs.Store(0)
	st.counters.liveBytes.Store(0)
	for _, f := range files {
		s := (*st.segments.Load())[uint32(f.Number)]
		s.blobs.Store(0)
		s.bytes.Store(0)
		s.end, s.damaged, s.stale = 0, false, false
		f.Ended(segment.HeaderLen)
	}
}

// openFiles opens all segments, in the order of their numbers, and removes what was left half made. strays are names of segments
// that cannot be opened.
func (st *Store) openFiles() (files []*segment.File, strays []string, err error) {
	names, err := st.o.FS.List(st.dir)
	if err != nil {
		return nil, nil, errs.WrapKind("", errs.Unavailable, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			if err := st.o.FS.Remove(st.o.FS.PathJoin(st.dir, name)); err != nil && !vfs.IsNotExist(err) {
				return nil, nil, errs.WrapKind("", errs.Unavailable, err)
			}
			continue
		}
		base, lost := strings.CutSuffix(name, lostSuffix)
		number, _, ok := segment.ParseName(base)
		if !ok {
			continue
		}
		st.lastNumber.Store(max(st.lastNumber.Load(), number))
		if lost {
			continue
		}
		f, err := segment.Open(st.o.FS, st.dir, name)
		switch {
		case err == nil:
			files = append(files, f)
		case errs.Is(err, errs.Corrupt):
			strays = append(strays, name)
			st.damaged(Damage{Segment: name, From: 0, To: -1, Cause: err.Error()})
		default:
			for _, f := range files {
				f.Release()
			}
			return nil, nil, err
		}
	}
	slices.SortFunc(files, func(a, b *segment.File) int { return cmp.Compare(a.Number, b.Number) })
	return files, strays, nil
}

// own says whether the segment belongs to this volume; another's is left alone and reported.
func (st *Store) own(f *segment.File) bool {
	if f.Volume == st.id.Volume && f.Incarnation == st.id.Incarnation {
		return true
	}
	st.damaged(Damage{Segment: segment.Name(f.Number, f.Kind), To: -1, Cause: "it belongs to another volume"})
	f.Release()
	return false
}

func (st *Store) damaged(d Damage) {
	if d.To < 0 {
		st.o.Logf("damage in all of %s: %s", d.Segment, d.Cause)
	} else {
		st.o.Logf("damage in %s from %d to %d: %s", d.Segment, d.From, d.To, d.Cause)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.damage = append(st.damage, d)
}

// Damage lists what was acknowledged and cannot be read, as far as it is known.
func (st *Store) Damage() []Damage {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.damage)
}

// abandon ends what a failed open had begun, and closes what it had opened.
func (st *Store) abandon() {
	st.closing.Store(true)
	st.background.Wait() // a segment may be in the making
	for _, l := range []*log{st.small, st.large} {
		if l.spare != nil {
			l.spare.Release()
		}
	}
	for _, s := range *st.segments.Load() {
		s.Release()
	}
	st.lock.Close()
}
