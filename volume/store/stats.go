package store

import "sync/atomic"

// Stats is what a store has done and holds.
type Stats struct {
	Blobs, Bytes   int64 // alive; bytes of data
	Entries        int64 // in the index, dropped ones whose bytes are still on disk included
	IndexBytes     int64
	Segments       int
	SegmentBytes   int64 // on disk
	FreeBytes      int64 // of the file system, when last looked
	Full           bool  // prepares are refused
	Damaged        int   // pieces of segments that cannot be read
	Prepares       int64
	Deletes        int64
	Reads          int64
	ReadErrors     int64
	Groups         int64 // writes
	Syncs          int64
	BytesWritten   int64
	WriteFailures  int64 // writes and syncs that sealed a segment
	SegmentRemoved int64
	Compacted      int64 // segments rewritten
	CopiedBytes    int64 // of blobs, by compaction
	Bad            int64 // blobs that wait for repair
	Checkpoints    int64 // times the index was written down while open
	Returned       int64 // bytes of segments that were removed
	Horizon        uint64
	Scrub          ScrubStats
	Compaction     CompactStats
}

type counters struct {
	liveBlobs, liveBytes                                              atomic.Int64
	prepares, deletes, reads, readErrors, groups, syncs, bytes        atomic.Int64
	compacted, copied, checkpoints, failures, removed, free, returned atomic.Int64
}

func (*counters) newestEpoch(newest *atomic.Uint64, epoch uint64) {
	for {
		n := newest.Load()
		if epoch <= n || newest.CompareAndSwap(n, epoch) {
			return
		}
	}
}

// Stats tells what the store has done since it was opened, and what it holds.
func (st *Store) Stats() Stats {
	c := &st.counters
	s := Stats{
		Blobs: c.liveBlobs.Load(), Bytes: c.liveBytes.Load(), Entries: st.index.Len(), IndexBytes: st.index.Bytes(),
		FreeBytes: c.free.Load(), Full: st.full.Load(), Damaged: len(st.Damage()),
		Prepares: c.prepares.Load(), Deletes: c.deletes.Load(), Reads: c.reads.Load(), ReadErrors: c.readErrors.Load(),
		Groups: c.groups.Load(), Syncs: c.syncs.Load(), BytesWritten: c.bytes.Load(),
		WriteFailures: c.failures.Load(), SegmentRemoved: c.removed.Load(), Checkpoints: c.checkpoints.Load(), Compacted: c.compacted.Load(), CopiedBytes: c.copied.Load(), Bad: st.bads.Load(), Horizon: st.horizon.Load(),
		Returned: c.returned.Load(), Scrub: st.ScrubStats(), Compaction: st.CompactStats(),
	}
	for _, seg := range *st.segments.Load() {
		s.Segments++
		s.SegmentBytes += seg.Capacity
	}
	return s
}

// ID names the volume for ever; it was drawn when the volume was made.
func (st *Store) ID() [16]byte { return st.id.Volume }
