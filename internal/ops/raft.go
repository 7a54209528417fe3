package ops

import "minikv/internal/errs"

// The Raft group. Changes answer when the new configuration is committed.
var (
	RaftList     = declare[None, RaftMembers](Spec{Name: "raft/list", Kind: Ask})
	RaftAdd      = declare[RaftAddRequest, RaftMembers](Spec{Name: "raft/add", Kind: Do})
	RaftRemove   = declare[RaftRemoveRequest, RaftMembers](Spec{Name: "raft/remove", Kind: Do})
	RaftTransfer = declare[RaftTransferRequest, RaftTransferAnswer](Spec{Name: "raft/transfer", Kind: Do})
)

// RaftMembers are the members after an operation.
type RaftMembers struct {
	Members []RaftMember `json:"members"`
}

// RaftMember is a coordinator.
type RaftMember struct {
	Node        string `json:"node"` // empty: unknown, since it does not answer
	Incarnation string `json:"incarnation"`
	Address     string `json:"address"` // of its RPC
	RaftAddress string `json:"raft_address"`
	Voter       bool   `json:"voter"`
	Leader      bool   `json:"leader"`
	Up          bool   `json:"up"`
	Applied     uint64 `json:"applied_index"`
	Behind      uint64 `json:"behind"` // entries
}

// RaftAddRequest names a running coordinator that is no member.
type RaftAddRequest struct {
	Address string `json:"address"` // of its RPC
}

// RaftRemoveRequest names a member by its node, incarnation or address.
type RaftRemoveRequest struct {
	Member string `json:"member"`
}

// RaftTransferRequest names the voter that is to lead; empty: the one that is furthest.
type RaftTransferRequest struct {
	Member string `json:"member"`
}

// RaftTransferAnswer says who leads now.
type RaftTransferAnswer struct {
	Leader string `json:"leader"` // node; empty: not known yet
	Term   uint64 `json:"term"`
}

// Check refuses a request without an address.
func (r *RaftAddRequest) Check() error { return needed(RaftAdd.Name, "address", r.Address) }

// Check refuses a request without a member.
func (r *RaftRemoveRequest) Check() error { return needed(RaftRemove.Name, "member", r.Member) }

func needed(op, field, value string) error {
	if value == "" {
		return errs.E(op, errs.Invalid, "%s is missing", field)
	}
	return nil
}
