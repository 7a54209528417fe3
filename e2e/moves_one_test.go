package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/internal/ops"
)

// TestClusterOfOneReplicaMoves: with one replica of each blob, a move leaves no one who confirmed a write before; still no request fails.
func TestClusterOfOneReplicaMoves(t *testing.T) {
	f := harness.StartFleet(t, harness.Plan{Nodes: 3, Args: []string{"--shards", "24", "--replication", "1"}})
	n1, n2, n3 := f.Nodes["n1"], f.Nodes["n2"], f.Nodes["n3"]
	x := startTraffic(t, n1.Bucket(t), true, n1, n2, n3)
	var list ops.NodeListAnswer
	for _, name := range []string{"n1", "n2"} {
		require.NoError(t, n3.Operate("node/drain", ops.NodeRequest{Node: name}, &list))
		awaitVolumes(t, n1, name+" is empty", func(all map[string]ops.NodeVolume) bool { return all[name].Shards == 0 })
	}
	require.NoError(t, n3.Operate("node/add", ops.NodeRequest{Node: "n1"}, &list))
	operate(t, n1, "rebalance/start", ops.None{})
	awaitVolumes(t, n1, "the shards are spread", func(all map[string]ops.NodeVolume) bool {
		return all["n1"].Shards > 0 && operate(t, n2, "rebalance/status", ops.None{}).State == "idle"
	})
	x.end()
	t.Logf("%d writes, %d failed requests", x.ops.Load(), x.errs.Load())
	x.verify(n2)
}
