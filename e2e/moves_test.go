package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/internal/ops"
)

var movesKills = flag.Int("moves.kills", 2, "kills while shards are spread; half as many during each drain")

// traffic writes and reads keys of its own without a client's retries, and knows what must be there. What fails while another leader is
// elected is tried again, as clients do: a machine that stands still may have no leader for longer than a failover takes.
type traffic struct {
	t      *testing.T
	bucket string
	nodes  []*harness.Node
	strict bool // a failed request fails the test

	stop   context.CancelFunc
	wg     sync.WaitGroup
	ops    atomic.Int64
	errs   atomic.Int64
	terms  atomic.Int64 // requests that failed while another leader was elected
	raised lastTerm

	mu    sync.Mutex
	known map[string]uint64 // key: seed of its bytes; only what was acknowledged and is not being written
}

func startTraffic(t *testing.T, bucket string, strict bool, nodes ...*harness.Node) *traffic {
	ctx, cancel := context.WithCancel(t.Context())
	x := &traffic{t: t, bucket: bucket, nodes: nodes, strict: strict, stop: cancel, known: map[string]uint64{}}
	x.raised.look(nodes)
	t.Cleanup(x.end)
	x.wg.Go(func() {
		for ; ctx.Err() == nil; waitFor(ctx, termLook) {
			x.raised.look(nodes)
		}
	})
	for w := range 4 {
		x.wg.Go(func() { x.write(ctx, w) })
	}
	return x
}

func (x *traffic) end() {
	x.stop()
	x.wg.Wait()
}

func once(o *s3.Options) { o.RetryMaxAttempts = 1 }

func bytesOf(seed uint64) []byte { return noise(seed, int(seed%60_000)+1) }

// try does a request, and again where it failed while another leader was elected; strict traffic has no other failures.
func (x *traffic) try(what string, do func() error) (err error) {
	for range trafficTries {
		began := time.Now()
		if err = do(); err == nil {
			return nil
		}
		if st, _ := status(err); st != http.StatusServiceUnavailable || !x.strict || !x.raised.after(x.t.Context(), x.nodes, began) {
			break
		}
		x.terms.Add(1)
	}
	x.errs.Add(1)
	if x.strict {
		x.t.Errorf("%s: %v", what, err)
	}
	return err
}

const (
	trafficTries = 30
	termLook     = 100 * time.Millisecond
	termWait     = time.Minute
)

// lastTerm is the highest term of a leader that was seen, and when it was first.
type lastTerm struct {
	mu   sync.Mutex // guards what follows
	term uint64
	seen time.Time
}

// look asks the nodes in turn until one knows who leads.
func (l *lastTerm) look(nodes []*harness.Node) bool {
	for _, n := range nodes {
		st, err := n.StatusWithin(2 * time.Second)
		if err != nil || st.Leader == "" {
			continue
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if st.Term > l.term {
			l.term, l.seen = st.Term, time.Now()
		}
		return true
	}
	return false
}

// after waits until someone leads, and says whether the term is one that was first seen after a moment.
func (l *lastTerm) after(ctx context.Context, nodes []*harness.Node, began time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, termWait)
	defer cancel()
	for !l.look(nodes) && ctx.Err() == nil {
		waitFor(ctx, termLook)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen.After(began)
}

// write goes round over a few keys of its own: overwrite, read back, and now and then something large.
func (x *traffic) write(ctx context.Context, w int) {
	r := rand.New(rand.NewPCG(1, uint64(w)))
	for i := 0; ctx.Err() == nil; i++ {
		n := x.nodes[r.IntN(len(x.nodes))]
		client := n.AWS(once)
		key, seed := fmt.Sprintf("t%d/%d", w, i%40), r.Uint64()
		body := bytesOf(seed)
		if i%25 == 0 {
			key, body = fmt.Sprintf("big%d/%d", w, i%2), noise(seed, 5<<20)
		}
		x.mu.Lock()
		old, had := x.known[key]
		delete(x.known, key)
		x.mu.Unlock()
		if had {
			var got []byte
			err := x.try("GET "+key, func() (err error) {
				got, err = x.get(client, key)
				return err
			})
			if err == nil && !bytes.Equal(got, x.want(key, old)) {
				x.t.Errorf("%s has other bytes", key)
			}
		}
		if x.try("PUT "+key, func() error { return putKey(context.WithoutCancel(ctx), client, x.bucket, key, body) }) != nil {
			continue
		}
		x.ops.Add(1)
		x.mu.Lock()
		x.known[key] = seed
		x.mu.Unlock()
	}
}

func (x *traffic) want(key string, seed uint64) []byte {
	if key[0] == 'b' {
		return noise(seed, 5<<20)
	}
	return bytesOf(seed)
}

func (x *traffic) get(client *s3.Client, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.t.Context()), time.Minute) // a test that has failed already waits for it
	defer cancel()
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &x.bucket, Key: aws.String(key)})
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Body.Close() }()
	var b bytes.Buffer
	_, err = b.ReadFrom(out.Body)
	return b.Bytes(), err
}

// tell logs what was done.
func (x *traffic) tell() {
	x.t.Logf("%d writes, %d failed requests, %d more while a leader was elected", x.ops.Load(), x.errs.Load(), x.terms.Load())
}

// verify reads everything that was acknowledged.
func (x *traffic) verify(n *harness.Node) {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for key, seed := range x.known {
		var got []byte
		harness.Eventually(x.t, 2*time.Minute, key, func() (err error) {
			got, err = x.get(n.AWS(harness.Retries), key)
			return err
		})
		if !bytes.Equal(got, x.want(key, seed)) {
			x.t.Errorf("%s has other bytes", key)
		}
	}
}

func volumesByNode(t *testing.T, n *harness.Node) map[string]ops.NodeVolume {
	t.Helper()
	var a ops.NodeListAnswer
	harness.Eventually(t, 2*time.Minute, "node list", func() error {
		a = ops.NodeListAnswer{}
		return n.Operate("node/list", ops.None{}, &a)
	})
	out := map[string]ops.NodeVolume{}
	for _, v := range a.Volumes {
		out[v.Node] = v
	}
	return out
}

func operate(t *testing.T, n *harness.Node, name string, request any) (a ops.RebalanceAnswer) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, name, func() error {
		a = ops.RebalanceAnswer{}
		return n.Operate(name, request, &a)
	})
	return a
}

// changeNode does something to a node; to ask for it twice is as to ask once, if the answer to the first was lost.
func changeNode(t *testing.T, n *harness.Node, name, node string) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, name, func() error {
		var list ops.NodeListAnswer
		return n.Operate(name, ops.NodeRequest{Node: node}, &list)
	})
}

// refuses asks for what must be refused with a cause.
func refuses(t *testing.T, n *harness.Node, name string, request any, cause string) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, name, func() error {
		var list ops.NodeListAnswer
		err := n.Operate(name, request, &list)
		require.Error(t, err)
		if !strings.Contains(err.Error(), cause) {
			return err
		}
		return nil
	})
}

func awaitVolumes(t *testing.T, n *harness.Node, what string, ok func(map[string]ops.NodeVolume) bool) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, what, func() error {
		if all := volumesByNode(t, n); !ok(all) {
			return fmt.Errorf("%+v; %+v", all, operate(t, n, "rebalance/status", ops.None{}))
		}
		return nil
	})
}

func awaitRepaired(t *testing.T, n *harness.Node) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "every replica is there", func() error {
		st, err := n.Status()
		if err == nil && st.UnderReplicated != 0 {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
}

// TestClusterGrowsAndShrinks: 3 volumes become 5, shards are spread, 2 are drained and removed, all under load of which no request
// fails; afterwards each replica alone has every byte.
func TestClusterGrowsAndShrinks(t *testing.T) {
	f := harness.StartFleet(t, harness.Plan{Nodes: 3, Args: []string{"--shards", "24"}})
	n1, n2, n3 := f.Nodes["n1"], f.Nodes["n2"], f.Nodes["n3"]
	x := startTraffic(t, n1.Bucket(t), true, n1, n2, n3)
	v4, v5 := f.Join("v4", "volume"), f.Join("v5", "volume")
	awaitVolumes(t, n1, "5 volumes", func(all map[string]ops.NodeVolume) bool {
		return len(all) == 5 && all["v4"].State == "in" && all["v5"].Health == "up"
	})
	all := volumesByNode(t, n2)
	require.Zero(t, all["v4"].Shards, "a new volume gets nothing before it is asked for")
	require.Equal(t, 24, all["n1"].Shards)
	refuses(t, n1, "node/remove", ops.NodeRequest{Node: "n1"}, "drain it first")

	operate(t, n1, "rebalance/start", ops.None{})
	awaitVolumes(t, n1, "the shards are spread", func(all map[string]ops.NodeVolume) bool {
		return all["v4"].Shards > 0 && all["v5"].Shards > 0 && operate(t, n2, "rebalance/status", ops.None{}).State == "idle"
	})
	spread := operate(t, n3, "rebalance/status", ops.None{})
	t.Logf("spread: %+v", spread)
	require.EqualValues(t, 100, spread.Percent)

	for _, name := range []string{"n1", "n2"} {
		changeNode(t, n3, "node/drain", name)
	}
	refuses(t, n3, "node/drain", ops.NodeRequest{Node: "n3"}, "replicas")
	awaitVolumes(t, n1, "two nodes are empty", func(all map[string]ops.NodeVolume) bool {
		return all["n1"].Shards+all["n2"].Shards == 0 && all["n3"].Shards == 24 && all["v4"].Shards == 24 && all["v5"].Shards == 24
	})
	for _, name := range []string{"n1", "n2"} {
		changeNode(t, n3, "node/remove", name)
	}
	x.end()
	x.tell()
	require.Greater(t, x.ops.Load(), int64(100))
	awaitRepaired(t, n1)
	alone(t, x, n1, n3, v4, v5)
}

// alone reads everything from each of the volumes while the others are dead.
func alone(t *testing.T, x *traffic, through *harness.Node, volumes ...*harness.Node) {
	t.Helper()
	for _, only := range volumes {
		for _, v := range volumes {
			if v != only {
				v.Kill()
			}
		}
		x.verify(through)
		for _, v := range volumes {
			if v != only {
				v.Run()
			}
		}
	}
}

// TestClusterMovesUnderKills: while shards are spread and drained, leader, sources and targets are killed with kill -9 again and again.
// Moves end once all live; what left forgets its blobs when the horizon has passed; every byte that was acknowledged is on each replica.
func TestClusterMovesUnderKills(t *testing.T) {
	f := harness.StartFleet(t, harness.Plan{Nodes: 3, Args: []string{
		"--shards", "12", "--down-after", "3s", "--epoch.interval", "500ms", "--epoch.lag", "12", "--collect.interval", "1s",
	}})
	n1, n2, n3 := f.Nodes["n1"], f.Nodes["n2"], f.Nodes["n3"]
	x := startTraffic(t, n1.Bucket(t), false, n1, n2, n3)
	v4, v5 := f.Join("v4", "volume"), f.Join("v5", "volume")
	all := []*harness.Node{n1, n2, n3, v4, v5}
	awaitVolumes(t, n1, "5 volumes", func(all map[string]ops.NodeVolume) bool { return len(all) == 5 && all["v5"].Health == "up" })
	operate(t, n1, "rebalance/limit", ops.RebalanceLimitRequest{BytesPerSecond: 4 << 20})
	operate(t, n1, "rebalance/start", ops.None{})
	r := rand.New(rand.NewPCG(7, 7))
	kills := func(n int) {
		for range n {
			victim := all[r.IntN(len(all))]
			if r.IntN(3) == 0 {
				victim = leaderOf(t, f)
			}
			victim.Kill()
			pauseFor(t, time.Duration(r.IntN(1500))*time.Millisecond)
			victim.Run()
		}
	}
	kills(*movesKills)
	changeNode(t, n3, "node/drain", "n1")
	kills(*movesKills / 2)
	changeNode(t, n3, "node/drain", "n2")
	kills(*movesKills / 2)
	t.Logf("after the kills: %+v", operate(t, n1, "rebalance/status", ops.None{}))
	operate(t, n1, "rebalance/limit", ops.RebalanceLimitRequest{})
	awaitVolumes(t, n3, "two nodes are empty", func(all map[string]ops.NodeVolume) bool {
		return all["n1"].Shards+all["n2"].Shards == 0 && all["n3"].Shards+all["v4"].Shards+all["v5"].Shards == 36
	})
	x.end()
	x.tell()
	awaitRepaired(t, n1)
	awaitVolumes(t, n1, "those that left forget their blobs", func(all map[string]ops.NodeVolume) bool {
		return all["n1"].Blobs+all["n2"].Blobs == 0 && all["n1"].Kept+all["n2"].Kept == 0
	})
	alone(t, x, n1, n3, v4, v5)
}

func leaderOf(t *testing.T, f *harness.Fleet) (leader *harness.Node) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "a leader", func() error {
		for _, n := range f.Gateways() {
			if st, err := n.Status(); err == nil && f.Nodes[st.Leader] != nil {
				leader = f.Nodes[st.Leader]
				return nil
			}
		}
		return fmt.Errorf("none answers")
	})
	return leader
}

// pauseFor lets a fault last.
func pauseFor(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
