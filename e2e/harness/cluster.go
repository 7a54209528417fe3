package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ClusterSecret is that of every cluster that the harness starts.
const ClusterSecret = "cluster-secret-0123456789"

// Cluster is nodes n1, n2, ... with all roles, each a process.
type Cluster struct {
	Nodes []*Node
	t     testing.TB
}

// ClusterStatus is what a test looks at of /admin/status.
type ClusterStatus struct {
	Leader          string `json:"leader"`
	Term            uint64 `json:"term"`
	UnderReplicated uint64 `json:"under_replicated"`
	Coordinators    map[string]struct {
		State   string `json:"state"`
		Applied uint64 `json:"applied_index"`
	} `json:"coordinators"`
	Volumes map[string]struct {
		Node  string `json:"node"`
		Up    bool   `json:"up"`
		Blobs uint64 `json:"blobs"`
	} `json:"volumes"`
}

// StartCluster runs size nodes, in the order given by order (of 0 to size-1; nil: ascending), and waits until all are ready.
func StartCluster(t testing.TB, size int, order []int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	var peers []string
	rpcs, rafts := make([]string, size), make([]string, size)
	for i := range size {
		rpcs[i], rafts[i] = freePort(t), freePort(t)
		peers = append(peers, fmt.Sprintf("n%d=%s", i+1, rpcs[i]))
	}
	for i := range size {
		c.Nodes = append(c.Nodes, newNode(t, Options{
			Env: map[string]string{"MINIKV_CLUSTER_SECRET": ClusterSecret},
			Args: append([]string{
				"--node", fmt.Sprintf("n%d", i+1), "--cluster", strings.Join(peers, ","), "--rpc", rpcs[i], "--raft", rafts[i],
				"--ballast.size", "1MiB", "--shutdown-timeout", "30s",
			}, args...),
		}))
	}
	if order == nil {
		for i := range size {
			order = append(order, i)
		}
	}
	for _, i := range order {
		if err := c.Nodes[i].Launch(); err != nil {
			t.Fatalf("start: %v", err)
		}
	}
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	return c
}

// newNode is a node that was not started yet.
func newNode(t testing.TB, opts Options) *Node {
	t.Helper()
	n := &Node{t: t, opts: opts, Data: opts.Data, log: &bytes.Buffer{}}
	if n.Data == "" {
		n.Data = filepath.Join(t.TempDir(), "data")
	}
	s3, rest := freePort(t), freePort(t)
	n.args = append([]string{"serve", "--data", n.Data, "--s3", s3, "--rest", rest}, opts.Args...)
	n.S3, n.REST = "http://"+s3, "http://"+rest
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("trouble of %s %s:\n%s", n.Name, n.S3, trouble(n.Log(), 40))
			t.Logf("log of %s %s:\n%s", n.Name, n.S3, tail(n.Log(), 3000))
		}
	})
	return n
}

// Status asks a node how the cluster is.
func (n *Node) Status() (ClusterStatus, error) { return n.StatusWithin(5 * time.Second) }

// StatusWithin is Status with a limit.
func (n *Node) StatusWithin(d time.Duration) (ClusterStatus, error) {
	var out struct {
		Store ClusterStatus `json:"store"`
	}
	req, err := http.NewRequest(http.MethodGet, n.REST+"/admin/status", nil)
	if err != nil {
		return out.Store, err
	}
	req.SetBasicAuth(RootUser, RootPassword)
	client := n.HTTPClient()
	client.Timeout = d
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return out.Store, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return out.Store, err
	}
	if resp.StatusCode != http.StatusOK {
		return out.Store, fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return out.Store, json.Unmarshal(text, &out)
}

// Roles finds the leader and the others, as the first node that answers tells.
func (c *Cluster) Roles() (leader *Node, followers []*Node) {
	c.t.Helper()
	Eventually(c.t, 2*time.Minute, "a leader", func() error {
		var last error
		for _, asked := range c.Nodes {
			st, err := asked.Status()
			if err == nil && st.Leader == "" {
				err = fmt.Errorf("no leader in %+v", st)
			}
			if last = err; err != nil {
				continue
			}
			leader, followers = nil, nil
			for i, n := range c.Nodes {
				if fmt.Sprintf("n%d", i+1) == st.Leader {
					leader = n
				} else {
					followers = append(followers, n)
				}
			}
			return nil
		}
		return last
	})
	return leader, followers
}
