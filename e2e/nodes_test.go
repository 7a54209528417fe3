package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/internal/ops"
)

func nodeOf(t *testing.T, st ops.StatusAnswer, name string) ops.StatusNode {
	t.Helper()
	for _, n := range st.Nodes {
		if n.Node == name {
			return n
		}
	}
	t.Fatalf("no node %s in %+v", name, st.Nodes)
	return ops.StatusNode{}
}

// statusShows waits until the status of n is as wanted.
func statusShows(t *testing.T, n *harness.Node, what string, wanted func(ops.StatusAnswer) bool) (st ops.StatusAnswer) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, what, func() error {
		st, _ = statusOf(t, n)
		if !wanted(st) {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	return st
}

func logShows(t *testing.T, n *harness.Node, texts ...string) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "the log", func() error {
		for _, text := range texts {
			if !strings.Contains(n.Log(), text) {
				return fmt.Errorf("no %q", text)
			}
		}
		return nil
	})
}

// TestNodesOfACluster: every node is seen from every node, and what is wrong among them is told by all who can.
func TestNodesOfACluster(t *testing.T) {
	f := harness.StartFleet(t, harness.Plan{
		Coordinators: 1, Volumes: 3, Gateways: 2, Args: []string{"--collect.interval", "200ms"},
		Change: func(name string, o *harness.Options) {
			if name == "g3" {
				o.Env["MINIKV_ROOT_PASSWORD"] = "another-secret-key-0123456789"
				o.Args = append(o.Args, "--region", "eu-west-1")
			}
		},
	})
	g1 := f.Nodes["g1"]
	for _, asked := range []*harness.Node{g1, f.Nodes["v2"], f.Nodes["c1"]} {
		st := statusShows(t, asked, "all nodes", func(st ops.StatusAnswer) bool { return len(st.Nodes) == 6 && st.Health == ops.Healthy })
		for _, n := range st.Nodes {
			require.True(t, n.Up, "%+v", n)
			require.NotEmpty(t, n.Version, "%+v", n)
			require.NotZero(t, n.Uptime, "%+v", n)
			require.NotEmpty(t, n.REST, "%+v", n)
		}
		g2 := nodeOf(t, st, "g2")
		require.Equal(t, []string{"gateway"}, g2.Roles)
		require.Equal(t, f.Nodes["g2"].S3, "http://"+g2.S3)
		require.Equal(t, f.Nodes["g2"].REST, "http://"+g2.REST)
	}
	metricsShow(t, f.Nodes["c1"], `minikv_cluster_nodes{role="gateway",state="up"} 2`)

	// A gateway with other settings serves, and everybody is told in which.
	g3 := f.Join("g3", "gateway")
	st := statusShows(t, g1, "what differs", func(st ops.StatusAnswer) bool { return len(st.Differences) == 2 })
	require.Equal(t, ops.Degraded, st.Health)
	require.Equal(t, []ops.StatusDifference{
		{Setting: "region", Groups: [][]string{{"g1", "g2"}, {"g3"}}}, {Setting: "root-password", Groups: [][]string{{"g1", "g2"}, {"g3"}}},
	}, st.Differences)
	require.Contains(t, g1.CLI(t, "status").Out, "nodes have different values of root-password: g1, g2 | g3")
	metricsShow(t, f.Nodes["c1"], `minikv_cluster_setting_differs{setting="root-password"} 1`)
	logShows(t, g3, "settings that must be the same differ", "root-password (g1, g2 | g3)")
	logShows(t, g1, "root-password (g1, g2 | g3)")
	logShows(t, f.Nodes["c1"], "nodes differ in a setting")
	for _, n := range f.Nodes {
		require.NotContains(t, n.Log(), harness.RootPassword)
		require.NotContains(t, n.Log(), "another-secret-key")
	}
	// Ended in good order it is no node any more; killed it is missed.
	require.NoError(t, g3.Stop())
	statusShows(t, g1, "g3 is gone", func(st ops.StatusAnswer) bool { return len(st.Nodes) == 6 && st.Health == ops.Healthy })
	f.Nodes["g2"].Kill()
	st = statusShows(t, g1, "g2 is missed", func(st ops.StatusAnswer) bool {
		return st.Health == ops.Degraded && strings.Contains(strings.Join(st.Reasons, "\n"), "gateway g2 is silent")
	})
	require.False(t, nodeOf(t, st, "g2").Up)

	inDoubt(t, f)
	volumeInTheNameOfAnother(t, f)
	firstAnswerInAMinority(t, f, g1)
}

// inDoubt: a volume counts blobs that nobody published.
func inDoubt(t *testing.T, f *harness.Fleet) {
	g1 := f.Nodes["g1"]
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, g1.REST+"/kv/half", r)
	require.NoError(t, err)
	req.ContentLength = 16 << 20
	req.SetBasicAuth(harness.RootUser, harness.RootPassword)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := g1.HTTPClient().Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	_, err = w.Write(make([]byte, 9<<20))
	require.NoError(t, err)
	st := statusShows(t, g1, "blobs in doubt", func(st ops.StatusAnswer) bool { return st.InDoubt.Blobs >= 6 })
	require.EqualValues(t, st.Epoch, st.InDoubt.Epoch)
	require.Contains(t, g1.CLI(t, "status").Out, "prepared blobs, the oldest of epoch 1 (0 epochs ago)")
	require.NotContains(t, metricsOf(t, f.Nodes["v1"]), "minikv_volume_in_doubt_blobs{volume=\"1\"} 0")
	_ = w.CloseWithError(io.ErrUnexpectedEOF)
	<-ended
	metricsShow(t, f.Nodes["c1"], "minikv_raft_proposals_queued 0", "minikv_raft_proposals_in_flight 0", "minikv_raft_proposals_unknown_total 0")
	metricsShow(t, g1, "minikv_gateway_commands_unresolved 0")
}

// volumeInTheNameOfAnother: a second node of a name is refused while the first lives, and replaces it noticeably when it is dead.
func volumeInTheNameOfAnother(t *testing.T, f *harness.Fleet) {
	g1 := f.Nodes["g1"]
	first := f.Nodes["v3"]
	second := f.Another("v3", "volume")
	require.NoError(t, second.Launch())
	require.Error(t, second.Wait(t.Context()))
	require.Contains(t, second.Log(), "another node named v3, at ")
	require.Contains(t, second.Log(), "names are unique")
	st := statusShows(t, g1, "that there was another", func(st ops.StatusAnswer) bool {
		return strings.Contains(strings.Join(nodeOf(t, st, "v3").Notes, "; "), "another node, at ")
	})
	require.Len(t, st.Volumes, 3)
	logShows(t, f.Nodes["c1"], "a node was refused: its name is taken")

	first.Kill()
	second.Run()
	t.Cleanup(second.Kill)
	logShows(t, second, "the data directory is another one")
	logShows(t, f.Nodes["c1"], "a node has come back with another data directory")
	st = statusShows(t, g1, "the volume is replaced", func(st ops.StatusAnswer) bool { return len(st.Volumes) == 4 && !st.Volumes[2].Up && st.Volumes[3].Up })
	require.Contains(t, strings.Join(st.Reasons, "\n"), "volume 3 is gone: v3 came back with another data directory, which has volume 4")
	r := g1.CLI(t, "node", "list")
	require.Zero(t, r.Code, r.Err)
	require.Contains(t, r.Out, "v3: came back ")
}

// firstAnswerInAMinority: a gateway that reaches nobody says so within the time of a failover, whatever is asked first.
func firstAnswerInAMinority(t *testing.T, f *harness.Fleet, g *harness.Node) {
	ask := func(method, key string, size int) (int, time.Duration) {
		began := time.Now()
		req, err := http.NewRequestWithContext(t.Context(), method, g.REST+"/kv/"+key, strings.NewReader(strings.Repeat("v", size)))
		require.NoError(t, err)
		req.SetBasicAuth(harness.RootUser, harness.RootPassword)
		resp, err := g.HTTPClient().Do(req)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body) // the status says it
		_ = resp.Body.Close()
		return resp.StatusCode, time.Since(began)
	}
	code, _ := ask(http.MethodPut, "before", 100)
	require.Equal(t, http.StatusOK, code)
	f.Isolate("g1")
	var asked sync.WaitGroup
	stalls, began := watchStalls(t), time.Now()
	for _, q := range []struct {
		method, key string
		size        int
	}{{http.MethodPut, "small", 100}, {http.MethodPut, "large", 9 << 20}, {http.MethodGet, "before", 0}, {http.MethodDelete, "before", 0}} {
		asked.Go(func() {
			code, took := ask(q.method, q.key, q.size)
			t.Logf("%s %s: %d after %v", q.method, q.key, code, took)
			assert.Equal(t, http.StatusServiceUnavailable, code, "%s %s", q.method, q.key)
			assert.Less(t, took, 9*time.Second+stalls.since(began), "%s %s", q.method, q.key)
		})
	}
	asked.Wait()
}

// TestWhatAStartWaitsFor is told by who waits: at /health/ready, in status and in the log, with the cause.
func TestWhatAStartWaitsFor(t *testing.T) {
	f := harness.StartFleet(t, harness.Plan{
		Coordinators: 3, Volumes: 1, Held: []string{"c3"},
		Change: func(name string, o *harness.Options) {
			if name == "c2" {
				o.Env["MINIKV_CLUSTER_SECRET"] = "another-secret-0123456789"
			}
		},
	})
	wanted := []string{"c2 at ", "another cluster secret", "c3 at "}
	for _, name := range []string{"c1", "v1"} {
		n := f.Nodes[name]
		if name == "v1" {
			wanted = []string{" does not answer as it should: ", "another cluster secret"}
		}
		harness.Eventually(t, 2*time.Minute, "the answer of "+name, func() error {
			resp, err := n.HTTPClient().Get(n.REST + "/health/ready")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			for _, text := range append(wanted, "Starting, and waiting for the cluster: ") {
				if !strings.Contains(string(b), text) || resp.StatusCode != http.StatusServiceUnavailable {
					return fmt.Errorf("%d %s %w", resp.StatusCode, b, err)
				}
			}
			return err
		})
		statusShows(t, n, "what "+name+" waits for", func(st ops.StatusAnswer) bool { // a peer that stalls does not answer at all for a moment
			reasons := strings.Join(st.Reasons, "; ")
			return st.Health == ops.Unavailable && !slices.ContainsFunc(wanted, func(text string) bool { return !strings.Contains(reasons, text) })
		})
		require.Equal(t, 5, n.CLI(t, "status", "--json").Code)
		logShows(t, n, append(wanted, "waiting for the cluster")...)
		require.Contains(t, metricsOf(t, n), "minikv_build_info")
	}
}

// TestStatusAfterAChangeOfLeader: the first answer that names the new leader tells of all the nodes, though leaders know them only from what
// they tell of themselves.
func TestStatusAfterAChangeOfLeader(t *testing.T) {
	f := harness.StartFleet(t, harness.Plan{Coordinators: 3, Volumes: 3, Gateways: 2})
	asked := f.Nodes["g1"]
	old := statusShows(t, asked, "all nodes", func(st ops.StatusAnswer) bool { return st.Leader != "" && len(st.Nodes) == 8 })
	told := func(st ops.StatusAnswer) (all int) {
		for _, n := range st.Nodes {
			if n.Node != old.Leader && n.Up && n.Version != "" && len(n.Roles) > 0 {
				all++
			}
		}
		return all
	}
	stalls, killed := watchStalls(t), time.Now()
	f.Nodes[old.Leader].Kill()
	another := func(st ops.StatusAnswer) bool { return st.Leader != "" && st.Leader != old.Leader }
	st := statusShows(t, asked, "another leader", another)
	if told(st) < 7 && stalls.since(killed) > 0 { // while the machine stands still nobody tells of itself
		st = statusShows(t, asked, "all nodes", func(st ops.StatusAnswer) bool { return another(st) && told(st) >= 7 })
	}
	require.Equal(t, 7, told(st), "%+v", st.Nodes)
	require.True(t, nodeOf(t, st, st.Leader).Up)
}
