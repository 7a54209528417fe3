package meta

import (
	"errors"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// bucketsCachedMax bounds the cached bucket rows.
const bucketsCachedMax = 4096

// Machine applies entries to the rows of a store and answers queries over them. Apply is for one goroutine; Read and Hash may
// run beside it.
//
// What it caches of rows belongs to Apply alone and runs ahead of the store until the batch is committed.
type Machine struct {
	db *kv.DB

	// Of Apply.
	txn       txn
	failed    error // the fatal error, for good
	cluster   *metapb.ClusterRow
	pools     map[uint32]*metapb.PoolRow
	shards    map[uint32][]*shard
	volumes   map[uint32]*metapb.VolumeRow
	buckets   map[string]*metapb.BucketRow
	sessions  map[[idLen]byte]*session
	published published
	dirty     []*session // to be written at the end of the entry
	stats     metapb.StatsAnswer
	counted   bool   // stats changed
	queued    uint32 // queue rows of the entry so far
}

// New makes the state machine over the rows of db. After a restore, make a new one.
func New(db *kv.DB) (*Machine, error) {
	m := &Machine{
		db:        db,
		buckets:   make(map[string]*metapb.BucketRow),
		sessions:  make(map[[idLen]byte]*session),
		published: published{make(map[[blockPrefixBytes]byte]*blockRuns)},
	}
	m.txn.m = m
	if _, err := load(db, statsKey, &m.stats); err != nil {
		return nil, err
	}
	c := new(metapb.ClusterRow)
	found, err := load(db, clusterKey, c)
	if err != nil {
		return nil, err
	}
	if found {
		m.cluster = c
	}
	if c.Level > Level {
		return nil, errs.E("meta.New", errs.Unsupported, "the rows are of level %d; this program knows 1 to %d", c.Level, Level)
	}
	return m, m.loadLayout(db)
}

// Apply applies one committed entry to b, which must then be committed; results are in the order of the commands. Refusals are
// results, of the kinds of internal/errs. An error is fatal: the batch is to be dropped, and nothing may be applied after it;
// it is errs.Unsupported when the entry is of a newer program.
func (m *Machine) Apply(b *kv.Batch, index uint64, e *metapb.Entry) ([]*metapb.Result, error) {
	if m.failed != nil {
		return nil, m.failed
	}
	results, err := m.apply(b, index, e)
	if err != nil {
		m.failed = errs.Wrap("meta.Apply", err)
		return nil, m.failed
	}
	return results, nil
}

func (m *Machine) apply(b *kv.Batch, index uint64, e *metapb.Entry) ([]*metapb.Result, error) {
	if err := CheckEntry(e); err != nil {
		return nil, err
	}
	m.queued = 0
	results := make([]*metapb.Result, len(e.Commands))
	for i, c := range e.Commands {
		m.txn.begin(b, index, uint16(i), c)
		r, err := m.command(&m.txn)
		if err != nil {
			return nil, err
		}
		results[i] = r
	}
	return results, m.endEntry(b)
}

// endEntry writes the rows that many commands of an entry change.
func (m *Machine) endEntry(b *kv.Batch) error {
	for _, s := range m.dirty {
		s.dirty = false
		if err := setRow(b, sessionKey(s.id[:]), &s.row); err != nil {
			return err
		}
	}
	m.dirty = m.dirty[:0]
	if !m.counted {
		return nil
	}
	m.counted = false
	return setRow(b, statsKey, &m.stats)
}

// command runs one command within its session.
func (m *Machine) command(t *txn) (*metapb.Result, error) {
	s, known, err := m.enter(t)
	if known != nil || err != nil {
		return known, err
	}
	res := &metapb.Result{Index: t.index}
	err = m.run(t, res)
	var no *refusal
	switch {
	case err == nil:
		err = t.commit()
	case errors.As(err, &no):
		res = &metapb.Result{Index: t.index, Kind: uint32(no.kind), Message: no.msg, Failed: true, FailedOp: no.op}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return res, m.leave(t, s, res)
}

// absorb takes over what a committed transaction changed in cached rows.
func (m *Machine) absorb(t *txn) error {
	m.queued = t.queued
	if t.stats != (counters{}) {
		m.count(&t.stats)
	}
	if t.cluster != nil {
		m.cluster = t.cluster
	}
	for _, name := range t.buckets {
		delete(m.buckets, name)
	}
	for _, id := range t.ended {
		m.forget(id)
	}
	for _, row := range t.pools {
		m.pools[row.Pool] = row
	}
	for _, row := range t.volumes {
		m.volumes[row.Number] = row
	}
	for _, row := range t.shards {
		m.shards[movePool][row.Shard] = newShard(row)
	}
	if t.layout {
		return m.loadLayout(t.b)
	}
	return nil
}

func (m *Machine) count(d *counters) {
	s := &m.stats
	for _, c := range []struct {
		to *uint64
		by int64
	}{
		{&s.Buckets, d.buckets}, {&s.Objects, d.objects}, {&s.Bytes, d.bytes}, {&s.Uploads, d.uploads},
		{&s.Queued, d.queued}, {&s.Missing, d.missing}, {&s.Sessions, d.sessions},
	} {
		*c.to = uint64(int64(*c.to) + c.by)
	}
	m.counted = true
}

// run carries out the command's operation.
func (m *Machine) run(t *txn, res *metapb.Result) error {
	if op := t.c.GetCreateCluster(); op != nil {
		return t.createCluster(op, res)
	}
	if m.cluster == nil {
		return refuse(errs.Unavailable, "there is no cluster yet")
	}
	if len(t.c.Session) > 0 && t.c.IamRevision != m.cluster.IamRevision {
		return refuse(errs.StaleIAM, "authorized at revision %d, now it is %d", t.c.IamRevision, m.cluster.IamRevision)
	}
	switch op := t.c.Op.(type) {
	case *metapb.Command_OpenSession:
		return t.openSession(op.OpenSession, res)
	case *metapb.Command_RenewSession:
		return nil // done by entering it
	case *metapb.Command_TickEpoch:
		return t.tickEpoch(op.TickEpoch, res)
	case *metapb.Command_CreateBucket:
		return t.createBucket(op.CreateBucket, res)
	case *metapb.Command_DeleteBucket:
		return t.deleteBucket(op.DeleteBucket)
	case *metapb.Command_PutObject:
		return t.putObject(op.PutObject, res)
	case *metapb.Command_DeleteObjects:
		return t.deleteObjects(op.DeleteObjects, res)
	case *metapb.Command_CopyObject:
		return t.copyObject(op.CopyObject, res)
	case *metapb.Command_PutTags:
		return t.putTags(op.PutTags, res)
	case *metapb.Command_CreateUpload:
		return t.createUpload(op.CreateUpload, res)
	case *metapb.Command_PutPart:
		return t.putPart(op.PutPart, res)
	case *metapb.Command_CopyPart:
		return t.copyPart(op.CopyPart, res)
	case *metapb.Command_CompleteUpload:
		return t.completeUpload(op.CompleteUpload, res)
	case *metapb.Command_AbortUpload:
		return t.abortUpload(op.AbortUpload)
	case *metapb.Command_Batch:
		return t.batch(op.Batch, res)
	case *metapb.Command_ReleaseParts:
		return t.releaseParts(op.ReleaseParts, res)
	case *metapb.Command_CollectRuns:
		return t.collectRuns(op.CollectRuns, res)
	case *metapb.Command_ClearMissing:
		return t.clearMissing(op.ClearMissing, res)
	case *metapb.Command_ReportMissing:
		return t.reportMissing(op.ReportMissing, res)
	case *metapb.Command_PruneCompleted:
		return t.pruneCompleted(op.PruneCompleted, res)
	}
	return m.runMembership(t, res)
}

// runMembership carries out the operations on volumes and shards.
func (m *Machine) runMembership(t *txn, res *metapb.Result) error {
	switch op := t.c.Op.(type) {
	case *metapb.Command_RegisterVolume:
		return t.registerVolume(op.RegisterVolume, res)
	case *metapb.Command_SetVolumeState:
		return t.setVolumeState(op.SetVolumeState, res)
	case *metapb.Command_JoinShard:
		return t.joinShard(op.JoinShard, res)
	case *metapb.Command_FlipShard:
		return t.flipShard(op.FlipShard, res)
	case *metapb.Command_CancelJoin:
		return t.cancelJoin(op.CancelJoin, res)
	case *metapb.Command_ReleaseShard:
		return t.releaseShard(op.ReleaseShard, res)
	case *metapb.Command_SetRebalance:
		return t.setRebalance(op.SetRebalance, res)
	case *metapb.Command_SetReplication:
		return t.setReplication(op.SetReplication, res)
	case *metapb.Command_SetVolumeWeight:
		return t.setVolumeWeight(op.SetVolumeWeight, res)
	}
	return refuse(errs.Invalid, "the command has no operation")
}
