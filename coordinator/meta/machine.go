package meta

import (
	"google.golang.org/protobuf/proto"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// Level is the highest command level that this code applies.
const Level = 1

// Machine applies entries to the rows of a store and answers queries over them.
type Machine struct {
	db *kv.DB
}

// New makes the state machine over the rows of db. After a restore, make a new one.
func New(db *kv.DB) (*Machine, error) { return &Machine{db: db}, nil }

// Apply applies one committed entry to b, which must then be committed; results are in the order of the commands. Refusals are
// results. An error is fatal: the batch is to be dropped, and nothing may be applied after it.
func (m *Machine) Apply(b *kv.Batch, index uint64, e *metapb.Entry) ([]*metapb.Result, error) {
	return nil, errs.E("meta.Apply", errs.Unsupported, "not yet")
}

// Read answers a query over one consistent state. For concurrent use, also beside Apply.
func (m *Machine) Read(q *metapb.Query) (*metapb.Answer, error) {
	return nil, errs.E("meta.Read", errs.Unsupported, "not yet")
}

// Hash is a SHA-256 over every replicated row: equal on replicas that applied the same entries.
func (m *Machine) Hash() ([32]byte, error) { return [32]byte{}, nil }

// DecodeEntry reads the payload of a log entry.
func DecodeEntry(b []byte) (*metapb.Entry, error) {
	e := new(metapb.Entry)
	if err := proto.Unmarshal(b, e); err != nil {
		return nil, errs.WrapKind("meta.DecodeEntry", errs.Corrupt, err)
	}
	return e, nil
}
