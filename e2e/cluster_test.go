package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// awaitWhole waits until no replica is missing and all volumes have as many blobs.
func awaitWhole(t *testing.T, n *harness.Node) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "every replica is there", func() error {
		st, err := n.Status()
		if err != nil {
			return err
		}
		blobs := map[uint64]bool{}
		for _, v := range st.Volumes {
			blobs[v.Blobs] = true
			if !v.Up {
				return fmt.Errorf("%+v", st)
			}
		}
		if st.UnderReplicated != 0 || len(blobs) != 1 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

// awaitStatus waits until the status is as wanted: while a leader is elected it says less.
func awaitStatus(t *testing.T, n *harness.Node, what string, wanted func(harness.ClusterStatus) bool) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, what, func() error {
		st, err := n.Status()
		if err == nil && !wanted(st) {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
}

func putKey(ctx context.Context, c *s3.Client, bucket, key string, body []byte) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
	return err
}

// TestClusterForms in any order; what one gateway wrote, each other reads; the loss of any one process is survived, and what it
// missed is brought to it.
func TestClusterForms(t *testing.T) {
	c := harness.StartCluster(t, 3, []int{2, 0, 1})
	bucket := c.Nodes[0].Bucket(t)
	big := noise(7, 9<<20)
	require.NoError(t, putKey(t.Context(), c.Nodes[1].AWS(harness.Retries), bucket, "big", big))
	for _, n := range c.Nodes {
		require.True(t, bytes.Equal(big, get(t, n.AWS(harness.Retries), bucket, "big")))
	}
	awaitStatus(t, c.Nodes[2], "three of each", func(st harness.ClusterStatus) bool { return len(st.Coordinators) == 3 && len(st.Volumes) == 3 })
	awaitWhole(t, c.Nodes[2])

	for round, killLeader := range []bool{true, false} {
		leader, followers := c.Roles()
		victim, survivor := followers[0], leader
		if killLeader {
			victim, survivor = leader, followers[0]
		}
		victim.Kill()
		began := time.Now()
		key := fmt.Sprintf("while-%d", round)
		harness.Eventually(t, 2*time.Minute, "writes go on", func() error {
			return putKey(t.Context(), survivor.AWS(harness.Retries), bucket, key, []byte(key))
		})
		t.Logf("leader killed: %v; a write was acknowledged after %v", killLeader, time.Since(began))
		require.Equal(t, key, string(get(t, survivor.AWS(harness.Retries), bucket, key)))
		require.True(t, bytes.Equal(big, get(t, survivor.AWS(harness.Retries), bucket, "big")))
		awaitStatus(t, survivor, "a replica is missing", func(st harness.ClusterStatus) bool { return st.UnderReplicated > 0 })
		victim.Run()
		require.Equal(t, key, string(get(t, victim.AWS(harness.Retries), bucket, key)))
		awaitWhole(t, survivor)
	}
}

// TestClusterRepairedReplicasAreGood: after a repair, each volume alone with one other can serve everything, whichever is gone.
func TestClusterRepairedReplicasAreGood(t *testing.T) {
	c := harness.StartCluster(t, 3, nil)
	bucket := c.Nodes[0].Bucket(t)
	_, followers := c.Roles()
	followers[0].Kill()
	for i := range 40 {
		require.NoError(t, putKey(t.Context(), followers[1].AWS(harness.Retries), bucket, fmt.Sprint(i), noise(uint64(i), 10_000*i)))
	}
	followers[0].Run()
	awaitWhole(t, followers[0])
	for _, gone := range c.Nodes {
		gone.Kill()
		for i, n := range c.Nodes {
			if n == gone {
				continue
			}
			harness.Eventually(t, 2*time.Minute, "reads go on", func() error {
				_, err := n.AWS(harness.Retries).HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("1")})
				return err
			})
			for k := range 40 {
				require.True(t, bytes.Equal(noise(uint64(k), 10_000*k), get(t, n.AWS(harness.Retries), bucket, fmt.Sprint(k))), "node %d key %d", i, k)
			}
		}
		gone.Run()
	}
}

// TestClusterMinorityRefuses (I14): alone, a node neither reads nor writes; with a second one, service resumes by itself.
func TestClusterMinorityRefuses(t *testing.T) {
	c := harness.StartCluster(t, 3, nil)
	bucket := c.Nodes[0].Bucket(t)
	require.NoError(t, putKey(t.Context(), c.Nodes[0].AWS(harness.Retries), bucket, "k", []byte("v")))
	c.Nodes[1].Kill()
	c.Nodes[2].Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, err := c.Nodes[0].AWS().GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("k")})
	st, _ := status(err)
	require.Equal(t, http.StatusServiceUnavailable, st, "%v", err)
	err = putKey(ctx, c.Nodes[0].AWS(), bucket, "k", []byte("w"))
	st, _ = status(err)
	require.Equal(t, http.StatusServiceUnavailable, st, "%v", err)
	c.Nodes[1].Run()
	harness.Eventually(t, 2*time.Minute, "service resumes", func() error {
		return putKey(t.Context(), c.Nodes[0].AWS(harness.Retries), bucket, "after", []byte("x"))
	})
}

// TestClusterRestartsAllAtOnce: kill -9 of every process; all that was acknowledged is there.
func TestClusterRestartsAllAtOnce(t *testing.T) {
	c := harness.StartCluster(t, 3, nil)
	bucket := c.Nodes[0].Bucket(t)
	for i := range 30 {
		require.NoError(t, putKey(t.Context(), c.Nodes[i%3].AWS(harness.Retries), bucket, fmt.Sprint(i), noise(uint64(i), 5000)))
	}
	for _, n := range c.Nodes {
		n.Kill()
	}
	for _, n := range c.Nodes {
		require.NoError(t, n.Launch())
	}
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	for i := range 30 {
		require.True(t, bytes.Equal(noise(uint64(i), 5000), get(t, c.Nodes[(i+1)%3].AWS(harness.Retries), bucket, fmt.Sprint(i))))
	}
}

// TestClusterRollingRestart: SIGTERM hands leadership over; each node comes back.
func TestClusterRollingRestart(t *testing.T) {
	c := harness.StartCluster(t, 3, nil)
	bucket := c.Nodes[0].Bucket(t)
	for i, n := range c.Nodes {
		require.NoError(t, n.Stop())
		other := c.Nodes[(i+1)%3]
		harness.Eventually(t, 2*time.Minute, "writes go on", func() error {
			return putKey(t.Context(), other.AWS(harness.Retries), bucket, fmt.Sprint(i), []byte("x"))
		})
		n.Run()
	}
	awaitWhole(t, c.Nodes[0])
}

// TestClusterWipedCoordinator comes back empty under its old name and address: it is a new member, and becomes a voter once it has
// caught up, so that the loss of another node is survived again. Its blobs are gone and are not brought back to it.
func TestClusterWipedCoordinator(t *testing.T) {
	c := harness.StartCluster(t, 3, nil)
	bucket := c.Nodes[0].Bucket(t)
	require.NoError(t, putKey(t.Context(), c.Nodes[0].AWS(harness.Retries), bucket, "k", []byte("v")))
	leader, followers := c.Roles()
	wiped := followers[0]
	wiped.Kill()
	require.NoError(t, os.RemoveAll(wiped.Data+"/coordinator"))
	wiped.Run()
	harness.Eventually(t, 2*time.Minute, "the wiped coordinator follows", func() error {
		for _, n := range c.Nodes { // who leads may have changed
			if strings.Contains(n.Log(), "a coordinator has caught up") {
				return nil
			}
		}
		return fmt.Errorf("not promoted yet")
	})
	leader.Kill()
	harness.Eventually(t, 2*time.Minute, "it votes", func() error {
		return putKey(t.Context(), wiped.AWS(harness.Retries), bucket, "after", []byte("x"))
	})
	require.Equal(t, "v", string(get(t, wiped.AWS(harness.Retries), bucket, "k")))
}

// TestClusterSecret: a process with another secret is no member, whatever else it knows.
func TestClusterSecret(t *testing.T) {
	rpc := harness.FreePort(t)
	out := serveFails(t, []string{"MINIKV_ROOT_USER=rootkey", "MINIKV_ROOT_PASSWORD=root-secret-key"}, "--data", t.TempDir()+"/d",
		"--s3", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--node", "n1", "--cluster", "n1="+rpc)
	require.Contains(t, out, "cluster-secret")
	out = serveFails(t, []string{"MINIKV_ROOT_USER=rootkey", "MINIKV_ROOT_PASSWORD=root-secret-key", "MINIKV_CLUSTER_SECRET=0123456789abcdef"},
		"--data", t.TempDir()+"/d", "--s3", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--node", "n1", "--cluster", "n1="+rpc, "--rpc", "0.0.0.0:0")
	require.Contains(t, out, "cluster-plaintext")
}
