package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
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
		r := n.Ask(t, args...)
		require.Zero(t, r.Code, "%+v", r)
		var report doctor.Report
		require.NoError(t, json.Unmarshal([]byte(r.Out), &report))
		require.Equal(t, 12, report.Generations)
		require.GreaterOrEqual(t, report.Succeeded+report.Unknown, 12) // a cluster may change its leader meanwhile
		require.Empty(t, report.Violations)
	}
	run(n.S3)
	r := n.CLI(t, "doctor", "cas", "--endpoint", "http://"+harness.FreePort(t))
	require.Equal(t, 5, r.Code, r.Err)
	require.Contains(t, r.Err, "could not be made")
	require.Empty(t, r.Out, "nothing was counted")
	r = n.CLI(t, "doctor", "cas", "--endpoint", n.REST)
	require.Equal(t, 5, r.Code, r.Err)
	require.Contains(t, r.Err, "is it the REST port?")
	require.Empty(t, r.Out)
	r = harness.Command(t, nil, "doctor", "cas", "--endpoint", n.S3)
	require.Equal(t, 2, r.Code)
	require.Contains(t, r.Err, "credentials are missing")

	c := harness.StartCluster(t, 3, nil)
	run(c.Nodes[0].S3, c.Nodes[1].S3, c.Nodes[2].S3)
}

// TestDoctorOnOtherServers: one that ignores conditions, and one that is no S3 server, end with their codes.
func TestDoctorOnOtherServers(t *testing.T) {
	var key atomic.Value
	ignores := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		switch b, _ := io.ReadAll(r.Body); {
		case r.Method == http.MethodPut:
			key.Store(b)
		case r.Method == http.MethodGet && key.Load() == nil:
			w.WriteHeader(404)
			io.WriteString(w, "<Error><Code>NoSuchBucket</Code></Error>")
		case r.Method == http.MethodGet:
			w.Write(key.Load().([]byte))
		}
	}))
	defer ignores.Close()
	env := map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
	r := harness.Command(t, env, "doctor", "cas", "--endpoint", ignores.URL)
	require.Equal(t, 1, r.Code, "%+v", r)
	require.Contains(t, r.Out, "If-None-Match: * was false was taken")
	require.Contains(t, r.Err, "ignores conditions")
	html := httptest.NewServer(http.NotFoundHandler())
	defer html.Close()
	r = harness.Command(t, env, "doctor", "cas", "--json", "--endpoint", html.URL)
	require.Equal(t, 5, r.Code, "%+v", r)
	var report doctor.Report
	require.NoError(t, json.Unmarshal([]byte(r.Out), &report))
	require.Equal(t, doctor.NotChecked, report.Verdict)
	require.Contains(t, report.Error, "no S3 server")
}
