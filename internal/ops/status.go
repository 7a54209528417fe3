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

	// Waiting is what this node lacks to be one of a cluster; empty once it is.
	Waiting []string `json:"waiting,omitempty"`
	// Differences are settings that should be the same on several nodes and are not.
	Differences []StatusDifference `json:"differences,omitempty"`

	Counts       *StatusCounts       `json:"counts"` // nil: no leader to ask
	InDoubt      StatusInDoubt       `json:"in_doubt"`
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

// StatusDifference is a setting with the groups of nodes that have the same value of it, the largest first.
type StatusDifference struct {
	Setting string     `json:"setting"`
	Groups  [][]string `json:"groups"`
}

// StatusInDoubt is what is not decided or of which the outcome is not known, as far as it was heard.
type StatusInDoubt struct {
	Blobs      uint64 `json:"blobs"`                  // prepared, of all volumes that answer, as their collectors last counted
	Epoch      uint64 `json:"oldest_epoch,omitempty"` // of the oldest of them; 0: there are none
	Epochs     uint64 `json:"oldest_age_epochs"`      // how many epochs ago that was
	Queued     uint64 `json:"proposals_queued"`       // at the leader, to be put into an entry
	InFlight   uint64 `json:"proposals_in_flight"`    // at the leader, in entries that are not decided
	Unknown    uint64 `json:"proposals_unknown"`      // at the leader, since its start: ended without anyone knowing the outcome
	Unresolved uint64 `json:"commands_unresolved"`    // at gateways: their clients were told that the outcome is unknown, and it is asked for
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
	// Blobs that are prepared and not known to be published, as the collector last counted them, the epoch of the oldest (0: none), and the
	// seconds since they were counted (negative: not yet).
	InDoubt        uint64  `json:"in_doubt"`
	InDoubtEpoch   uint64  `json:"in_doubt_oldest_epoch,omitempty"`
	InDoubtSeconds float64 `json:"in_doubt_counted_seconds_ago"`
}

// StatusNode is a node with its roles. What it told the leader of itself is missing while nobody leads.
type StatusNode struct {
	Node    string   `json:"node"`
	Zone    string   `json:"zone,omitempty"`
	Address string   `json:"address,omitempty"` // of its RPC
	S3      string   `json:"s3,omitempty"`      // that its gateway listens on
	REST    string   `json:"rest,omitempty"`    // that it listens on
	Roles   []string `json:"roles"`
	Up      bool     `json:"up"`
	Version string   `json:"version,omitempty"`
	Uptime  float64  `json:"uptime_seconds,omitempty"`
	Silent  float64  `json:"silent_seconds,omitempty"` // since the leader last heard of it
	Notes   []string `json:"notes,omitempty"`          // what an operator should know of it
}
