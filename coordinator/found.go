package coordinator

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strings"

	"minikv/coordinator/meta"
	"minikv/coordinator/placement"
	"minikv/coordinator/rebalance"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// foundIfEmpty proposes the cluster when there is none. Two leaders may both try; the first one's stands.
func (c *Coordinator) foundIfEmpty(ctx context.Context) error {
	const op = "coordinator.found"
	l, err := c.layout(ctx)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if len(l.GetCluster().GetId()) > 0 {
		c.founded.Store(true)
		return nil
	}
	volumes, shards, err := c.foundingVolumes()
	if err != nil {
		return err
	}
	if len(volumes) == 0 {
		return errs.E(op, errs.Unavailable, "there is no cluster, and no volume to found one with")
	}
	id := make([]byte, 16)
	rand.Read(id)
	cmd := &metapb.Command{Op: &metapb.Command_CreateCluster{CreateCluster: &metapb.CreateCluster{
		Id: id, Fsync: c.cfg.Fsync,
		Pool:    &metapb.PoolRow{Shards: c.cfg.Pool.Shards, Replication: c.cfg.Pool.Replication, BlobSize: c.cfg.Pool.BlobSize},
		Volumes: volumes,
		Shards:  shards,
	}}}
	if err := c.allow(ctx, op, cmd); err != nil {
		return err
	}
	r, err := c.node.Propose(ctx, cmd)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if r.Failed && errs.Kind(r.Kind) != errs.Conflict {
		return errs.E(op, errs.Kind(r.Kind), "%s", r.Message)
	}
	c.founded.Store(true)
	return nil
}

// foundingVolumes are what a new cluster is founded with, and where its shards go.
func (c *Coordinator) foundingVolumes() ([]*metapb.VolumeRow, []*metapb.ShardRow, error) {
	if c.cfg.FoundWith == 0 {
		if len(c.cfg.Volumes) == 0 {
			return nil, nil, nil
		}
		return c.cfg.Volumes, placedShards(c.cfg.Pool, c.cfg.Volumes), nil
	}
	rows := c.joinedVolumes()
	if len(rows) < max(c.cfg.FoundWith, int(c.cfg.Pool.Replication)) {
		return nil, nil, errs.E("coordinator.found", errs.Unavailable, "%d of %d volumes have joined, with which the cluster is founded%s", len(rows), max(c.cfg.FoundWith, int(c.cfg.Pool.Replication)), ofNodes(rows))
	}
	if err := c.blobsOfNobody(); err != nil {
		return nil, nil, err
	}
	takes := 0
	for _, row := range rows {
		if meta.TakesShards(row) {
			takes++
		}
	}
	if need := int(c.cfg.Pool.Replication); takes < need {
		return nil, nil, errs.E("coordinator.found", errs.Unavailable, "%d volumes with a weight above 0 have joined; %d replicas need as many", takes, need)
	}
	return rows, placedShards(c.cfg.Pool, rows), nil
}

// ofNodes names the nodes of volumes.
func ofNodes(rows []*metapb.VolumeRow) string {
	if len(rows) == 0 {
		return ""
	}
	var names []string
	for _, row := range rows {
		if !slices.Contains(names, row.Node) {
			names = append(names, row.Node)
		}
	}
	return ": those of " + strings.Join(names, ", ")
}

// blobsOfNobody refuses volumes with blobs: there was a cluster, and a new one without its metadata would have them collected.
func (c *Coordinator) blobsOfNobody() error {
	var nodes []string
	blobs := uint64(0)
	for _, h := range c.health.all() {
		if h.last.Blobs > 0 {
			nodes, blobs = append(nodes, h.node), blobs+h.last.Blobs
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	slices.Sort(nodes)
	return errs.E("coordinator.found", errs.Unavailable, "%d blobs of a cluster whose metadata is not here are on volumes of %s: bring a coordinator of it back, or restore "+
		"a backup (minikv restore); for an empty cluster move those volumes away", blobs, strings.Join(slices.Compact(nodes), ", "))
}

// joinedVolumes are numbered in the order of their nodes' names.
func (c *Coordinator) joinedVolumes() []*metapb.VolumeRow {
	var rows []*metapb.VolumeRow
	for _, h := range c.health.all() {
		rows = append(rows, &metapb.VolumeRow{Id: h.last.Incarnation, Node: h.node, Zone: h.zone, Capacity: h.last.DiskTotal, Address: h.last.Address, Weight: h.last.Weight})
	}
	slices.SortFunc(rows, func(a, b *metapb.VolumeRow) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), bytes.Compare(a.Id, b.Id))
	})
	for i, row := range rows {
		row.Number = uint32(i + 1)
	}
	return rows
}

// placedShards spreads the shards over failure domains.
func placedShards(p Pool, rows []*metapb.VolumeRow) []*metapb.ShardRow {
	volumes := make([]placement.Volume, len(rows))
	for i, r := range rows {
		volumes[i] = rebalance.VolumeOf(r)
	}
	shards := make([]*metapb.ShardRow, p.Shards)
	for i, members := range placement.Table(p.Shards, p.Replication, volumes) {
		slices.Sort(members)
		shards[i] = &metapb.ShardRow{Shard: uint32(i), Epoch: 1, Members: members}
	}
	return shards
}
