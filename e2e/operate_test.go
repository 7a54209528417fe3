package e2e

import (
	"encoding/json"
	"errors"
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
	r := n.Ask(t, "raft", "list", "--json")
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
	require.NoError(t, putKey(t.Context(), c.Nodes[0].AWS(harness.Retries), bucket, "k", []byte("v")))

	for _, n := range c.Nodes {
		// A replica that was slow to say that it has the object is missing until it was looked at.
		st := statusShows(t, n, "health", func(st ops.StatusAnswer) bool { return st.Health == ops.Healthy })
		require.Len(t, st.Coordinators, 3)
		require.Len(t, st.Volumes, 3)
		require.EqualValues(t, 1, st.Counts.Objects)
	}
	harness.Eventually(t, 2*time.Minute, "the table", func() error {
		table := c.Nodes[1].CLI(t, "status")
		if table.Code != 0 || !strings.Contains(table.Out, "health   healthy\n") || !strings.Contains(table.Out, "coordinator,gateway,volume") {
			return fmt.Errorf("%+v", table)
		}
		return nil
	})

	// The lead goes where it is told to, asked at a follower.
	leader, followers := c.Roles()
	next := "n1"
	if leader == c.Nodes[0] {
		next = "n2"
	}
	transfer(t, followers[0], next)

	// A fourth coordinator votes once it has caught up; by itself and when it is told to, too.
	fourth, rpc := c.Join("n4", "coordinator", "--join", members(t, c.Nodes[0])["n1"].Address+",no-such-host.invalid:5001")
	require.NoError(t, fourth.Launch())
	fourth.WaitReady()
	harness.Eventually(t, 2*time.Minute, "n4 votes", func() error {
		if m := members(t, c.Nodes[2]); !m["n4"].Voter {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
	r := c.Nodes[0].Ask(t, "raft", "add", rpc)
	require.Equal(t, 1, r.Code)
	require.Contains(t, r.Err, "node n4 is a member already")
	harness.Eventually(t, 2*time.Minute, "what does not answer is not added", func() error {
		r := c.Nodes[0].CLI(t, "raft", "add", harness.FreePort(t))
		require.Equal(t, 5, r.Code)
		if !strings.Contains(r.Err, "does not answer") {
			return errors.New(r.Err)
		}
		return nil
	})

	harness.Eventually(t, 2*time.Minute, "a misspelt host is told", func() error {
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
	transfer(t, c.Nodes[0], "n4")
	removed(t, c.Nodes[0], "n4")
	harness.Eventually(t, 2*time.Minute, "n4 says so", func() error {
		if !strings.Contains(fourth.Log(), "removed from the Raft group") {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	harness.Eventually(t, 2*time.Minute, "n4 votes again", func() error {
		if r = c.Nodes[0].Ask(t, "raft", "add", rpc); !members(t, c.Nodes[0])["n4"].Voter {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	removed(t, c.Nodes[0], "n4")
	r = c.Nodes[0].Ask(t, "raft", "remove", "n9")
	require.Equal(t, 3, r.Code)
	require.Contains(t, r.Err, "members are n1, n2, n3")

	// With one of three down the other two are the last quorum, and the verdict says what is missing.
	leader, followers = c.Roles()
	followers[1].Kill()
	down := followers[1]
	harness.Eventually(t, 2*time.Minute, "the verdict", func() error {
		st, code := statusOf(t, leader)
		if st.Health != ops.Degraded || code != 8 || !strings.Contains(strings.Join(st.Reasons, "\n"), "coordinator") {
			return fmt.Errorf("%d %+v", code, st)
		}
		return nil
	})
	gone := ""
	for i, n := range c.Nodes {
		name := fmt.Sprintf("n%d", i+1)
		if n == down {
			gone = name
			continue
		}
		r = leader.Ask(t, "raft", "remove", name)
		require.Equal(t, 1, r.Code, name)
		require.Contains(t, r.Err, "nothing could be decided", name)
	}
	if r = removed(t, leader, gone); r.Code == 0 {
		require.Contains(t, r.Err, "2 coordinators vote now")
	}
	require.Len(t, members(t, leader), 2)
	require.NoError(t, putKey(t.Context(), leader.AWS(harness.Retries), bucket, "k2", []byte("v")))

	// In a minority the first request waits for as long as a failover may take; when it is certain, others are told at once.
	stalls, lost := watchStalls(t), time.Now()
	for _, n := range c.Nodes {
		if n != leader && n != down {
			n.Kill()
		}
	}
	put := func(began time.Time) (int, time.Duration) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, leader.REST+"/kv/k3", strings.NewReader("v"))
		require.NoError(t, err)
		req.SetBasicAuth(harness.RootUser, harness.RootPassword)
		resp, err := leader.HTTPClient().Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode, time.Since(began)
	}
	code, took := put(lost)
	t.Logf("the first was told after %v", took)
	require.Equal(t, 503, code)
	require.Greater(t, took, 4*time.Second)
	began := time.Now()
	code, took = put(began)
	t.Logf("the next after %v", took)
	require.Equal(t, 503, code)
	require.Less(t, took, 3*time.Second+stalls.since(began))
	st, code := statusOf(t, leader)
	require.Equal(t, ops.Unavailable, st.Health)
	require.Equal(t, 5, code)
	require.Contains(t, strings.Join(st.Reasons, "\n"), "no coordinator leads")
}

// transfer has a coordinator lead. It may have lost the lead again, and then gets it again.
func transfer(t *testing.T, asked *harness.Node, to string) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "transfer to "+to, func() error {
		r := asked.CLI(t, "raft", "transfer", to)
		if r.Code != 0 {
			return fmt.Errorf("%+v", r)
		}
		require.Contains(t, r.Out, to+" leads since term")
		if m := members(t, asked); !m[to].Leader {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
}

// removed takes a coordinator out of the group; the answer to the first attempt may be lost.
func removed(t *testing.T, asked *harness.Node, name string) (r harness.Ran) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "remove "+name, func() error {
		if r = asked.CLI(t, "raft", "remove", name); r.Code == 0 || members(t, asked)[name].Node == "" {
			return nil
		}
		return fmt.Errorf("%+v", r)
	})
	require.NotContains(t, members(t, asked), name)
	return r
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
	harness.Eventually(t, 2*time.Minute, "metrics", func() error {
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
