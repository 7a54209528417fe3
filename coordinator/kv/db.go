package kv

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"minikv/internal/errs"
)

// LocalByte begins the keys of rows that are this replica's own (K4).
const LocalByte = 0x00

// Defaults and bounds of memory, in bytes.
const (
	cacheBytesDefault    = 64 << 20
	memTableBytesDefault = 64 << 20
	memTablesMax         = 3  // before writes wait for a flush
	bloomBitsPerKey      = 10 // about 1 % false positives
)

// Options of a DB; the zero value works.
type Options struct {
	CacheBytes    int64  // block cache; 0: 64 MiB
	MemTableBytes uint64 // of one memtable; at most three exist. 0: 64 MiB

	// OnBackgroundError is told when a flush or compaction fails. Pebble tries again; nothing that was acknowledged depends
	// on it, but snapshots will not come about.
	OnBackgroundError func(error)
	// OnFatal is told what made the store unusable before the panic that follows.
	OnFatal func(msg string)
}

// DB is an ordered map from bytes to bytes. Reads may run beside one writer.
type DB struct {
	p *pebble.DB

	mu     sync.Mutex // guards newest and its count
	newest *Newest    // nil: no one has read since the last batch
}

// Open opens the store in dir of fs, creating it when it is not there.
func Open(fs vfs.FS, dir string, o Options) (*DB, error) {
	p, err := pebble.Open(dir, o.pebble(fs))
	if err != nil {
		return nil, errs.Wrap("kv.Open", err)
	}
	return &DB{p: p}, nil
}

func (o Options) pebble(fs vfs.FS) *pebble.Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = cacheBytesDefault
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = memTableBytesDefault
	}
	po := &pebble.Options{
		FS:                          fs,
		CacheSize:                   o.CacheBytes,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: memTablesMax,
		DisableWAL:                  true,
		FormatMajorVersion:          pebble.FormatNewest,
		Comparer:                    pebble.DefaultComparer,
		Logger:                      logger{o.OnFatal},
	}
	if f := o.OnBackgroundError; f != nil {
		po.EventListener = &pebble.EventListener{BackgroundError: f}
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
		po.Levels[i].FilterType = pebble.TableFilter
	}
	return po
}

// Flush writes every committed batch to tables and syncs them.
func (d *DB) Flush() error { return errs.Wrap("kv.Flush", d.p.Flush()) }

// Checkpoint makes dir, which must not exist, a store of its own that holds every batch committed so far (K3); tables are
// linked, not copied. It is durable on return.
//
// There is no log to carry what memtables hold, and Pebble's Checkpoint does not flush them: a checkpoint alone would be the
// state of the last flush, with the applied index of then, that is: correct but older than promised. Hence the order. First
// flush: all batches committed before are in synced tables of the current version. Then checkpoint: it pins a version at or
// after that one, links its tables (synced when they were made) and writes MANIFEST, OPTIONS and markers through a file system
// that syncs on close; last it syncs the directory, and its parents when it made them. Batches that commit in between may or
// may not be flushed and so included; by K2 the result is a state after some batch either way, and its own applied row says
// after which.
func (d *DB) Checkpoint(dir string) error {
	const op = "kv.Checkpoint"
	if err := d.p.Flush(); err != nil {
		return errs.Wrap(op, err)
	}
	return errs.Wrap(op, d.p.Checkpoint(dir))
}

// Close closes the store. Batches, snapshots and iterators must be closed before.
func (d *DB) Close() error {
	return errs.Wrap("kv.Close", errors.Join(d.outdate(), d.p.Close()))
}

// Metrics are some figures of the store.
type Metrics struct {
	DiskBytes     uint64
	CacheBytes    int64
	CacheHits     int64
	CacheMisses   int64
	MemTableBytes uint64
	Flushes       int64
	Compactions   int64
	L0Files       int64
}

// Metrics are taken from Pebble at once; cheap enough for a scrape.
func (d *DB) Metrics() Metrics {
	m := d.p.Metrics()
	return Metrics{
		DiskBytes: m.DiskSpaceUsage(), CacheBytes: m.BlockCache.Size, CacheHits: m.BlockCache.Hits, CacheMisses: m.BlockCache.Misses,
		MemTableBytes: m.MemTable.Size, Flushes: m.Flush.Count, Compactions: m.Compact.Count, L0Files: m.Levels[0].TablesCount,
	}
}

// Get appends the value of key to dst. It sees every committed batch.
func (d *DB) Get(dst, key []byte) (value []byte, found bool, err error) { return get(d.p, dst, key) }

// Applied is the Raft index and term of the newest batch; zero when there is none.
func (d *DB) Applied() (index, term uint64, err error) { return applied(d) }

// Local reads a row of this replica's own (K4); nil when it is not there.
func (d *DB) Local(name string) ([]byte, error) {
	v, _, err := d.Get(nil, localKey(name))
	return v, err
}

// Reader is what batches, snapshots and the DB have in common.
type Reader interface {
	// Get appends the value of key to dst.
	Get(dst, key []byte) (value []byte, found bool, err error)
	// Iter goes through lower <= key < upper; nil is no bound. The caller closes it.
	Iter(lower, upper []byte) (*Iter, error)
}

// Iter goes through lower <= key < upper as of now.
func (d *DB) Iter(lower, upper []byte) (*Iter, error) { return newIter(d.p, lower, upper) }

func get(r pebble.Reader, dst, key []byte) ([]byte, bool, error) {
	v, c, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, errs.Wrap("kv.Get", err)
	}
	dst = append(dst, v...)
	return dst, true, closed(c)
}

func closed(c io.Closer) error { return errs.Wrap("kv.Get", c.Close()) }

// The applied row:
//
//	key    00 'a' 'p' 'p' 'l' 'i' 'e' 'd'
//	value  index (8, BE) | term (8, BE)
const (
	appliedName  = "applied"
	appliedBytes = 16
)

func localKey(name string) []byte { return append([]byte{LocalByte}, name...) }

var appliedKey = localKey(appliedName)

func applied(r Reader) (index, term uint64, err error) {
	v, found, err := r.Get(make([]byte, 0, appliedBytes), appliedKey)
	if err != nil || !found {
		return 0, 0, err
	}
	if len(v) != appliedBytes {
		return 0, 0, errs.E("kv.Applied", errs.Corrupt, "the applied row has %d bytes, not %d", len(v), appliedBytes)
	}
	return binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), nil
}

// logger drops what Pebble says of its daily work.
type logger struct{ onFatal func(string) }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}
func (l logger) Fatalf(format string, args ...any) {
	l.fatal(format, args)
}
