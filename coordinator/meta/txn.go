package meta

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"minikv/coordinator/kv"
	"minikv/proto/metapb"
)

// pendingLinearMax is how many changes are searched one by one before an index is built.
const pendingLinearMax = 16

// txn is what one command changes. Changes stay in the transaction until commit, so that a refusal leaves no trace (M1); reads
// of single rows see them, scans do not.
type txn struct {
	m       *Machine
	b       *kv.Batch
	c       *metapb.Command
	index   uint64
	number  uint16 // of the command in the entry
	op      uint16 // of the operation in the command
	queued  uint32 // next number of a queue row in the entry
	stats   counters
	cluster *metapb.ClusterRow // set when changed
	layout  bool               // pools, shards and volumes changed all at once
	shards  []*metapb.ShardRow // changed
	volumes []*metapb.VolumeRow
	pools   []*metapb.PoolRow
	buckets []string       // changed names
	ended   [][idLen]byte  // sessions that ended
	missing []missingAt    // scratch of verify
	confirm []confirmed    // scratch of verify
	arena   []byte         // keys and values of pending
	pending []change       // in order of first change
	places  map[string]int // into pending, once there are many
}

type change struct {
	key, value []byte // nil value: deleted
}

// counters are what StatsAnswer counts, as differences.
type counters struct {
	buckets, objects, bytes, uploads, queued, missing, sessions int64
}

// begin makes the transaction empty for the next command.
func (t *txn) begin(b *kv.Batch, index uint64, number uint16, c *metapb.Command) {
	t.b, t.c, t.index, t.number, t.op = b, c, index, number, 0
	t.queued = t.m.queued
	t.stats, t.cluster, t.layout = counters{}, nil, false
	t.shards, t.volumes, t.pools = nil, nil, nil
	t.buckets, t.ended = t.buckets[:0], t.ended[:0]
	t.arena, t.pending, t.places = t.arena[:0], t.pending[:0], nil
}

func (t *txn) find(key []byte) int {
	if t.places != nil {
		if i, ok := t.places[string(key)]; ok {
			return i
		}
		return -1
	}
	for i := range t.pending {
		if bytes.Equal(t.pending[i].key, key) {
			return i
		}
	}
	return -1
}

// Get appends the value of key, changes of this transaction included.
func (t *txn) Get(dst, key []byte) ([]byte, bool, error) {
	if i := t.find(key); i >= 0 {
		v := t.pending[i].value
		return append(dst, v...), v != nil, nil
	}
	return t.b.Get(dst, key)
}

// load reads a row.
func (t *txn) load(key []byte, m proto.Message) (bool, error) {
	n := len(t.arena)
	v, found, err := t.Get(t.arena, key)
	if err != nil || !found {
		return false, err
	}
	t.arena = v[:n] // the bytes after n are free again: decoding copies
	return true, decodeRow(v[n:], m)
}

// store writes a row.
func (t *txn) store(key []byte, m proto.Message) error {
	n := len(t.arena)
	a, err := marshal.MarshalAppend(t.arena, m)
	if err != nil {
		return err
	}
	t.arena = a
	v := a[n:len(a):len(a)]
	if v == nil {
		v = []byte{} // nil would delete
	}
	t.put(key, v)
	return nil
}

// put notes a change; it keeps both slices.
func (t *txn) put(key, value []byte) {
	if i := t.find(key); i >= 0 {
		t.pending[i].value = value
		return
	}
	t.pending = append(t.pending, change{key, value})
	switch {
	case t.places != nil:
		t.places[string(key)] = len(t.pending) - 1
	case len(t.pending) > pendingLinearMax:
		t.places = make(map[string]int, 4*pendingLinearMax)
		for i := range t.pending {
			t.places[string(t.pending[i].key)] = i
		}
	}
}

// remove deletes a row.
func (t *txn) remove(key []byte) { t.put(key, nil) }

// commit moves the changes to the batch and to what the machine has cached.
func (t *txn) commit() error {
	for _, c := range t.pending {
		var err error
		if c.value == nil {
			err = t.b.Delete(c.key)
		} else {
			err = t.b.Set(c.key, c.value)
		}
		if err != nil {
			return err
		}
	}
	return t.m.absorb(t)
}

// version is the stamp of the operation at hand.
func (t *txn) version() []byte { return stamp(t.index, t.number, t.op) }

// newID is a new id for an upload or body: the stamp of the operation and four bytes of the command's seed, from one of its
// quarters. Ids sort by creation.
func (t *txn) newID(quarter int) []byte {
	id := t.version()
	var r [4]byte
	if s := t.c.GetSeed(); len(s) >= 4*quarter+4 {
		copy(r[:], s[4*quarter:])
	}
	return append(id, r[:]...)
}
