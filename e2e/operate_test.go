package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/internal/ops"
)

// statusOf runs minikv status --json.
func statusOf(t *testing.T, n *harness.Node) (ops.StatusAnswer, int) {
	t.Helper()
	r := n.CLI(t, "status", "--json")
	var st ops.StatusAnswer
	require.NoError(t, json.Unmarshal([]byte(r.Out), &st), "%+v", r)
	return st, r.Code
}

func members(t *testing.T, n *harness.Node) map[string]ops.RaftMember {
	t.Helper()
	r := n.CLI(t, "raft", "list", "--json")
	require.Zero(t, r.Code, r.Err)
	var m ops.RaftMembers
	require.NoError(t, json.Unmarshal([]byte(r.Out), &m))
	byNode := map[string]ops.RaftMember{}
	for _, x := range m.Members {
		byNode[x.Node] = x
	}
	require.Len(t, byNode, len(m.Members), r.Out)
	return byNode
}

// TestOperateCluster: status, and changes of the group, through any node.
func TestOperateCluster(t *testing.T) {
	c := harness.StartCluster(t, 3, nil)
	bucket := c.Nodes[0].Bucket(t)
	require.NoError(t, putKey(t.Context(), c.Nodes[0].AWS(), bucket, "k", []byte("v")))

	for _, n := range c.Nodes {
		// A replica that was slow to say that it has the object is missing until it was looked at.
		st := statusShows(t, n, "health", func(st ops.StatusAnswer) bool { return st.Health == ops.Healthy })
		require.Len(t, st.Coordinators, 3)
		require.Len(t, st.Volumes, 3)
		require.EqualValues(t, 1, st.Counts.Objects)
	}
	table := c.Nodes[1].CLI(t, "status")
	require.Zero(t, table.Code, "%+v", table)
	require.Contains(t, table.Out, "health   healthy\n")
	require.Contains(t, table.Out, "coordinator,gateway,volume")

	// The lead goes where it is told to, asked at a follower.
	leader, followers := c.Roles()
	next := "n1"
	if leader == c.Nodes[0] {
		next = "n2"
	}
	r := followers[0].CLI(t, "raft", "transfer", next)
	require.Zero(t, r.Code, r.Err)
	require.Contains(t, r.Out, next+" leads since term")
	require.True(t, members(t, followers[0])[next].Leader)

	// A fourth coordinator votes once it has caught up; by itself and when it is told to, too.
	fourth, rpc := c.Join("n4", "coordinator", "--join", members(t, c.Nodes[0])["n1"].Address+",no-such-host.invalid:5001")
	require.NoError(t, fourth.Launch())
	fourth.WaitReady()
	harness.Eventually(t, 20*time.Second, "n4 votes", func() error {
		if m := members(t, c.Nodes[2]); !m["n4"].Voter {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
	r = c.Nodes[0].CLI(t, "raft", "add", rpc)
	require.Equal(t, 1, r.Code)
	require.Contains(t, r.Err, "node n4 is a member already")
	r = c.Nodes[0].CLI(t, "raft", "add", harness.FreePort(t))
	require.Equal(t, 5, r.Code)
	require.Contains(t, r.Err, "does not answer")

	harness.Eventually(t, 20*time.Second, "a misspelt host is told", func() error {
		if log := fourth.Log(); !strings.Contains(log, "can't be asked") || !strings.Contains(log, "no-such-host.invalid:5001") {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	metricsShow(t, c.Nodes[2],
		"minikv_raft_term ", "minikv_raft_leader_known 1", `minikv_raft_members{kind="voter"} 4`, "minikv_raft_apply_lag ", "minikv_raft_proposals_total ",
		"minikv_raft_read_rounds_total ", "minikv_meta_under_replicated 0", "minikv_meta_objects 1", "minikv_meta_sessions ",
		`minikv_volume_info{node="n1",number="1"`, `minikv_rpc_seconds_count{method="Coordinator/`,
	)

	// The leader itself is removed, added again, and a name that nobody has is refused.
	r = c.Nodes[0].CLI(t, "raft", "transfer", "n4")
	require.Zero(t, r.Code, r.Err)
	r = c.Nodes[0].CLI(t, "raft", "remove", "n4")
	require.Zero(t, r.Code, r.Err)
	require.NotContains(t, members(t, c.Nodes[0]), "n4")
	harness.Eventually(t, 10*time.Second, "n4 says so", func() error {
		if !strings.Contains(fourth.Log(), "removed from the Raft group") {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	r = c.Nodes[0].CLI(t, "raft", "add", rpc)
	require.Zero(t, r.Code, r.Err)
	require.True(t, members(t, c.Nodes[0])["n4"].Voter)
	r = c.Nodes[0].CLI(t, "raft", "remove", "n4")
	require.Zero(t, r.Code, r.Err)
	r = c.Nodes[0].CLI(t, "raft", "remove", "n9")
	require.Equal(t, 3, r.Code)
	require.Contains(t, r.Err, "members are n1, n2, n3")

	// With one of three down the other two are the last quorum, and the verdict says what is missing.
	leader, followers = c.Roles()
	followers[1].Kill()
	down := followers[1]
	st, code := statusOf(t, leader)
	require.Equal(t, ops.Degraded, st.Health)
	require.Equal(t, 8, code)
	require.Contains(t, strings.Join(st.Reasons, "\n"), "coordinator")
	gone := ""
	for i, n := range c.Nodes {
		name := fmt.Sprintf("n%d", i+1)
		if n == down {
			gone = name
			continue
		}
		r = leader.CLI(t, "raft", "remove", name)
		require.Equal(t, 1, r.Code, name)
		require.Contains(t, r.Err, "nothing could be decided", name)
	}
	r = leader.CLI(t, "raft", "remove", gone)
	require.Zero(t, r.Code, r.Err)
	require.Contains(t, r.Err, "2 coordinators vote now")
	require.Len(t, members(t, leader), 2)
	require.NoError(t, putKey(t.Context(), leader.AWS(), bucket, "k2", []byte("v")))

	// In a minority the first request waits for as long as a failover may take; when it is certain, others are told at once.
	for _, n := range c.Nodes {
		if n != leader && n != down {
			n.Kill()
		}
	}
	put := func() (int, time.Duration) {
		began := time.Now()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, leader.REST+"/kv/k3", strings.NewReader("v"))
		require.NoError(t, err)
		req.SetBasicAuth(harness.RootUser, harness.RootPassword)
		resp, err := leader.HTTPClient().Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode, time.Since(began)
	}
	code, took := put()
	t.Logf("the first was told after %v", took)
	require.Equal(t, 503, code)
	require.Greater(t, took, 4*time.Second)
	code, took = put()
	t.Logf("the next after %v", took)
	require.Equal(t, 503, code)
	require.Less(t, took, 3*time.Second)
	st, code = statusOf(t, leader)
	require.Equal(t, ops.Unavailable, st.Health)
	require.Equal(t, 5, code)
	require.Contains(t, strings.Join(st.Reasons, "\n"), "no coordinator leads")
}

func metricsOf(t *testing.T, n *harness.Node) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.REST+"/metrics", nil)
	require.NoError(t, err)
	resp, err := n.HTTPClient().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

// metricsShow waits until a node's metrics hold all of some texts: what they count changes beside the test.
func metricsShow(t *testing.T, n *harness.Node, texts ...string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, "metrics", func() error {
		metrics := metricsOf(t, n)
		for _, text := range texts {
			if !strings.Contains(metrics, text) {
				return fmt.Errorf("no %q in\n%s", text, metrics)
			}
		}
		return nil
	})
}

// TestNodeListAlone: a process alone tells of its volume what status tells.
func TestNodeListAlone(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	bucket := n.Bucket(t)
	require.NoError(t, putKey(t.Context(), n.AWS(), bucket, "k", []byte("v")))
	var a ops.NodeListAnswer
	harness.Eventually(t, time.Minute, "both tell the same", func() error { // segment files may be made between the two
		r := n.CLI(t, "node", "list", "--json")
		require.Zero(t, r.Code, r.Err)
		a = ops.NodeListAnswer{}
		require.NoError(t, json.Unmarshal([]byte(r.Out), &a))
		st, _ := statusOf(t, n)
		require.Len(t, a.Volumes, 1)
		require.Equal(t, st.Volumes[0].Node, a.Volumes[0].Node)
		if st.Volumes[0].Used != a.Volumes[0].Used {
			return fmt.Errorf("%d and %d bytes are used", st.Volumes[0].Used, a.Volumes[0].Used)
		}
		return nil
	})
	require.EqualValues(t, 1, a.Volumes[0].Blobs)
	require.NotZero(t, a.Volumes[0].Free)
}
