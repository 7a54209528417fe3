package node

import (
	"time"

	"minikv/internal/telemetry"
	"minikv/volume/store"
)

// upkeep are the numbers of the volume's scrub and compaction for metrics.
func upkeep(st *store.Stats, gauge func(name, help string, value float64) telemetry.Sample, counter func(name, help string, value int64) telemetry.Sample) []telemetry.Sample {
	s, c := &st.Scrub, &st.Compaction
	last := 0.0
	if !s.LastRound.IsZero() {
		last = float64(s.LastRound.Unix())
	}
	return []telemetry.Sample{
		gauge("scrub_running", "1 while a round of the scrub runs, 0 between rounds.", one(s.Running)),
		gauge("scrub_segment", "Number of the segment that the scrub is at.", float64(s.Segment)),
		gauge("scrub_done_bytes", "Bytes of segments that the running round has verified.", float64(s.Done)),
		gauge("scrub_total_bytes", "Bytes of segments that the running round verifies.", float64(s.Total)),
		gauge("scrub_eta_seconds", "Estimate of the time until the running round ends.", s.ETA.Round(time.Second).Seconds()),
		gauge("scrub_last_round_timestamp_seconds", "When everything was last verified, in Unix time; 0: never.", last),
		counter("scrub_records", "Records that the scrub verified.", s.Records),
		counter("scrub_bytes", "Bytes that the scrub verified.", s.Bytes),
		counter("scrub_errors", "Records and pieces of segments that failed the scrub.", s.Bad),
		counter("scrub_rounds", "Rounds of the scrub since the volume was made.", int64(s.Rounds)),
		gauge("dead_bytes", "Bytes of ended segments that belong to no living blob.", float64(c.Dead)),
		gauge("compaction_running", "1 while a segment is compacted.", one(c.Running)),
		gauge("compaction_segment", "Number of the segment that is compacted; 0: none.", float64(c.Segment)),
		gauge("compaction_done_bytes", "Bytes of the segment that were copied.", float64(c.Done)),
		gauge("compaction_total_bytes", "Bytes of the segment that are to be copied.", float64(c.Total)),
		gauge("compaction_bytes_per_second", "Rate of the running compaction.", float64(c.Rate)),
		gauge("compaction_candidates", "Segments that are dead enough to be compacted.", float64(c.Candidate)),
		counter("compacted_segments", "Segments compacted.", st.Compacted),
		counter("compaction_copied_bytes", "Bytes of blobs copied by compaction.", st.CopiedBytes),
		counter("returned_bytes", "Bytes of the segments that were removed.", st.Returned),
		counter("checkpoints", "Times the index was written down.", st.Checkpoints),
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
