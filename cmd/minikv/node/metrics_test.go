package node

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// clusterOnly are the metrics of docs/metrics.md that a process alone does not have, or not before something went wrong.
var clusterOnly = []string{
	"minikv_cluster_nodes", "minikv_cluster_setting_differs", "minikv_moves_running", "minikv_moves_total", "minikv_moved_bytes_total",
	"minikv_repair_missing", "minikv_rpc_seconds", "minikv_rpc_errors_total", "minikv_shards_under_replicated", "minikv_volume_info", "minikv_volumes",
}

// What /metrics tells is in the documents, by its name or, below an area (minikv_volume), by the rest of it; and what they name is told.
func TestMetricsAreDocumented(t *testing.T) {
	r := start(t, testConfig(t))
	r.do("PUT", "/k", "value")
	r.s3Do("PUT", "/minikv/s", "value")
	_, text := r.do("GET", "/metrics", "")
	require.NoError(t, r.end())
	metrics, err := os.ReadFile("../../../docs/metrics.md")
	require.NoError(t, err)
	engine, err := os.ReadFile("../../../docs/engine.md")
	require.NoError(t, err)

	var told []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (minikv_[a-z0-9_]+)`).FindAllStringSubmatch(text, -1) {
		name := m[1]
		told = append(told, name)
		rest := strings.SplitN(name, "_", 3)[2]
		quoted := regexp.MustCompile("`(" + name + "|_" + rest + ")[`{]")
		if !quoted.Match(metrics) && !strings.Contains(string(engine), "`"+rest+"`") {
			t.Errorf("%s is not in docs/metrics.md, nor in docs/engine.md", name)
		}
	}
	require.Greater(t, len(told), 50)
	for _, m := range regexp.MustCompile("`(minikv_[a-z0-9_]+)[`{]").FindAllStringSubmatch(string(metrics), -1) {
		if !slices.Contains(told, m[1]) && !slices.Contains(clusterOnly, m[1]) {
			t.Errorf("docs/metrics.md names %s, which there is not", m[1])
		}
	}
}
