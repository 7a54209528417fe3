package e2e

import (
	"testing"

	"minikv/e2e/harness"
	"minikv/internal/ops"
)

// TestClusterOfOneReplicaMoves: with one replica of each blob, a move leaves no one who confirmed a write before; still no request fails.
func TestClusterOfOneReplicaMoves(t *testing.T) {
	f := harness.StartFleet(t, harness.Plan{Nodes: 3, Args: []string{"--shards", "24", "--replication", "1"}})
	n1, n2, n3 := f.Nodes["n1"], f.Nodes["n2"], f.Nodes["n3"]
	x := startTraffic(t, n1.Bucket(t), true, n1, n2, n3)
	for _, name := range []string{"n1", "n2"} {
		changeNode(t, n3, "node/drain", name)
		awaitVolumes(t, n1, name+" is empty", func(all map[string]ops.NodeVolume) bool { return all[name].Shards == 0 })
	}
	changeNode(t, n3, "node/add", "n1")
	operate(t, n1, "rebalance/start", ops.None{})
	awaitVolumes(t, n1, "the shards are spread", func(all map[string]ops.NodeVolume) bool {
		return all["n1"].Shards > 0 && operate(t, n2, "rebalance/status", ops.None{}).State == "idle"
	})
	x.end()
	x.tell()
	x.verify(n2)
}
