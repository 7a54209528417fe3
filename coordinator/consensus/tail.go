package consensus

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// The crash argument for the tail segment. raft-wal writes a batch (entries, perhaps an index, a commit frame with the CRC32C of
// the batch) with one write and one sync, and the next batch only after that sync. So a crash leaves whole batches and at most
// one torn batch behind them. Left alone, three things go wrong at the next start:
//
//  1. Bytes of the torn batch stay behind the end; later batches can line up with its frames and make them part of the log.
//  2. A torn batch that held the index leaves the segment "sealed" without entries, and every append is refused.
//  3. A whole batch that held the index, when the crash came before the rotation, does the same.
//
// repairTail runs before raft-wal opens the log: it checks every batch, zeroes what is behind the last whole one (1, 2) and
// completes the rotation (3). A bad batch with a good one behind it is damage, not a tear: the log is refused.

const (
	walFileHeader  = 32
	walFrameHeader = 8
)

// tailState is what a walk through a segment found.
type tailState struct {
	end        int64  // behind the last whole batch
	entries    uint64 // in whole batches
	indexStart uint64 // of the index array, when a whole batch held it
}

// repairTail makes the unsealed segment ready for raft-wal, and checks that a cleanly closed log lost nothing.
func repairTail(fs vfs.FS, dir string, m *walMeta) error {
	segments := m.doc.Segments
	if len(segments) == 0 {
		return nil
	}
	info := segments[len(segments)-1]
	if !info.SealTime.IsZero() {
		return nil
	}
	st, err := repairSegment(fs, fs.PathJoin(dir, segment.FileName(info)))
	if err != nil {
		return err
	}
	last := info.BaseIndex + st.entries - 1
	if m.doc.Certified > last {
		return errs.E("consensus.repairTail", errs.Corrupt, "the Raft log ends at entry %d, but was closed at entry %d", last, m.doc.Certified)
	}
	if st.indexStart == 0 {
		return nil
	}
	return m.rotateTail(last, st.indexStart)
}

// rotateTail seals the tail and names its successor, which raft-wal makes when it does not find the file.
func (m *walMeta) rotateTail(last, indexStart uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.doc
	next.Segments = append([]types.SegmentInfo(nil), m.doc.Segments...)
	tail := &next.Segments[len(next.Segments)-1]
	tail.SealTime, tail.MaxIndex, tail.IndexStart = time.Now(), last, indexStart
	next.Segments = append(next.Segments, types.SegmentInfo{
		ID: next.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1,
		Codec: codecID, CreateTime: time.Now(), SizeLimit: tail.SizeLimit,
	})
	next.NextSegmentID++
	return m.replaceLocked(next)
}

func repairSegment(fs vfs.FS, name string) (tailState, error) {
	f, err := vfs.OpenFile(fs, name, os.O_RDWR, 0)
	if vfs.IsNotExist(err) {
		return tailState{}, nil // a crash between naming the segment and making it
	}
	if err != nil {
		return tailState{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return tailState{}, err
	}
	w := tailWalk{r: f, size: info.Size()}
	if err := w.walk(); err != nil {
		return tailState{}, errs.Wrap("consensus.repairTail: "+name, err)
	}
	return w.tailState, zeroBehind(f, w.end, w.size)
}

// tailWalk goes through the frames of a segment.
type tailWalk struct {
	tailState
	r    io.ReaderAt
	size int64

	at, batch int64 // the next frame, the present batch
	pending   uint64
	index     uint64  // index array in the present batch
	offsets   []int64 // of the entries' frames, pending ones included
	torn      bool    // a batch did not match its checksum
}

func (w *tailWalk) walk() error {
	w.at = walFileHeader
	for {
		var head [walFrameHeader]byte
		if n, err := w.r.ReadAt(head[:], w.at); n < len(head) {
			if err == io.EOF {
				return nil
			}
			return err
		}
		value := binary.LittleEndian.Uint32(head[4:])
		switch head[0] {
		case segment.FrameEntry, segment.FrameIndex:
			if head[0] == segment.FrameEntry {
				w.pending++
				w.offsets = append(w.offsets, w.at)
			} else {
				w.index = uint64(w.at) + walFrameHeader
			}
			w.at += walFrameHeader + (int64(value)+7)/8*8
			if value > segment.MaxEntrySize || w.at > w.size {
				return nil
			}
		case segment.FrameCommit:
			if err := w.commit(value); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// commit checks the batch that ends here.
func (w *tailWalk) commit(want uint32) error {
	b := make([]byte, w.at-w.batch)
	if _, err := w.r.ReadAt(b, w.batch); err != nil && err != io.EOF {
		return err
	}
	whole := crc32.Checksum(b, castagnoli) == want
	if whole && w.torn {
		return errs.E("consensus.repairTail", errs.Corrupt, "a batch before byte %d does not match its checksum, later ones do", w.batch)
	}
	w.at += walFrameHeader
	w.batch = w.at
	if whole {
		w.end, w.entries = w.at, w.entries+w.pending
		w.indexStart = w.index
	}
	w.torn = w.torn || !whole
	w.pending, w.index = 0, 0
	return nil
}

// zeroBehind overwrites what is not zero from off on, durably.
func zeroBehind(f vfs.File, off, size int64) error {
	const step = 256 << 10
	buf, zeros := make([]byte, step), make([]byte, step)
	wrote := false
	for ; off < size; off += step {
		n := min(step, size-off)
		if _, err := f.ReadAt(buf[:n], off); err != nil && err != io.EOF {
			return err
		}
		if bytes.Equal(buf[:n], zeros[:n]) {
			continue
		}
		if _, err := f.WriteAt(zeros[:n], off); err != nil {
			return err
		}
		clear(zeros)
		wrote = true
	}
	if !wrote {
		return nil
	}
	return f.Sync()
}
