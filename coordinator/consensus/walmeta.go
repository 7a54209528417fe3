package consensus

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"

	"github.com/hashicorp/raft-wal/types"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// sealed files hold a small document: a magic line, the document and a checksum.
//
//	| magic, 8 bytes, its last is the version | document | CRC32C of all before, big endian, 4 bytes |
const (
	walMetaMagic       = "mkvwal\x00\x01"
	walMetaName        = "META"
	sealedFileBytesMax = 16 << 20
)

// writeSealed replaces a file atomically and durably.
func writeSealed(fs vfs.FS, name, magic string, document []byte) error {
	b := append([]byte(magic), document...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return vfs.AtomicWriteFile(fs, name, b, 0o600)
}

// readSealed gives the document back. A missing file is an error of the file system; a wrong one is errs.Corrupt, another
// version errs.Unsupported.
func readSealed(fs vfs.FS, name, magic string) ([]byte, error) {
	const op = "consensus.readSealed"
	b, err := vfs.ReadFile(fs, name, sealedFileBytesMax)
	if err != nil {
		return nil, err
	}
	if len(b) < len(magic)+4 {
		return nil, errs.E(op, errs.Corrupt, "%s has %d bytes", name, len(b))
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return nil, errs.E(op, errs.Corrupt, "%s does not match its checksum", name)
	}
	n := len(magic) - 1
	switch {
	case string(body[:n]) != magic[:n]:
		return nil, errs.E(op, errs.Corrupt, "%s is no file of this kind", name)
	case body[n] != magic[n]:
		return nil, errs.E(op, errs.Unsupported, "%s has format %d; this program knows format %d", name, body[n], magic[n])
	}
	return body[len(magic):], nil
}

// walMetaDoc is all that the log keeps outside its segments. Raft's terms and votes are in Stable.
type walMetaDoc struct {
	NextSegmentID uint64
	Segments      []types.SegmentInfo
	Stable        map[string][]byte
	// Certified is the last index at a clean close, 0 while the log is open: a shorter log has lost acknowledged entries.
	Certified uint64
}

// walMeta is raft-wal's MetaStore as one small file, replaced as a whole: its own, bbolt, would go past the vfs.
type walMeta struct {
	fs    vfs.FS
	name  string
	fatal func(error)

	mu  sync.Mutex // guards doc and the file
	doc walMetaDoc
}

var _ types.MetaStore = (*walMeta)(nil)

// openWALMeta reads dir's META. A folder with segments but without META is refused: raft-wal would delete them.
func openWALMeta(fs vfs.FS, dir string, fatal func(error)) (*walMeta, error) {
	m := &walMeta{fs: fs, name: fs.PathJoin(dir, walMetaName), fatal: fatal}
	m.doc.Stable = map[string][]byte{}
	b, err := readSealed(fs, m.name, walMetaMagic)
	if vfs.IsNotExist(err) {
		return m, refuseSegments(fs, dir)
	}
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m.doc); err != nil {
		return nil, errs.WrapKind("consensus.openWALMeta", errs.Corrupt, err)
	}
	if m.doc.Stable == nil {
		m.doc.Stable = map[string][]byte{}
	}
	return m, nil
}

func refuseSegments(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".wal") {
			return errs.E("consensus.openWALMeta", errs.Corrupt, "%s has segments of a Raft log but no %s", dir, walMetaName)
		}
	}
	return nil
}

// Load gives the segments.
func (m *walMeta) Load(string) (types.PersistentState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return types.PersistentState{NextSegmentID: m.doc.NextSegmentID, Segments: append([]types.SegmentInfo(nil), m.doc.Segments...)}, nil
}

// CommitState replaces the segments. raft-wal names every segment after its own codec, whatever codec it was given, and then
// refuses to open them: the true codec is put here, and in headers by filer.
func (m *walMeta) CommitState(s types.PersistentState) error {
	segments := append([]types.SegmentInfo(nil), s.Segments...)
	for i := range segments {
		segments[i].Codec = codecID
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.doc
	next.NextSegmentID, next.Segments = s.NextSegmentID, segments
	return m.replaceLocked(next)
}

// GetStable is a term or a vote, nil when it was never set.
func (m *walMeta) GetStable(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.doc.Stable[string(key)]), nil
}

// SetStable is durable when it returns.
func (m *walMeta) SetStable(key, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.doc
	next.Stable = make(map[string][]byte, len(m.doc.Stable)+1)
	for k, v := range m.doc.Stable {
		next.Stable[k] = v
	}
	next.Stable[string(key)] = bytes.Clone(value)
	return m.replaceLocked(next)
}

// certify records the last index of a log that closes, or 0 for one that opens.
func (m *walMeta) certify(last uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.doc.Certified == last {
		return nil
	}
	next := m.doc
	next.Certified = last
	return m.replaceLocked(next)
}

func (m *walMeta) replaceLocked(next walMetaDoc) error {
	b, err := json.Marshal(next)
	if err == nil {
		err = writeSealed(m.fs, m.name, walMetaMagic, b)
	}
	if err != nil {
		err = fmt.Errorf("writing the Raft log's state: %w", err)
		m.fatal(err)
		return err
	}
	m.doc = next
	return nil
}

// Close does nothing: every change is on disk.
func (m *walMeta) Close() error { return nil }
