package store

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/index"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// scrubName is the file that remembers how far the scrub is:
//
//	0 16B preamble | 16 u64 segment, all before it is done | 24 u64 rounds | 32 u64 end of the last round, Unix seconds | 40 u32 CRC32C
//
// Early versions had no time: 32 u32 CRC32C.
const scrubName = "SCRUB"

// ScrubStats is what verifying found since the volume was opened, and how far the running round is.
type ScrubStats struct {
	Running        bool  // false between two rounds
	Records, Bytes int64 // read
	Bad            int64 // records and pieces of segments that failed
	Rounds         uint64
	LastRound      time.Time     // when the last whole round ended, of this or an earlier opening; zero: never
	Segment        uint64        // the round is here; the ones below are done
	Done, Total    int64         // bytes of segments that the round has read, and has in all
	ETA            time.Duration // until the round ends, at the configured rate
}

type scrubber struct {
	records, bytes, bad atomic.Int64
	next, rounds        atomic.Uint64
	at                  atomic.Int64 // offset in the segment that is being read
	last                atomic.Int64 // end of the last round, Unix seconds; 0: never
	resting             atomic.Bool
	saving              sync.Mutex // the file
}

// ScrubProgress is how far ScrubNow is.
type ScrubProgress struct {
	Segment        string
	Done, Total    int64 // bytes of segments
	Records, Bytes int64 // verified
	Bad            int64 // records and pieces of segments that failed
	ETA            time.Duration
}

// ScrubNow verifies every record on disk once, now, at Options.ScrubNowRate, while everything else goes on, and reports what it found.
// What is bad is listed by Repairs and Damage. progress, which may be nil, is called with every step of 1 MiB, by the caller's
// goroutine. An ended context stops it within a step. A whole pass counts as the end of a round. Errors: errs.Unavailable when the volume is
// closed meanwhile, or a segment cannot be read at all.
func (st *Store) ScrubNow(ctx context.Context, progress func(ScrubProgress)) (ScrubProgress, error) {
	const op = "store.ScrubNow"
	inner, leave, err := st.janitor.task(ctx)
	if err != nil {
		return ScrubProgress{}, errs.Wrap(op, err)
	}
	defer leave()
	r := scrubRun{st: st, progress: progress, begin: time.Now()}
	err = r.run(inner)
	if cause := context.Cause(inner); err != nil && cause != nil {
		err = cause
	}
	if err == nil {
		st.scrub.last.Store(time.Now().Unix())
		st.saveScrub()
	}
	return r.now(), errs.Wrap(op, err)
}

// scrubRun is a call of ScrubNow.
type scrubRun struct {
	st       *Store
	progress func(ScrubProgress)
	begin    time.Time
	found    scrubber
	segment  string
	passed   int64 // bytes of the segments before
	total    int64
}

func (r *scrubRun) run(ctx context.Context) error {
	numbers := r.st.segmentNumbers(0)
	for _, n := range numbers {
		r.total += r.st.scrubSize(n)
	}
	for _, n := range numbers {
		s := (*r.st.segments.Load())[n]
		if s == nil {
			continue
		}
		r.segment = segment.Name(s.Number, s.Kind)
		size := r.st.scrubSize(n)
		if err := r.st.scrubSegment(ctx, n, r.st.o.ScrubNowRate, &r.found, r.tell); err != nil {
			return err
		}
		r.passed += size
		r.found.at.Store(0)
		r.tell()
	}
	return nil
}

func (r *scrubRun) now() ScrubProgress {
	p := ScrubProgress{
		Segment: r.segment, Done: r.passed + r.found.at.Load(), Total: r.total,
		Records: r.found.records.Load(), Bytes: r.found.bytes.Load(), Bad: r.found.bad.Load(),
	}
	p.Total = max(p.Total, p.Done)
	if p.Done > 0 {
		p.ETA = time.Duration(float64(time.Since(r.begin)) * float64(p.Total-p.Done) / float64(p.Done))
	}
	return p
}

func (r *scrubRun) tell() {
	if r.progress != nil {
		r.progress(r.now())
	}
}

// scrubSize is the bytes of a segment that a scrub would read now; 0 if it is gone.
func (st *Store) scrubSize(number uint32) int64 {
	s := (*st.segments.Load())[number]
	if s == nil {
		return 0
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if s.end > 0 {
		return s.end
	}
	return s.Synced()
}

// ScrubStats tells what the continuous scrub has done.
func (st *Store) ScrubStats() ScrubStats {
	c := &st.scrub
	s := ScrubStats{
		Running: st.o.ScrubRate > 0 && !c.resting.Load(), Records: c.records.Load(), Bytes: c.bytes.Load(), Bad: c.bad.Load(),
		Rounds: c.rounds.Load(), Segment: c.next.Load(),
	}
	if t := c.last.Load(); t > 0 {
		s.LastRound = time.Unix(t, 0)
	}
	for _, n := range st.segmentNumbers(0) {
		size := st.scrubSize(n)
		s.Total += size
		if uint64(n) < s.Segment {
			s.Done += size
		}
	}
	s.Done = min(s.Done+c.at.Load(), s.Total)
	if st.o.ScrubRate > 0 {
		s.ETA = time.Duration(float64(s.Total-s.Done) / float64(st.o.ScrubRate) * float64(time.Second))
	}
	return s
}

func (st *Store) segmentNumbers(from uint32) []uint32 {
	all := slices.Sorted(maps.Keys(*st.segments.Load()))
	at, _ := slices.BinarySearch(all, from)
	return all[at:]
}

// scrubSegment verifies one segment, if it is still there, as far as it is on disk.
func (st *Store) scrubSegment(ctx context.Context, number uint32, rate int64, found *scrubber, tell func()) error {
	s := st.segment(number)
	if s == nil {
		return nil
	}
	defer s.Release()
	st.mu.Lock()
	end := s.end
	st.mu.Unlock()
	if end == 0 {
		end = s.Synced()
	}
	p := pace{rate: rate, begin: time.Now()}
	step := int64(0)
	gaps, err := s.Scan(segment.HeaderLen, end, func(off int64, h record.Header, _ []byte) error {
		n := int64(s.Layout().Size(int(h.Length)))
		found.records.Add(1)
		found.bytes.Add(n)
		p.done += n
		if err := st.scrubRecord(s, off, &h, found); err != nil {
			return err
		}
		if step += n; step < compactStep {
			return nil
		}
		step = 0
		found.at.Store(off + n)
		if tell != nil {
			tell()
		}
		return p.wait(ctx)
	})
	if err != nil {
		return err
	}
	found.bad.Add(int64(len(gaps)))
	if len(gaps) > 0 {
		st.noteDamaged(s, gaps)
		wake(st.janitor.dead)
	}
	return p.wait(ctx)
}

// scrubRecord verifies the data of a blob; other records were verified by the scan.
func (st *Store) scrubRecord(s *seg, off int64, h *record.Header, found *scrubber) error {
	if h.Type != record.Blob {
		return nil
	}
	_, _, err := s.ReadRecord(off)
	if err == nil || !errs.Is(err, errs.Corrupt) {
		return err
	}
	found.bad.Add(1)
	e, ok, ierr := st.lookup(h.ID)
	if ok && e.Segment == uint32(s.Number) && e.Off() == off && e.State() < index.Dropped {
		st.noteBad(&e, err)
	} else if ierr == nil && found != &st.scrub { // who asked for it sees what failed; the continuous scrub would tell it each round
		st.o.Logf("a record that no living blob needs is bad: %v", err)
	}
	return ierr
}

// scrubForever goes round and round until ctx ends. The position is kept from segment to segment.
func (st *Store) scrubForever(ctx context.Context) {
	for ctx.Err() == nil {
		left := st.segmentNumbers(uint32(st.scrub.next.Load()))
		if len(left) == 0 {
			if !st.endRound(ctx) {
				return
			}
			continue
		}
		if err := st.scrubSegment(ctx, left[0], st.o.ScrubRate, &st.scrub, nil); err != nil {
			if ctx.Err() == nil {
				st.o.Logf("scrub of segment %d: %v", left[0], err)
			} else {
				return
			}
		}
		st.scrub.next.Store(uint64(left[0]) + 1)
		st.scrub.at.Store(0)
		st.saveScrub()
	}
}

// scrubPause is the least time between two rounds.
const scrubPause = time.Hour

// endRound begins the next round after a pause; false when ctx ended.
func (st *Store) endRound(ctx context.Context) bool {
	st.scrub.rounds.Add(1)
	st.scrub.next.Store(0)
	st.scrub.last.Store(time.Now().Unix())
	st.saveScrub()
	st.scrub.resting.Store(true)
	defer st.scrub.resting.Store(false)
	t := time.NewTimer(scrubPause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	scrubLen    = 44
	scrubLenOld = 36
)

func (st *Store) saveScrub() {
	b := make([]byte, segment.PreambleLen, scrubLen)
	segment.PutPreamble(b, segment.MagicScrub)
	for _, v := range []uint64{st.scrub.next.Load(), st.scrub.rounds.Load(), uint64(st.scrub.last.Load())} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, record.CRC(b))
	st.scrub.saving.Lock()
	defer st.scrub.saving.Unlock()
	if err := vfs.AtomicWriteFile(st.o.FS, st.o.FS.PathJoin(st.dir, scrubName), b, 0o600); err != nil {
		st.o.Logf("the scrub's position is not kept: %v", err)
	}
}

// loadScrub finds the position; without a good one the round begins again.
func (st *Store) loadScrub() {
	b, err := vfs.ReadFile(st.o.FS, st.o.FS.PathJoin(st.dir, scrubName), 4096)
	if err != nil || (len(b) != scrubLen && len(b) != scrubLenOld) || segment.CheckPreamble(b, segment.MagicScrub, scrubName) != nil ||
		binary.LittleEndian.Uint32(b[len(b)-4:]) != record.CRC(b[:len(b)-4]) {
		return
	}
	st.scrub.next.Store(binary.LittleEndian.Uint64(b[16:]))
	st.scrub.rounds.Store(binary.LittleEndian.Uint64(b[24:]))
	if len(b) == scrubLen {
		st.scrub.last.Store(int64(binary.LittleEndian.Uint64(b[32:])))
	}
}
