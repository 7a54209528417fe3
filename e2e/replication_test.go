package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/internal/ops"
)

// poolNow asks for the pool.
func poolNow(n *harness.Node) (ops.Pool, error) {
	var a ops.PoolListAnswer
	if err := n.Operate("pool/list", ops.None{}, &a); err != nil {
		return ops.Pool{}, err
	}
	if len(a.Pools) != 1 {
		return ops.Pool{}, fmt.Errorf("%+v", a)
	}
	return a.Pools[0], nil
}

func awaitPool(t *testing.T, n *harness.Node, what string, ok func(p ops.Pool) bool) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, what, func() error {
		p, err := poolNow(n)
		if err == nil && !ok(p) {
			err = fmt.Errorf("%+v; %+v", p, operate(t, n, "rebalance/status", ops.None{}))
		}
		return err
	})
}

func steadyAt(replication uint32) func(p ops.Pool) bool {
	return func(p ops.Pool) bool {
		return p.State == "steady" && p.Moving == 0 && p.Replication == replication && p.MembersMin == int(replication)
	}
}

// TestClusterReplicationChanges: from 1 replica to 3 under load of which no request fails; then each volume alone has every byte; from 3 to
// 2, with the leader killed on the way; what was let go is forgotten.
func TestClusterReplicationChanges(t *testing.T) {
	f := harness.StartFleet(t, harness.Plan{Coordinators: 3, Volumes: 3, Gateways: 1, Args: []string{
		"--shards", "24", "--replication", "1", "--epoch.interval", "500ms", "--epoch.lag", "12", "--collect.interval", "500ms",
	}})
	g, v1, v2, v3 := f.Nodes["g1"], f.Nodes["v1"], f.Nodes["v2"], f.Nodes["v3"]
	x := startTraffic(t, g.Bucket(t), true, g)
	harness.Eventually(t, 2*time.Minute, "some writes", func() error {
		if x.ops.Load() < 60 {
			return fmt.Errorf("%d", x.ops.Load())
		}
		return nil
	})
	r := g.Ask(t, "pool", "set-replication", "4")
	require.Equal(t, 1, r.Code)
	require.Contains(t, r.Err, "3 volumes are up and take shards; 4 replicas need as many")
	require.Equal(t, 2, g.Ask(t, "pool", "set-replication", "none").Code)

	r = g.Ask(t, "pool", "set-replication", "3", "--json")
	require.Zero(t, r.Code, r.Err)
	var a ops.PoolListAnswer
	require.NoError(t, json.Unmarshal([]byte(r.Out), &a))
	require.EqualValues(t, 3, a.Pools[0].Replication)
	awaitPool(t, g, "three replicas", steadyAt(3))
	x.end()
	x.tell()
	awaitRepaired(t, g)
	require.Contains(t, g.Ask(t, "pool", "list").Out, "steady")
	alone(t, x, g, v1, v2, v3)
	held := uint64(0)
	for _, v := range volumesByNode(t, g) {
		held += v.Blobs
	}

	r = g.Ask(t, "pool", "set-replication", "2")
	require.Equal(t, 1, r.Code)
	require.Contains(t, r.Err, "--yes")
	operate(t, g, "rebalance/limit", ops.RebalanceLimitRequest{BytesPerSecond: 4 << 20})
	r = g.Ask(t, "pool", "set-replication", "2", "--yes")
	require.Zero(t, r.Code, r.Err)
	leader := f.Leader()
	leader.Kill()
	leader.Run()
	operate(t, g, "rebalance/limit", ops.RebalanceLimitRequest{})
	awaitPool(t, g, "two replicas", steadyAt(2))
	awaitPool(t, g, "what was let go is forgotten", func(p ops.Pool) bool { return p.Kept == 0 })
	awaitVolumes(t, g, "a third is gone", func(all map[string]ops.NodeVolume) bool {
		now := all["v1"].Blobs + all["v2"].Blobs + all["v3"].Blobs // as they told a second ago
		held = max(held, now)
		return all["v1"].Shards+all["v2"].Shards+all["v3"].Shards == 48 && now <= held*3/4
	})
	x.verify(g)
}

// TestClusterZones: of 3 zones with 2 volumes each, no shard has two replicas in one, at first, after another replication, and after a
// drain: everything can be read while a zone is gone, and, once there are as many replicas as zones, while all others are.
func TestClusterZones(t *testing.T) {
	zone := func(name string) string { return "z" + string('a'+(name[1]-'1')%3) }
	f := harness.StartFleet(t, harness.Plan{
		Coordinators: 1, Volumes: 6, Gateways: 1, Args: []string{"--shards", "24", "--replication", "2"},
		Change: func(name string, o *harness.Options) {
			if name[0] == 'v' {
				o.Args = append(o.Args, "--zone", zone(name))
			}
		},
	})
	g := f.Nodes["g1"]
	bucket := g.Bucket(t)
	reads := &traffic{t: t, bucket: bucket}
	const keys = 72
	for i := range keys {
		require.NoError(t, putKey(t.Context(), g.AWS(harness.Retries), bucket, fmt.Sprint("k", i), []byte(fmt.Sprint("v", i))))
	}
	without := func(zones ...string) {
		t.Helper()
		var gone []*harness.Node
		for _, v := range f.Volumes() {
			if slices.Contains(zones, zone(v.Name)) {
				v.Kill()
				gone = append(gone, v)
			}
		}
		for i := range keys {
			harness.Eventually(t, 2*time.Minute, "what is elsewhere", func() error { // those that have just come back are asked again soon
				got, err := reads.get(g.AWS(once), fmt.Sprint("k", i))
				if err == nil && string(got) != fmt.Sprint("v", i) {
					t.Fatalf("without %v: k%d is %q", zones, i, got)
				}
				return err
			})
		}
		var wg sync.WaitGroup
		for _, v := range gone {
			wg.Go(v.Run)
		}
		wg.Wait()
	}
	for _, z := range []string{"za", "zb", "zc"} {
		without(z)
	}
	r := g.Ask(t, "pool", "set-replication", "4")
	require.Zero(t, r.Code, r.Err)
	require.Contains(t, r.Err, "4 replicas are in 3 zones")
	require.Zero(t, g.Ask(t, "pool", "set-replication", "3", "--yes").Code)
	awaitPool(t, g, "three replicas", steadyAt(3))
	each := func() {
		t.Helper()
		for _, gone := range []string{"za zb", "zb zc", "za zc"} {
			without(strings.Fields(gone)...)
		}
	}
	each()
	changeNode(t, g, "node/drain", "v1")
	awaitVolumes(t, g, "v1 is empty", func(all map[string]ops.NodeVolume) bool { return all["v1"].Shards == 0 && all["v4"].Shards == 24 })
	each()
}

// TestClusterWeights: a volume that joins with a weight gets shards by it; another weight moves shards when they are spread.
func TestClusterWeights(t *testing.T) {
	f := harness.StartFleet(t, harness.Plan{
		Coordinators: 1, Volumes: 3, Gateways: 1, Args: []string{"--shards", "48", "--replication", "1"},
		Change: func(name string, o *harness.Options) {
			switch name {
			case "v1", "v2":
				o.Args = append(o.Args, "--volume-weight", "1000")
			case "v3":
				o.Args = append(o.Args, "--volume-weight", "0")
			}
		},
	})
	g := f.Nodes["g1"]
	all := volumesByNode(t, g)
	require.Zero(t, all["v3"].Shards)
	require.Equal(t, 48, all["v1"].Shards+all["v2"].Shards)
	require.InDelta(t, 0.5, all["v1"].Weight, 1e-9)
	r := g.Ask(t, "node", "set-weight", "v3", "2000")
	require.Zero(t, r.Code, r.Err)
	require.Contains(t, r.Out, "50.0% (2000)")
	require.Equal(t, 2, g.Ask(t, "node", "set-weight", "v3", "heavy").Code)
	require.Zero(t, g.Ask(t, "node", "set-weight", "v1", "0").Code)
	r = g.Ask(t, "pool", "set-replication", "3")
	require.Equal(t, 1, r.Code)
	require.Contains(t, r.Err, "volume 1 on v1 has weight 0")
	before := all["v1"].Shards
	operate(t, g, "rebalance/start", ops.None{})
	awaitVolumes(t, g, "the shards are spread", func(all map[string]ops.NodeVolume) bool {
		return all["v1"].Shards == 0 && all["v3"].Shards > all["v2"].Shards && operate(t, g, "rebalance/status", ops.None{}).State == "idle"
	})
	require.NotZero(t, before)
	require.NoError(t, f.Nodes["v3"].Stop())
	f.Nodes["v3"].Run()
	require.EqualValues(t, 2000, *volumesByNode(t, g)["v3"].WeightSet, "what it was told at its start was for the first time only")
	require.Contains(t, g.Ask(t, "node", "set-weight", "v1", "auto").Out, "100.0%")
}

// replicate asks for a number of replicas, whatever it takes: asked for twice it is the same.
func (r *faultRun) replicate(args []string) error {
	n, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return err
	}
	harness.Eventually(r.t, faultAnswered, "set-replication", func() error {
		var a ops.PoolListAnswer
		return r.f.Gateways()[0].Operate("pool/set-replication", ops.PoolReplicationRequest{Replication: uint32(n), Yes: true}, &a)
	})
	return nil
}

func (r *faultRun) replicated([]string) error {
	awaitPool(r.t, r.f.Gateways()[0], "as many replicas as are asked for", func(p ops.Pool) bool { return steadyAt(p.Replication)(p) })
	return nil
}
