package store

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
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
//	0 16B preamble | 16 u64 segment, all before it is done | 24 u64 rounds | 32 u32 CRC32C
const scrubName = "SCRUB"

// ScrubStats is what verifying found since the volume was opened, and how far the running round is.
type ScrubStats struct {
	Records, Bytes int64
	Bad            int64 // records and pieces of segments that failed
	Rounds         uint64
	Segment        uint64        // the round is here; the ones below are done
	Left           int64         // bytes of segments that the round has still to read
	ETA            time.Duration // until the round ends, at the configured rate
}

type scrubber struct {
	records, bytes, bad atomic.Int64
	next, rounds        atomic.Uint64
}

// Scrub verifies every record on disk once, now, at so many bytes per second (0: as fast as it goes), and reports what it found. What
// is bad is listed by Repairs and Damage.
func (st *Store) Scrub(ctx context.Context, rate int64) (ScrubStats, error) {
	var found scrubber
	for _, n := range st.segmentNumbers(0) {
		if err := st.scrubSegment(ctx, n, rate, &found); err != nil {
			return found.stats(), errs.Wrap("store.Scrub", err)
		}
	}
	return found.stats(), nil
}

func (c *scrubber) stats() ScrubStats {
	return ScrubStats{Records: c.records.Load(), Bytes: c.bytes.Load(), Bad: c.bad.Load(), Rounds: c.rounds.Load(), Segment: c.next.Load()}
}

// ScrubStats tells what the continuous scrub has done.
func (st *Store) ScrubStats() ScrubStats {
	s := st.scrub.stats()
	segments := *st.segments.Load()
	for _, n := range st.segmentNumbers(uint32(s.Segment)) {
		if x := segments[n]; x != nil {
			s.Left += x.Synced()
		}
	}
	if st.o.ScrubRate > 0 {
		s.ETA = time.Duration(float64(s.Left) / float64(st.o.ScrubRate) * float64(time.Second))
	}
	return s
}

func (st *Store) segmentNumbers(from uint32) []uint32 {
	all := slices.Sorted(maps.Keys(*st.segments.Load()))
	at, _ := slices.BinarySearch(all, from)
	return all[at:]
}

// scrubSegment verifies one segment, if it is still there, as far as it is on disk.
func (st *Store) scrubSegment(ctx context.Context, number uint32, rate int64, found *scrubber) error {
	s := st.segment(number)
	if s == nil {
		return nil
	}
	defer s.Release()
	st.mu.Lock()
	end, known := s.end, s.damaged
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
		return p.wait(ctx)
	})
	if err != nil {
		return err
	}
	found.bad.Add(int64(len(gaps)))
	if len(gaps) > 0 && !known {
		st.mu.Lock()
		s.damaged = true
		st.mu.Unlock()
		for _, g := range gaps {
			st.damaged(Damage{Segment: segment.Name(s.Number, s.Kind), From: g.From, To: g.To, Cause: "no valid record"})
		}
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
	}
	return ierr
}

// scrubForever goes round and round until ctx ends. The position is kept from segment to segment.
func (st *Store) scrubForever(ctx context.Context) {
	st.loadScrub()
	for ctx.Err() == nil {
		left := st.segmentNumbers(uint32(st.scrub.next.Load()))
		if len(left) == 0 {
			if !st.endRound(ctx) {
				return
			}
			continue
		}
		if err := st.scrubSegment(ctx, left[0], st.o.ScrubRate, &st.scrub); err != nil {
			if ctx.Err() == nil {
				st.o.Logf("scrub of segment %d: %v", left[0], err)
			} else {
				return
			}
		}
		st.scrub.next.Store(uint64(left[0]) + 1)
		st.saveScrub()
	}
}

// scrubPause is the least time between two rounds.
const scrubPause = time.Hour

// endRound begins the next round after a pause; false when ctx ended.
func (st *Store) endRound(ctx context.Context) bool {
	st.scrub.rounds.Add(1)
	st.scrub.next.Store(0)
	st.saveScrub()
	t := time.NewTimer(scrubPause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

const scrubLen = 36

func (st *Store) saveScrub() {
	b := make([]byte, segment.PreambleLen, scrubLen)
	segment.PutPreamble(b, segment.MagicScrub)
	b = binary.LittleEndian.AppendUint64(b, st.scrub.next.Load())
	b = binary.LittleEndian.AppendUint64(b, st.scrub.rounds.Load())
	b = binary.LittleEndian.AppendUint32(b, record.CRC(b))
	if err := vfs.AtomicWriteFile(st.o.FS, st.o.FS.PathJoin(st.dir, scrubName), b, 0o600); err != nil {
		st.o.Logf("the scrub's position is not kept: %v", err)
	}
}

// loadScrub finds the position; without a good one the round begins again.
func (st *Store) loadScrub() {
	b, err := vfs.ReadFile(st.o.FS, st.o.FS.PathJoin(st.dir, scrubName), 4096)
	if err != nil || len(b) != scrubLen || segment.CheckPreamble(b, segment.MagicScrub, scrubName) != nil ||
		binary.LittleEndian.Uint32(b[32:]) != record.CRC(b[:32]) {
		return
	}
	st.scrub.next.Store(binary.LittleEndian.Uint64(b[16:]))
	st.scrub.rounds.Store(binary.LittleEndian.Uint64(b[24:]))
}
