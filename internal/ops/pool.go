package ops

import "minikv/internal/errs"

// Pools and how many replicas their blobs have.
var (
	PoolList           = declare[None, PoolListAnswer](Spec{Name: "pool/list", Kind: Ask})
	PoolSetReplication = declare[PoolReplicationRequest, PoolListAnswer](Spec{Name: "pool/set-replication", Kind: Do})
)

// PoolReplicationRequest asks for another number of replicas.
type PoolReplicationRequest struct {
	Pool        uint32 `json:"pool"` // 0, the only one
	Replication uint32 `json:"replication"`
	Yes         bool   `json:"yes,omitempty"`   // fewer than before are meant
	Force       bool   `json:"force,omitempty"` // although there are fewer nodes
}

// Check refuses a request without a number.
func (r *PoolReplicationRequest) Check() error {
	if r.Replication == 0 {
		return errs.E(PoolSetReplication.Name, errs.Invalid, "replication is missing or 0; allowed: a number from 1 to 7")
	}
	return nil
}

// PoolListAnswer is every pool, by number.
type PoolListAnswer struct {
	Pools    []Pool   `json:"pools"`
	Warnings []string `json:"warnings,omitempty"` // of a change
}

// Pool is a pool and how far its shards are from what is asked of it.
type Pool struct {
	Pool        uint32 `json:"pool"`
	Replication uint32 `json:"replication"`
	Shards      uint32 `json:"shards"`
	BlobSize    uint32 `json:"blob_size"`
	State       string `json:"state"`       // steady, raising, lowering, changing (some shards have too few members and others too many)
	MembersMin  int    `json:"members_min"` // of a shard
	MembersMax  int    `json:"members_max"`
	TooFew      int    `json:"too_few"`  // shards with fewer members than asked for
	TooMany     int    `json:"too_many"` // shards with more
	Moving      int    `json:"moving"`   // shards with a move on its way, also for other reasons
	Kept        int    `json:"kept"`     // replicas that left their shard and are dropped when the horizon has passed
}
