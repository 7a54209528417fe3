package ops

import "minikv/internal/errs"

// Finding out what is wrong with the data, and mending it.
var (
	Verify = declare[VerifyRequest, VerifyAnswer](Spec{Name: "verify", Kind: Job, Timeout: JobMax})
	// VerifyContents reads on the node that is asked, which needs a gateway: the bytes of a large cluster do not pass through the leader, and
	// buckets can be shared out between gateways.
	VerifyContents = declare[ContentsRequest, ContentsAnswer](Spec{Name: "verify/contents", Kind: Job, Place: Here, Timeout: JobMax})
	Repair         = declare[RepairRequest, RepairAnswer](Spec{Name: "repair", Kind: Job, Timeout: JobMax})
	Compact        = declare[CompactRequest, CompactAnswer](Spec{Name: "compact", Kind: Job, Timeout: JobMax})
)

// VerifyRequest says how far a verification goes.
type VerifyRequest struct {
	Deep           bool  `json:"deep"`             // read every replica, and compare objects with their checksums
	Repair         bool  `json:"repair"`           // have what is found repaired
	BytesPerSecond int64 `json:"bytes_per_second"` // of a deep one; 0: no limit
}

// VerifyEvent is one line of a verification: one of its fields is set.
type VerifyEvent struct {
	Problem  *VerifyProblem `json:"problem,omitempty"`
	Progress *VerifyAnswer  `json:"progress,omitempty"`
}

// VerifyProblem is one thing that is wrong.
type VerifyProblem struct {
	Kind   string `json:"kind"`             // missing, damaged, of another length: a replica; dangling, checksum: an object
	Blob   string `json:"blob,omitempty"`   // of a replica
	Volume uint32 `json:"volume,omitempty"` // of a replica
	Text   string `json:"text,omitempty"`   // about an object
}

// VerifyAnswer is what a verification found.
type VerifyAnswer struct {
	Sound           bool   `json:"sound"` // nothing is wrong, and all could be seen
	Phase           string `json:"phase,omitempty"`
	Objects         int64  `json:"objects"`
	Parts           int64  `json:"parts"`
	Dangling        int64  `json:"dangling"` // of them point to what is not alive
	Sums            int64  `json:"checksums"`
	SumsUnread      int64  `json:"checksums_unread"`
	WrongSums       int64  `json:"checksums_wrong"`
	Runs            int64  `json:"runs"`
	Blobs           int64  `json:"blobs"`
	Replicas        int64  `json:"replicas"`
	Bytes           int64  `json:"bytes_read"`
	Unchecked       int64  `json:"unchecked"` // replicas on volumes that did not answer
	Bad             int64  `json:"bad"`       // replicas missing or damaged
	Lost            int64  `json:"lost"`      // blobs without a good replica
	UnderReplicated int64  `json:"under_replicated"`
	Held            int64  `json:"held"` // blobs on volumes
	Orphans         int64  `json:"orphans"`
	Dying           int64  `json:"dying"`
	Reported        int64  `json:"reported"` // replicas newly given to repair
	// Contents is what became of reading the objects; the client asks for it and adds it. nil: it did not, or the node has no gateway.
	Contents *ContentsAnswer `json:"contents,omitempty"`
}

// ContentsRequest says what is read.
type ContentsRequest struct {
	Bucket         string `json:"bucket"`           // only this one; "": all
	BytesPerSecond int64  `json:"bytes_per_second"` // 0: no limit
}

// ContentsEvent is one line of a verification of contents: one of its fields is set.
type ContentsEvent struct {
	Wrong    *WrongContent   `json:"wrong,omitempty"`
	Progress *ContentsAnswer `json:"progress,omitempty"`
}

// WrongContent is an object whose bytes are not what is told of them.
type WrongContent struct {
	Bucket  string `json:"bucket"`
	Key     string `json:"key"`
	Version string `json:"version"`
	Kind    string `json:"kind"` // etag, checksum, part etag, part checksum, size, unread
	Text    string `json:"text"`
}

// ContentsAnswer is what was compared.
type ContentsAnswer struct {
	Buckets int64 `json:"buckets"`
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes_read"`
	Wrong   int64 `json:"wrong"`   // objects with something wrong
	Unread  int64 `json:"unread"`  // objects that could not be read to their end
	Changed int64 `json:"changed"` // objects that were overwritten or deleted meanwhile
}

// RepairRequest says whether to do it.
type RepairRequest struct {
	DryRun bool `json:"dry_run"` // only list
}

// RepairEvent is one line of a repair: one of its fields is set.
type RepairEvent struct {
	Missing  *RepairMissing `json:"missing,omitempty"`
	Progress *RepairAnswer  `json:"progress,omitempty"`
}

// RepairMissing is a replica that is to be made.
type RepairMissing struct {
	Blob    string `json:"blob"`
	Volume  uint32 `json:"volume"`
	Reason  string `json:"reason"` // unconfirmed, damaged, lost
	SinceMs int64  `json:"since_ms"`
}

// RepairAnswer is how repair stands.
type RepairAnswer struct {
	Missing      uint64 `json:"missing"`      // replicas that are still to be made
	Copied       int64  `json:"copied"`       // since the job began
	CopiedBytes  int64  `json:"copied_bytes"` // since the job began
	Unrepairable int    `json:"unrepairable"` // no volume gave good bytes, or the volume refuses them
	VolumesAway  int    `json:"volumes_away"`
}

// CompactRequest says what is rewritten.
type CompactRequest struct {
	Dead   float64 `json:"dead"`   // share of a segment from which on it is rewritten; 0: 0.2
	Volume uint32  `json:"volume"` // 0: all
}

// Check refuses shares that are none.
func (r *CompactRequest) Check() error {
	if !(r.Dead >= 0 && r.Dead <= 1) {
		return errs.E(Compact.Name, errs.Invalid, "dead is %v; allowed are 0 to 1", r.Dead)
	}
	return nil
}

// CompactAnswer tells of each volume.
type CompactAnswer struct {
	Volumes []CompactVolume `json:"volumes"`
}

// CompactVolume is what a compaction did on a volume. It is also the event of a volume that is done.
type CompactVolume struct {
	Volume      uint32 `json:"volume"`
	Segments    int64  `json:"segments"` // removed
	CopiedBytes int64  `json:"copied_bytes"`
	FreedBytes  int64  `json:"freed_bytes"`
	Error       string `json:"error,omitempty"`
}
