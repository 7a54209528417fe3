package ops

import "minikv/internal/errs"

// Moves of shards.
var (
	RebalanceStart  = declare[None, RebalanceAnswer](Spec{Name: "rebalance/start", Kind: Do})
	RebalancePause  = declare[None, RebalanceAnswer](Spec{Name: "rebalance/pause", Kind: Do})
	RebalanceResume = declare[None, RebalanceAnswer](Spec{Name: "rebalance/resume", Kind: Do})
	RebalanceLimit  = declare[RebalanceLimitRequest, RebalanceAnswer](Spec{Name: "rebalance/limit", Kind: Do})
	RebalanceStatus = declare[None, RebalanceAnswer](Spec{Name: "rebalance/status", Kind: Ask})
)

// RebalanceLimitRequest bounds how fast moves copy.
type RebalanceLimitRequest struct {
	BytesPerSecond uint64 `json:"bytes_per_second"` // 0: the default
}

// Check refuses limits that would take for ever.
func (r *RebalanceLimitRequest) Check() error {
	if r.BytesPerSecond > 0 && r.BytesPerSecond < 1024 {
		return errs.E(RebalanceLimit.Name, errs.Invalid, "%d bytes per second; allowed: 0 for the default, or at least 1,024", r.BytesPerSecond)
	}
	return nil
}

// RebalanceAnswer is what is asked of moves, and how far they are.
type RebalanceAnswer struct {
	State          string           `json:"state"` // idle, planning (what is due is not taken up yet), moving (off drained and lost volumes), rebalancing, paused
	LimitBytes     uint64           `json:"limit_bytes_per_second"`
	Moving         int              `json:"moving"`  // shards on their way
	Planned        int              `json:"planned"` // further moves
	Blocked        int              `json:"blocked"` // further moves that can't begin: volumes are down, or too few are in
	Moved          int              `json:"moved"`   // since this coordinator leads, as all that follows
	CopiedBytes    int64            `json:"copied_bytes"`
	RemainingBytes int64            `json:"remaining_bytes"` // an estimate, for planned moves
	BytesPerSecond float64          `json:"bytes_per_second"`
	Percent        float64          `json:"percent"`     // of the present work; 100 only when nothing is left to move
	ETASeconds     float64          `json:"eta_seconds"` // 0: nothing is left, or unknown
	Shards         []RebalanceShard `json:"shards"`
}

// RebalanceShard is one move.
type RebalanceShard struct {
	Shard      uint32   `json:"shard"`
	Joining    []uint32 `json:"joining"`
	Leaving    []uint32 `json:"leaving"`
	Phase      string   `json:"phase"`
	Bytes      int64    `json:"bytes"`
	TotalBytes int64    `json:"total_bytes"`
}
