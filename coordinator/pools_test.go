package coordinator_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"minikv/coordinator"
	"minikv/coordinator/consensus"
	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// stillVolumes move nothing.
type stillVolumes struct{}

var errStill = errs.E("test", errs.Unavailable, "nothing moves here")

func (stillVolumes) Fence(context.Context, uint32, uint32, uint32, uint64) error { return errStill }
func (stillVolumes) ListShard(context.Context, uint32, uint32, uint32, object.BlobID, int) ([]object.BlobInfo, error) {
	return nil, errStill
}
func (stillVolumes) Fetch(context.Context, uint32, []object.Want) ([]object.Fetched, error) {
	return nil, errStill
}

// poolConfig has volumes on nodes in zones, written as node/zone.
func poolConfig(t *testing.T, replication uint32, at ...string) coordinator.Config {
	cfg := testConfig(t, vfs.NewMem(), "/c")
	cfg.Pool.Replication, cfg.Moves, cfg.Volumes = replication, stillVolumes{}, nil
	cfg.DownAfter = time.Hour // nobody tells of them
	for i, s := range at {
		node, zone, _ := strings.Cut(s, "/")
		cfg.Volumes = append(cfg.Volumes, &metapb.VolumeRow{Number: uint32(i + 1), Id: append(make([]byte, 15), byte(i+1)), Node: node, Zone: zone, Capacity: 1 << 30})
	}
	return cfg
}

func replicationOf(t *testing.T, c *coordinator.Coordinator) uint32 {
	t.Helper()
	l, err := c.Layout(t.Context())
	must(t, err)
	return l.Pools[0].Replication
}

// TestReplicationNeedsRoom: volumes, and nodes unless that is forced; zones are told of. Fewer must be meant.
func TestReplicationNeedsRoom(t *testing.T) {
	c := open(t, poolConfig(t, 2, "n1/a", "n2/a", "n3/b", "n3/b", "n4/c"))
	refused := func(kind errs.Kind, text string, q coordinator.ReplicationChange) {
		t.Helper()
		before := replicationOf(t, c)
		if _, err := c.SetReplication(t.Context(), q); !errs.Is(err, kind) || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v", q, err)
		}
		if replicationOf(t, c) != before {
			t.Errorf("%+v changed it", q)
		}
	}
	set := func(q coordinator.ReplicationChange, note string) {
		t.Helper()
		notes, err := c.SetReplication(t.Context(), q)
		if err != nil || replicationOf(t, c) != q.Replication || !strings.Contains(fmt.Sprint(notes), note) {
			t.Fatalf("%+v: %v, %v", q, notes, err)
		}
	}
	refused(errs.Invalid, "1 to 7", coordinator.ReplicationChange{Replication: 8})
	refused(errs.Invalid, "1 to 7", coordinator.ReplicationChange{})
	refused(errs.Invalid, "no pool 3", coordinator.ReplicationChange{Pool: 3, Replication: 3})
	refused(errs.Conflict, "5 volumes are up and take shards; 6 replicas", coordinator.ReplicationChange{Replication: 6})
	refused(errs.Conflict, "5 replicas on 4 nodes", coordinator.ReplicationChange{Replication: 5})
	refused(errs.Conflict, "--yes", coordinator.ReplicationChange{Replication: 1})
	set(coordinator.ReplicationChange{Replication: 5, Crowded: true}, "share a node")
	set(coordinator.ReplicationChange{Replication: 4, Fewer: true}, "3 zones")
	set(coordinator.ReplicationChange{Replication: 3, Fewer: true}, "[]")
	must(t, c.DrainNode(t.Context(), "n4"))
	weight := uint64(0)
	must(t, c.SetWeight(t.Context(), "1", &weight))
	refused(errs.Conflict, "(volume 1 on n1 has weight 0, volume 5 on n4 is draining)", coordinator.ReplicationChange{Replication: 4})
	if err := c.SetWeight(t.Context(), "n2", &weight); !errs.Is(err, errs.Conflict) {
		t.Errorf("the last but two: %v", err)
	}
	if err := c.DrainNode(t.Context(), "n2"); !errs.Is(err, errs.Conflict) {
		t.Errorf("the last but two: %v", err)
	}
	set(coordinator.ReplicationChange{Replication: 3}, "[]") // as it is
}

// TestAloneThereIsOneReplica, and the refusal says why.
func TestAloneThereIsOneReplica(t *testing.T) {
	c := open(t, testConfig(t, vfs.NewMem(), "/c"))
	if _, err := c.SetReplication(t.Context(), coordinator.ReplicationChange{Replication: 1}); err != nil {
		t.Error(err)
	}
	if _, err := c.SetReplication(t.Context(), coordinator.ReplicationChange{Replication: 2}); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "this process is alone") {
		t.Error(err)
	}
}

// TestLevelsAreAskedFor: a command of a newer level is proposed when every coordinator has said that it knows it, and then on.
func TestLevelsAreAskedFor(t *testing.T) {
	cfg := poolConfig(t, 1, "n1", "n2", "n3")
	var level atomic.Int32
	var asked atomic.Int32
	cfg.LevelOf = func(context.Context, consensus.Member) (uint32, error) {
		asked.Add(1)
		if n := level.Load(); n > 0 {
			return uint32(n), nil
		}
		return 0, errs.E("test", errs.Unavailable, "it does not answer")
	}
	c := open(t, cfg)
	must(t, c.Admit(strings.Repeat("ab", 16), "elsewhere"))
	levelNow := func() uint32 {
		l, err := c.Layout(t.Context())
		must(t, err)
		return l.Cluster.Level
	}
	raise := coordinator.ReplicationChange{Replication: 3}
	if _, err := c.SetReplication(t.Context(), raise); !errs.Is(err, errs.Unavailable) {
		t.Errorf("one does not answer: %v", err)
	}
	level.Store(1)
	if _, err := c.SetReplication(t.Context(), raise); !errs.Is(err, errs.Unsupported) {
		t.Errorf("one is old: %v", err)
	}
	if _, err := c.Propose(t.Context(), &metapb.Command{Op: &metapb.Command_SetVolumeWeight{SetVolumeWeight: &metapb.SetVolumeWeight{Number: 1}}}); !errs.Is(err, errs.NotProposed) {
		t.Errorf("by another way: %v", err)
	}
	createBucket(t, connect(t, c), "bucket") // what is of level 1 goes on
	if n := levelNow(); n != 1 || replicationOf(t, c) != 1 {
		t.Fatalf("level %d", n)
	}
	level.Store(meta.Level)
	_, err := c.SetReplication(t.Context(), raise)
	must(t, err)
	if n := levelNow(); n != 2 {
		t.Fatalf("level %d", n)
	}
	late := &coordpb.JoinRequest{Node: "late", Fsync: "always", Incarnation: strings.Repeat("cd", 16), RaftAddress: "late", Level: 1}
	if _, err := c.Join(t.Context(), late); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "too old") {
		t.Errorf("an old coordinator: %v", err)
	}
	level.Store(0)
	before := asked.Load()
	_, err = c.SetReplication(t.Context(), coordinator.ReplicationChange{Replication: 2, Fewer: true})
	must(t, err)
	if asked.Load() != before {
		t.Error("asked again for a level that is in use")
	}
}
