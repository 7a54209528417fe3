package ops

import "time"

// Status asks the node for the state of the whole store, as it sees it. It answers without a leader too.
var Status = declare[None, StatusAnswer](Spec{Name: "status", Kind: Ask, Place: Here, Timeout: 10 * time.Second})

// Health is a verdict.
type Health string

// Verdicts, from good to bad.
const (
	Healthy     Health = "healthy"
	Degraded    Health = "degraded"    // all requests are served; something is down, missing or nearly full
	Unavailable Health = "unavailable" // some or all requests fail
)

// StatusAnswer is the state of the store.
type StatusAnswer struct {
	Health  Health   `json:"health"`
	Reasons []string `json:"reasons"` // why not healthy; never nil

	Node      string `json:"node"` // that answered
	Version   string `json:"version"`
	Cluster   string `json:"cluster,omitempty"` // its id; empty: a single process
	Leader    string `json:"leader,omitempty"`  // node; empty: none
	Term      uint64 `json:"term"`
	Epoch     uint64 `json:"epoch"`
	Horizon   uint64 `json:"horizon"`
	Level     uint32 `json:"level,omitempty"`
	Fsync     string `json:"fsync"`
	Shards    uint32 `json:"shards"`
	Replicas  uint32 `json:"replication"`
	BlobBytes uint32 `json:"blob_size"`

	Counts       *StatusCounts       `json:"counts"` // nil: no leader to ask
	Coordinators []StatusCoordinator `json:"coordinators"`
	Volumes      []StatusVolume      `json:"volumes"`
	Nodes        []StatusNode        `json:"nodes"`
}

// StatusCounts are those of the metadata.
type StatusCounts struct {
	Buckets         uint64 `json:"buckets"`
	Objects         uint64 `json:"objects"`
	Bytes           uint64 `json:"bytes"`
	Uploads         uint64 `json:"uploads"`
	UnderReplicated uint64 `json:"under_replicated"` // replicas that are to be made
	Queued          uint64 `json:"queued"`           // deleted runs whose bytes are still there
	Sessions        uint64 `json:"sessions"`
}

// StatusCoordinator is a member of the Raft group.
type StatusCoordinator struct {
	Node          string `json:"node"`
	Address       string `json:"address"`
	Incarnation   string `json:"incarnation"`
	State         string `json:"state"` // leader, follower, candidate, down
	Voter         bool   `json:"voter"`
	Up            bool   `json:"up"`
	Term          uint64 `json:"term"`
	CommitIndex   uint64 `json:"commit_index"`
	AppliedIndex  uint64 `json:"applied_index"`
	LastIndex     uint64 `json:"last_index"`
	SnapshotIndex uint64 `json:"snapshot_index"`
	StorageFull   bool   `json:"storage_full"`
	Version       string `json:"version,omitempty"`
}

// StatusVolume is a volume.
type StatusVolume struct {
	Number   uint32 `json:"number"`
	ID       string `json:"id"`
	Node     string `json:"node"`
	Zone     string `json:"zone,omitempty"`
	Address  string `json:"address,omitempty"`
	Up       bool   `json:"up"`
	State    string `json:"state"` // up, down, full
	Shards   uint32 `json:"shards"`
	Blobs    uint64 `json:"blobs"`
	Bytes    uint64 `json:"bytes"`    // of living blobs
	Used     uint64 `json:"used"`     // of segment files
	Free     uint64 `json:"free"`     // of the file system
	Capacity uint64 `json:"capacity"` // of the file system, when it became a member
	Full     bool   `json:"full"`
	Damaged  uint64 `json:"damaged"` // pieces of segments that cannot be read
}

// StatusNode is a node with its roles.
type StatusNode struct {
	Node    string   `json:"node"`
	Address string   `json:"address,omitempty"`
	Roles   []string `json:"roles"`
	Up      bool     `json:"up"`
	Version string   `json:"version,omitempty"`
}
