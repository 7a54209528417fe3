package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// alarms are the lines of a log at level warn and above, but those of requests.
func alarms(log string) (out []string) {
	for line := range strings.Lines(log) {
		field := strings.SplitN(line, "\t", 3)
		if len(field) == 3 && field[1] != "INFO" && field[1] != "DEBUG" && !strings.Contains(field[2], "\trequest\t") {
			out = append(out, line)
		}
	}
	return out
}

// TestACleanRunIsQuiet: starting, working and stopping is nothing to warn of.
func TestACleanRunIsQuiet(t *testing.T) {
	if harness.Tiers() {
		t.Skip("about one process")
	}
	n := harness.Start(t, harness.Options{})
	bucket := n.Bucket(t)
	for range 3 {
		require.NoError(t, putKey(t.Context(), n.AWS(), bucket, "key", noise(1, 1<<20)))
		require.NoError(t, n.Stop())
		n.Run()
	}
	require.NoError(t, n.Stop())
	require.Empty(t, alarms(n.Log()))
	require.Contains(t, n.Log(), "shutting down")
}

// TestAClusterStopsQuietly, node by node: what is left says which coordinators are gone, and that there is no quorum, and nothing else.
func TestAClusterStopsQuietly(t *testing.T) {
	c := harness.StartCluster(t, 3, nil)
	bucket := c.Nodes[0].Bucket(t)
	require.NoError(t, putKey(t.Context(), c.Nodes[1].AWS(), bucket, "key", noise(1, 1<<20)))
	leader, followers := c.Roles()
	before := map[*harness.Node]int{}
	all := append([]*harness.Node{leader}, followers...)
	for _, n := range all {
		before[n] = len(n.Log())
	}
	for _, n := range all {
		require.NoError(t, n.Stop())
	}
	told := []string{
		"a coordinator does not answer", "failed to contact quorum of nodes, stepping down",
		"failed to contact\t", "eartbeat timeout reached", "lection timeout reached", // on a busy machine
		// When those that are left take longer to end than a failover.
		"no coordinator leads: requests are refused until one does", "the leader does not hear this node",
		"a coordinator of --cluster or --join can't be asked",
	}
	for _, n := range all {
		for _, line := range alarms(n.Log()[before[n]:]) {
			known := false
			for _, text := range told {
				known = known || strings.Contains(line, text)
			}
			if !known || strings.Contains(line, "\tERROR\t") {
				t.Errorf("%s", line)
			}
		}
	}
}
