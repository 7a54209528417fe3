package object

// Bounds of what one volume is asked about blobs at once.
const (
	FetchBlobsMax   = 256
	FetchSourcesMax = 256      // volumes that the blobs of one Fetch may come from
	CareBytesMax    = 64 << 20 // of the blobs in one Fetch, or in one deep Check
	CheckBlobsMax   = 16384
)

// Want is a blob that a volume is to have.
type Want struct {
	ID     BlobID
	Length int64    // bytes
	Epochs Epochs   // to prepare it under
	From   []uint32 // volumes that may have it, in the order in which they are asked
}

// FetchOutcome says what became of a Want.
type FetchOutcome uint8

// The outcomes. Their numbers travel.
const (
	FetchFailed FetchOutcome = 0
	FetchCopied FetchOutcome = 1 // it is durable there now
	FetchHad    FetchOutcome = 2 // it was good there already
)

// Fetched is what became of one Want.
type Fetched struct {
	Outcome FetchOutcome
	Err     error    // why it failed
	Own     bool     // it failed at the volume itself; else at its sources
	Lacking []uint32 // sources that answered that they do not have it, or have it damaged
	Away    []uint32 // sources that did not answer
}

// Verdict is what a volume has of a blob. Its number travels.
type Verdict uint8

// The verdicts.
const (
	Good        Verdict = 1
	Missing     Verdict = 2
	Damaged     Verdict = 3
	OtherLength Verdict = 4
)

func (v Verdict) String() string {
	switch v {
	case Good:
		return "good"
	case Missing:
		return "missing"
	case Damaged:
		return "damaged"
	case OtherLength:
		return "of another length"
	}
	return "unknown"
}

// Check asks what a volume has of some blobs.
type Check struct {
	IDs     []BlobID
	Lengths []uint32 // of the blobs, in the same order
	Deep    bool     // read and verify all bytes, not only look them up
	// Algorithm of internal/digest whose sums a deep check gives for each good blob; 0: none.
	Algorithm uint8
}

// Checked is the answer to a Check, in its order.
type Checked struct {
	Verdicts []Verdict
	Sums     [][]byte // empty for blobs that are not good; nil if none were asked for
}

// Compacted is what a compaction on demand did.
type Compacted struct {
	Segments    int64 // removed
	CopiedBytes int64
	FreedBytes  int64 // on disk, those of the copies taken off
}
