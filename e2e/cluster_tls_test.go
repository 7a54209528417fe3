package e2e

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// TestClusterTLS: nodes with certificates that `minikv cert` made form a cluster; a node whose certificate is not there does not start.
func TestClusterTLS(t *testing.T) {
	dir := t.TempDir()
	cert := func(args ...string) {
		t.Helper()
		out, err := exec.Command(harness.Binary(t), append([]string{"cert"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	cert("ca", "--dir", dir)
	for i := range 3 {
		cert("node", "--dir", dir, fmt.Sprintf("n%d", i+1))
	}
	c := harness.StartCluster(t, 3, nil, "--cluster-tls", dir)
	bucket := c.Nodes[0].Bucket(t)
	require.NoError(t, putKey(t.Context(), c.Nodes[1].AWS(harness.Retries), bucket, "k", []byte("v")))
	require.Equal(t, "v", string(get(t, c.Nodes[2].AWS(harness.Retries), bucket, "k")))
	out := serveFails(t, []string{"MINIKV_ROOT_USER=rootkey", "MINIKV_ROOT_PASSWORD=root-secret-key", "MINIKV_CLUSTER_SECRET=" + harness.ClusterSecret},
		"--data", t.TempDir()+"/d", "--s3", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--node", "n9", "--join", "127.0.0.1:1", "--rpc", "127.0.0.1:0",
		"--cluster-tls", dir)
	require.Contains(t, out, "cluster-tls")
}
