package ops

import "minikv/internal/errs"

// Nodes and what their volumes hold.
var (
	NodeList   = declare[None, NodeListAnswer](Spec{Name: "node/list", Kind: Ask})
	NodeAdd    = declare[NodeRequest, NodeListAnswer](Spec{Name: "node/add", Kind: Do})
	NodeDrain  = declare[NodeRequest, NodeListAnswer](Spec{Name: "node/drain", Kind: Do})
	NodeRemove = declare[NodeRequest, NodeListAnswer](Spec{Name: "node/remove", Kind: Do})
	NodeWeight = declare[NodeWeightRequest, NodeListAnswer](Spec{Name: "node/set-weight", Kind: Do})
)

// NodeRequest names a node, or one volume by its number.
type NodeRequest struct {
	Node  string `json:"node"`
	Force bool   `json:"force,omitempty"` // remove: although it holds shards
}

// Check refuses a request without a node.
func (r *NodeRequest) Check() error {
	if r.Node == "" {
		return errs.E("node", errs.Invalid, "node is missing")
	}
	return nil
}

// NodeWeightRequest says what share of the shards the volumes of a node, or one by its number, are to have.
type NodeWeightRequest struct {
	Node   string  `json:"node"`
	Weight *uint64 `json:"weight"` // beside the capacities in bytes, or weights, of others; null: by capacity; 0: nothing more
}

// Check refuses a request without a node, or with a weight that is out of bounds.
func (r *NodeWeightRequest) Check() error {
	switch {
	case r.Node == "":
		return errs.E(NodeWeight.Name, errs.Invalid, "node is missing")
	case r.Weight != nil && *r.Weight > 1<<60:
		return errs.E(NodeWeight.Name, errs.Invalid, "weight is %d; allowed: null, or a number from 0 to 2^60", *r.Weight)
	}
	return nil
}

// NodeListAnswer is every node, by name, and every volume, by number.
type NodeListAnswer struct {
	Nodes   []StatusNode `json:"nodes"`
	Volumes []NodeVolume `json:"volumes"`
	Lost    *LostBlobs   `json:"lost,omitempty"` // remove by force: what only that node had
}

// LostBlobs are blobs of objects of which no volume that is left is known to have good bytes.
type LostBlobs struct {
	Blobs int64    `json:"blobs"`
	Some  []string `json:"some"` // the first of them
}

// NodeVolume is a volume as the leader sees it.
type NodeVolume struct {
	Volume    uint32  `json:"volume"`
	ID        string  `json:"id"`
	Node      string  `json:"node"`
	Zone      string  `json:"zone"`
	Address   string  `json:"address"`
	State     string  `json:"state"`  // in, draining, out, removed
	Health    string  `json:"health"` // up, suspect, down
	SilentMs  int64   `json:"silent_ms"`
	Shards    int     `json:"shards"`  // of which it is a member
	Joining   int     `json:"joining"` // that are on their way to it
	Kept      int     `json:"kept"`    // that have left it, and that it still keeps
	Capacity  uint64  `json:"capacity"`
	Free      uint64  `json:"free"`
	Used      uint64  `json:"used"`
	Blobs     uint64  `json:"blobs"`
	Missing   uint64  `json:"missing"` // blobs that it lacks
	Full      bool    `json:"full"`
	Note      string  `json:"note,omitempty"` // what an operator should know of it
	Weight    float64 `json:"weight"`         // share of the shards that placement gives it: of 1
	WeightSet *uint64 `json:"weight_set"`     // as an operator or the volume asked for it; null: by capacity
}
