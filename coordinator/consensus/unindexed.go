package consensus

import (
	"encoding/binary"
	"io"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// unindexed reads a sealed segment that has no index, because it was the tail when the log was cut short in it. Its frames are
// found by walking through it once.
type unindexed struct {
	f       vfs.File
	info    types.SegmentInfo
	offsets []int64 // of the entries' frames, from BaseIndex on
}

var _ types.SegmentReader = (*unindexed)(nil)

// openUnindexed refuses a segment that lacks entries that it should have.
func openUnindexed(fs vfs.FS, dir string, info types.SegmentInfo) (types.SegmentReader, error) {
	const op = "consensus.openUnindexed"
	name := fs.PathJoin(dir, segment.FileName(info))
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	w := tailWalk{r: f, size: st.Size()}
	err = w.walk()
	if err == nil && w.entries < info.MaxIndex+1-info.BaseIndex {
		err = errs.E(op, errs.Corrupt, "%s ends at entry %d, not at %d", name, info.BaseIndex+w.entries-1, info.MaxIndex)
	}
	if err != nil {
		f.Close()
		return nil, errs.Wrap(op, err)
	}
	return &unindexed{f: f, info: info, offsets: w.offsets[:w.entries]}, nil
}

// GetLog reads the bytes of an entry.
func (u *unindexed) GetLog(index uint64) (*types.PooledBuffer, error) {
	if index < u.info.MinIndex || index > u.info.MaxIndex {
		return nil, types.ErrNotFound
	}
	off := u.offsets[index-u.info.BaseIndex]
	var head [walFrameHeader]byte
	if _, err := u.f.ReadAt(head[:], off); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if head[0] != segment.FrameEntry || n > segment.MaxEntrySize {
		return nil, errs.E("consensus.unindexed", errs.Corrupt, "the frame of entry %d has changed", index)
	}
	b := make([]byte, n)
	if got, err := u.f.ReadAt(b, off+walFrameHeader); got < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return &types.PooledBuffer{Bs: b}, nil
}

// Close closes the file.
func (u *unindexed) Close() error { return u.f.Close() }
