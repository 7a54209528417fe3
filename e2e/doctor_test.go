package e2e

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/cmd/minikv/doctor"
	"minikv/e2e/harness"
)

// TestDoctorCAS finds nothing to complain about, on one endpoint and on three of a cluster; and says what it can't check.
func TestDoctorCAS(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	run := func(endpoints ...string) {
		t.Helper()
		args := []string{"doctor", "cas", "--json", "--writers", "50", "--generations", "12"}
		for _, e := range endpoints {
			args = append(args, "--endpoint", e)
		}
		r := n.CLI(t, args...)
		require.Zero(t, r.Code, "%+v", r)
		var report doctor.Report
		require.NoError(t, json.Unmarshal([]byte(r.Out), &report))
		require.Equal(t, 12, report.Generations)
		require.Equal(t, 12, report.Succeeded)
		require.Empty(t, report.Violations)
	}
	run(n.S3)
	r := n.CLI(t, "doctor", "cas", "--endpoint", "http://"+harness.FreePort(t))
	require.Equal(t, 5, r.Code, r.Err)
	require.Contains(t, r.Err, "could not be made")
	r = harness.Command(t, nil, "doctor", "cas", "--endpoint", n.S3)
	require.Equal(t, 2, r.Code)
	require.Contains(t, r.Err, "credentials are missing")

	c := harness.StartCluster(t, 3, nil)
	run(c.Nodes[0].S3, c.Nodes[1].S3, c.Nodes[2].S3)
}
