package store

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/record"
	"minikv/volume/segment"
)

// Policy says when a prepared blob is on disk.
type Policy uint8

// The policies.
const (
	Always   Policy = iota // before it is acknowledged
	Interval               // some time after it was acknowledged
	Never                  // whenever the operating system likes
)

func (p Policy) String() string { return [...]string{"always", "interval", "never"}[p] }

// ParsePolicy reads a policy's name.
func ParsePolicy(s string) (Policy, error) {
	for _, p := range []Policy{Always, Interval, Never} {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, errs.E("store.ParsePolicy", errs.Invalid, "%q is no fsync policy: always, interval or never", s)
}

// Options of a store. Zero values mean the defaults in brackets.
type Options struct {
	FS            vfs.FS        // [vfs.OS()]
	Fsync         Policy        // [Always]
	FsyncInterval time.Duration // of the policy Interval [100 ms]

	SmallSegment int64 // bytes of a segment of small blobs [64 MiB]
	LargeSegment int64 // bytes of a segment of large blobs [256 MiB]
	FirstSegment int64 // bytes of the first small segment after a start, which nothing was prepared for [8 MiB]
	LargeBlob    int   // blobs of so many bytes and more are large [256 KiB]
	BlobMax      int   // largest blob in bytes, at most record.DataMax [8 MiB]
	GroupBytes   int   // most bytes of small blobs written with one sync [4 MiB]

	Reserve int64 // bytes of free space below which prepares are refused; negative: none [the larger of 1 GiB and 3 %]
	Ballast int64 // bytes set aside for deletes on a full disk; negative: none [256 MiB]

	// Certify is how long a log rests before its last group is certified: until then, damage to that group would pass for
	// a torn tail. Negative: only when it is closed. [1 s]
	Certify time.Duration
	// LazyFlush is how long commit hints wait for company before they are written. [50 ms]
	LazyFlush  time.Duration
	OverlayMax int // entries, and a 24th of the index, that may be newer than its file [100,000]
	// CompactDead is the dead share of a sealed segment from which on it is compacted; negative: only when Compact is called. [0.5]
	CompactDead  float64
	CompactRate  int64 // bytes per second copied by compaction; negative: no limit [64 MiB]
	ScrubRate    int64 // bytes per second read by the continuous scrub; negative: none [4 MiB]
	ScrubNowRate int64 // bytes per second read by ScrubNow; negative: no limit [128 MiB]
	// Tidy is the time between looks at free space and dead segments; negative: only when Tidy is called. [1 s]
	Tidy time.Duration

	Logf func(format string, args ...any) // what an operator should know [dropped]
	Rand func() uint64                    // seeds of segments [crypto/rand]

	lendMin  int  // bytes of a caller's buffer from which on it is written without a copy [64 KiB]
	earlyMin int  // records of a group from which on the index hears of new blobs while the disk works [8]
	noSpares bool // segments are made when they are needed: tests that count operations
	noFill   bool // nothing is written with zeros ahead
}

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

func (o Options) withDefaults() Options {
	def(&o.FsyncInterval, 100*time.Millisecond)
	def(&o.SmallSegment, 64*mib)
	def(&o.LargeSegment, 256*mib)
	def(&o.FirstSegment, min(8*mib, o.SmallSegment))
	def(&o.LargeBlob, 256<<10)
	def(&o.BlobMax, record.DataMax)
	def(&o.GroupBytes, 4<<20)
	def(&o.Ballast, 256*mib)
	def(&o.Certify, time.Second)
	def(&o.LazyFlush, 50*time.Millisecond)
	def(&o.Tidy, time.Second)
	def(&o.CompactDead, 0.5)
	def(&o.CompactRate, 64*mib)
	def(&o.ScrubRate, 4*mib)
	def(&o.ScrubNowRate, 128*mib)
	def(&o.OverlayMax, 100_000)
	def(&o.lendMin, 64<<10)
	def(&o.earlyMin, 8)
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Rand == nil {
		o.Rand = func() uint64 {
			var b [8]byte
			rand.Read(b[:])
			return binary.LittleEndian.Uint64(b[:])
		}
	}
	return o
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// validate refuses sizes that cannot work together.
func (o *Options) validate() error {
	const op = "store.Open"
	small, large := record.Layout{Align: segment.Small.Align()}, record.Layout{Align: segment.Large.Align()}
	switch {
	case o.BlobMax < 1 || o.BlobMax > record.DataMax:
		return errs.E(op, errs.Invalid, "the largest blob has 1 to %d bytes, not %d", record.DataMax, o.BlobMax)
	case o.LargeBlob < 1:
		return errs.E(op, errs.Invalid, "large blobs begin with %d bytes", o.LargeBlob)
	case o.smallGroup() < small.Size(min(o.LargeBlob-1, o.BlobMax)):
		return errs.E(op, errs.Invalid, "groups of %d bytes do not hold a small blob", o.GroupBytes)
	case min(o.SmallSegment, o.FirstSegment) < segment.HeaderLen+int64(o.smallGroup())+sealSpace:
		return errs.E(op, errs.Invalid, "small segments of %d and %d bytes do not hold a group", o.FirstSegment, o.SmallSegment)
	case o.LargeSegment < segment.HeaderLen+int64(large.Size(o.BlobMax))+sealSpace:
		return errs.E(op, errs.Invalid, "large segments of %d bytes do not hold the largest blob", o.LargeSegment)
	case max(o.SmallSegment, o.LargeSegment) > 32*gib:
		return errs.E(op, errs.Invalid, "segments have at most 32 GiB")
	}
	return nil
}

// sealSpace is room for the seals at the begin of a segment and a mark at its end, in the coarser alignment.
const sealSpace = 4 * 4096

// smallGroup is the buffer of a group of small blobs in bytes. It also holds the largest control record.
func (o *Options) smallGroup() int { return max(o.GroupBytes, record.BlockLen+4096) }

// largeGroup is the buffer of a group of large blobs: one of the largest, or two of half its size.
func (o *Options) largeGroup() int {
	return record.Layout{Align: segment.Large.Align()}.Size(o.BlobMax) + 2*4096
}
