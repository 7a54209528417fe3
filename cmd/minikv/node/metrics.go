package node

import (
	"context"
	"strconv"

	"minikv/coordinator"
	"minikv/internal/config"
	"minikv/internal/telemetry"
	"minikv/proto/metapb"
)

// coordinatorSamples are the numbers of this process's coordinator. The counts are of the state that it has applied.
func coordinatorSamples(c *coordinator.Coordinator) []telemetry.Sample {
	st := c.Status()
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge := func(name, help string, v float64) telemetry.Sample {
		return telemetry.Sample{Name: name, Help: help, Value: v}
	}
	counter := func(name, help string, v uint64) telemetry.Sample {
		return telemetry.Sample{Name: name, Help: help, Value: float64(v), Counter: true}
	}
	out := []telemetry.Sample{
		gauge("minikv_coordinator_ready", "1 when metadata can be read and decided.", flag(st.Ready)),
		gauge("minikv_coordinator_storage_full", "1 when writes are refused for lack of space.", flag(st.StorageFull)),
		gauge("minikv_raft_term", "Raft term.", float64(st.Term)),
		gauge("minikv_raft_leader", "1 when this coordinator leads.", flag(st.State == "Leader")),
		gauge("minikv_raft_leader_known", "1 when this coordinator knows who leads.", flag(st.Leader != "")),
		counter("minikv_raft_commit_index", "Highest committed entry.", st.CommitIndex),
		counter("minikv_raft_applied_index", "Highest entry in the state machine.", st.AppliedIndex),
		gauge("minikv_raft_apply_lag", "Committed entries that are not in the state machine yet.", float64(st.CommitIndex-min(st.CommitIndex, st.AppliedIndex))),
		counter("minikv_raft_snapshot_index", "Entry of the newest snapshot.", st.SnapshotIndex),
		counter("minikv_raft_log_bytes_total", "Bytes appended to the log since the start.", st.LogBytes),
		counter("minikv_raft_proposals_total", "Commands that were put into entries here.", st.Proposed),
		gauge("minikv_raft_proposals_queued", "Commands that wait to be put into an entry.", float64(st.Queued)),
		gauge("minikv_raft_proposals_in_flight", "Commands in entries that are not decided yet.", float64(st.InFlight)),
		counter("minikv_raft_proposals_unknown_total", "Commands in entries that ended without anyone knowing whether they will take effect.", st.Unknown),
		counter("minikv_raft_entries_total", "Entries that were proposed here.", st.Entries),
		counter("minikv_raft_reads_total", "Linearizable reads that were asked here.", st.Reads),
		counter("minikv_raft_read_rounds_total", "Rounds of questions to the other voters, each for all reads that waited.", st.ReadRounds),
	}
	return append(append(out, memberSamples(c)...), countSamples(c.Counts())...)
}

// nodeSamples count the nodes that the leader hears, by role, and tell of settings in which nodes differ; empty where another one leads.
func nodeSamples(c *coordinator.Coordinator) (out []telemetry.Sample) {
	known, err := c.Nodes(context.Background())
	if err != nil {
		return nil
	}
	up, down := map[string]int{}, map[string]int{}
	for _, k := range known.Nodes {
		for _, role := range k.Info.GetRoles() {
			if k.SilentMs < nodeUp.Milliseconds() {
				up[role]++
			} else {
				down[role]++
			}
		}
	}
	for _, role := range []string{config.RoleGateway, config.RoleCoordinator, config.RoleVolume} {
		for state, counts := range map[string]map[string]int{"up": up, "down": down} {
			out = append(out, telemetry.Sample{Name: "minikv_cluster_nodes", Help: "Nodes by role, as the leader hears of them.",
				Value: float64(counts[role]), Labels: map[string]string{"role": role, "state": state}})
		}
	}
	for _, d := range known.Differences {
		out = append(out, telemetry.Sample{Name: "minikv_cluster_setting_differs", Help: "1 for a setting that should be the same on several nodes and is not; told by the leader.",
			Value: 1, Labels: map[string]string{"setting": d.Setting}})
	}
	return out
}

func memberSamples(c *coordinator.Coordinator) []telemetry.Sample {
	members, err := c.Members()
	if err != nil {
		return nil
	}
	voters := 0
	for _, m := range members {
		if m.Voter {
			voters++
		}
	}
	member := func(kind string, n int) telemetry.Sample {
		return telemetry.Sample{Name: "minikv_raft_members", Help: "Members of the Raft group.", Value: float64(n), Labels: map[string]string{"kind": kind}}
	}
	return []telemetry.Sample{member("voter", voters), member("non_voter", len(members)-voters)}
}

func countSamples(n *metapb.StatsAnswer) []telemetry.Sample {
	if n == nil {
		return nil
	}
	var out []telemetry.Sample
	for _, s := range []struct {
		name, help string
		value      uint64
	}{
		{"buckets", "Buckets.", n.Buckets},
		{"objects", "Objects.", n.Objects},
		{"bytes", "Bytes of the objects.", n.Bytes},
		{"uploads", "Multipart uploads that were begun and not ended.", n.Uploads},
		{"under_replicated", "Replicas that are to be made.", n.Missing},
		{"queued_runs", "Deleted runs whose bytes are still there.", n.Queued},
		{"sessions", "Sessions of gateways.", n.Sessions},
	} {
		out = append(out, telemetry.Sample{Name: "minikv_meta_" + s.name, Help: s.help, Value: float64(s.value)})
	}
	return out
}

// volumeInfo joins the addresses of calls with the numbers of volumes.
func (c *cluster) volumeInfo() (out []telemetry.Sample) {
	for _, v := range c.layout.Load().GetVolumes() {
		out = append(out, telemetry.Sample{
			Name: "minikv_volume_info", Help: "Always 1; which volume is at which address.", Value: 1,
			Labels: map[string]string{"number": strconv.Itoa(int(v.Number)), "node": v.Node, "peer": v.Address},
		})
	}
	return out
}
