package store

import (
	"context"
	"sync/atomic"

	"minikv/volume/record"
)

// summing is the checksums of a large blob, for which the writer and, if it has nothing to do, the store's helper take piece after piece: the
// sums of 1 MiB that the cache does not hold take a tenth of the time of its write, and the disk waits for them.
type summing struct {
	data [][]byte
	sums []uint32
	next atomic.Int32 // piece to be taken
	left atomic.Int32 // pieces not done
	done chan struct{}
}

const (
	sumPiece = 2 // blocks
	sumMin   = 8 // blocks of a blob from which on help is asked for
)

// sumsOf appends the checksums of data, of so many bytes, to dst.
func (st *Store) sumsOf(dst []uint32, data [][]byte, length int) []uint32 {
	n := record.Blocks(length)
	if n < sumMin {
		return record.Sums(dst, data)
	}
	at := len(dst)
	dst = append(dst, make([]uint32, n)...)
	s := &summing{data: data, sums: dst[at:], done: make(chan struct{})}
	s.left.Store(int32((n + sumPiece - 1) / sumPiece))
	select {
	case st.help <- s:
	default: // the helper is busy
	}
	s.work()
	<-s.done // pieces that the helper took
	return dst
}

// work sums until no piece is left to be taken. Who takes none touches no data.
func (s *summing) work() {
	for {
		from := int(s.next.Add(1)-1) * sumPiece
		if from >= len(s.sums) {
			return
		}
		to := min(from+sumPiece, len(s.sums))
		var room [4][]byte
		record.Sums(s.sums[from:from:to], between(room[:0], s.data, from*record.BlockLen, to*record.BlockLen))
		if s.left.Add(-1) == 0 {
			close(s.done)
		}
	}
}

// between appends the bytes from from up to to, or to the end, of the concatenation of data to dst.
func between(dst, data [][]byte, from, to int) [][]byte {
	for _, d := range data {
		if from < len(d) && to > 0 {
			dst = append(dst, d[max(from, 0):min(to, len(d))])
		}
		from, to = from-len(d), to-len(d)
	}
	return dst
}

// helpSums is the helper, until the context ends.
func (st *Store) helpSums(ctx context.Context) {
	for {
		select {
		case s := <-st.help:
			s.work()
		case <-ctx.Done():
			return
		}
	}
}
