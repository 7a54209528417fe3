package rpc

import (
	"context"
	"sync"

	"google.golang.org/grpc/mem"

	"minikv/internal/errs"
)

// Bounds of calls that carry several small blobs.
const (
	smallMax      = 64 << 10 // bytes of a blob that shares a call
	smallBytesMax = FrameMax // of a call, headers included: one buffer of the pool
	smallBlobsMax = 128      // of a call
	smallCallsMax = 2        // on their way to one volume; while they are, the next gathers
	inFramesBlobs = 8        // usual number of blobs in a call
)

// sharing lets small blobs that are prepared at the same time on the same volume share calls: a call of gRPC costs both ends 50 to
// 100 us of CPU, many times what a blob of 1 KiB costs. There is no timer: who comes while fewer than smallCallsMax calls are on their
// way goes at once; the others gather, and the first of them takes along as many as fit when a call ends. It makes the call itself, in
// its own goroutine and context; should that fail, for whatever reason, each of the others goes on alone: doing it twice is doing it
// once.
type sharing struct {
	mu    sync.Mutex
	calls int
	queue []*smallBlob
}

// smallBlob is one that waits for a place in a call.
type smallBlob struct {
	h    frameHeader
	data [][]byte

	told    chan word      // once
	copying sync.WaitGroup // until its bytes are copied by whoever took it along; 0 while it waits
}

// word is what a waiting blob is told.
type word uint8

const (
	wordLead    word = iota // make the next call
	wordDurable             // stored
	wordWritten             // stored, not synced
	wordAlone               // the call failed
)

func (s *sharing) prepare(ctx context.Context, c *VolumeClient, h frameHeader, data [][]byte) (bool, error) {
	b := &smallBlob{h: h, data: data}
	s.mu.Lock()
	if s.calls < smallCallsMax {
		s.calls++
		s.mu.Unlock()
		return s.lead(ctx, c, b)
	}
	b.told = make(chan word, 1)
	s.queue = append(s.queue, b)
	s.mu.Unlock()
	select {
	case w := <-b.told:
		switch w {
		case wordLead:
			return s.lead(ctx, c, b)
		case wordAlone:
			return c.prepareAlone(ctx, h, data)
		}
		return w == wordDurable, nil
	case <-ctx.Done():
		s.leave(b)
		return false, errs.Wrap(opOf(methodSmall)+" "+c.peer.addr, ctx.Err())
	}
}

// leave gives up a waiting blob. On return no one touches its bytes.
func (s *sharing) leave(b *smallBlob) {
	s.mu.Lock()
	for i, q := range s.queue {
		if q == b {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			s.mu.Unlock()
			return
		}
	}
	s.mu.Unlock()
	b.copying.Wait()
	select {
	case w := <-b.told:
		if w == wordLead {
			s.ended()
		}
	default: // on its way; what comes of it, no one asks
	}
}

// lead makes a call for b and those that wait.
func (s *sharing) lead(ctx context.Context, c *VolumeClient, b *smallBlob) (bool, error) {
	if err := ctx.Err(); err != nil { // told to lead in the same moment
		s.ended()
		return false, errs.Wrap(opOf(methodSmall)+" "+c.peer.addr, err)
	}
	others, bytes := s.take(int(b.h.total) + frameHeaderLen)
	if len(others) == 0 {
		defer s.ended()
		return c.prepareAlone(ctx, b.h, b.data)
	}
	f := outFrame{buffers.Get(bytes)}
	at := (*f.buf)[b.putTo(*f.buf):]
	for _, o := range others {
		at = at[o.putTo(at):]
		o.copying.Done()
	}
	durable, err := c.prepareSmall(ctx, f)
	s.ended()
	w := wordWritten
	switch {
	case err != nil:
		w = wordAlone
	case durable:
		w = wordDurable
	}
	for _, o := range others {
		o.told <- w
	}
	if err != nil {
		return c.prepareAlone(ctx, b.h, b.data)
	}
	return durable, nil
}

// take removes as many of those who wait as fit beside so many bytes, and gives the bytes of all together.
func (s *sharing) take(bytes int) ([]*smallBlob, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for ; n < len(s.queue) && n < smallBlobsMax-1; n++ {
		more := int(s.queue[n].h.total) + frameHeaderLen
		if bytes+more > smallBytesMax {
			break
		}
		bytes += more
		s.queue[n].copying.Add(1)
	}
	taken := append([]*smallBlob(nil), s.queue[:n]...)
	s.drop(n)
	return taken, bytes
}

// drop removes the first n of the queue. The caller holds mu.
func (s *sharing) drop(n int) {
	rest := copy(s.queue, s.queue[n:])
	clear(s.queue[rest:])
	s.queue = s.queue[:rest]
}

// ended hands the place of a call that has ended to the first who waits.
func (s *sharing) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.calls--
		return
	}
	next := s.queue[0]
	s.drop(1)
	next.told <- wordLead
}

// putTo writes the blob's frame to the front of dst and gives its length.
func (b *smallBlob) putTo(dst []byte) int {
	n := int(b.h.total)
	in := pieces{data: b.data}
	h := b.h
	h.length, h.crc = b.h.total, in.copyTo(dst[frameHeaderLen:frameHeaderLen+n])
	h.put(dst[:frameHeaderLen])
	return frameHeaderLen + n
}

func (c *VolumeClient) prepareSmall(ctx context.Context, f outFrame) (bool, error) {
	k, err := c.peer.start(c.ref.outgoing(ctx), methodSmall, prepareDesc)
	if err != nil {
		f.drop()
		return false, err
	}
	durable, _, err := k.prepared(k.send(f))
	return durable, err
}

// inFrames is a message of whole frames that came; the bytes stay in gRPC's buffer until free.
type inFrames struct {
	frames []wholeFrame
	buf    mem.Buffer
}

// wholeFrame is one of a message of several.
type wholeFrame struct {
	frameHeader
	data []byte
}

func (f *inFrames) unmarshal(data mem.BufferSlice) error {
	const op = "rpc.frames"
	f.buf = data.MaterializeToBuffer(&buffers)
	f.frames = make([]wholeFrame, 0, inFramesBlobs)
	for b := f.buf.ReadOnlyData(); len(b) > 0; {
		h, err := parseFrameHeader(b[:min(len(b), frameHeaderLen)])
		if err == nil && (h.offset != 0 || h.length != h.total || h.length > smallMax || int(h.length) > len(b)-frameHeaderLen) {
			err = errs.E(op, errs.Invalid, "frame %d of blob %s does not fit", len(f.frames), h.id)
		}
		if err == nil && len(f.frames) == smallBlobsMax {
			err = errs.E(op, errs.Invalid, "more than %d blobs in a call", smallBlobsMax)
		}
		if err != nil {
			f.free()
			return err
		}
		end := frameHeaderLen + int(h.length)
		f.frames = append(f.frames, wholeFrame{h, b[frameHeaderLen:end]})
		b = b[end:]
	}
	return nil
}

func (f *inFrames) free() {
	if f.buf != nil {
		f.buf.Free()
	}
	f.buf, f.frames = nil, nil
}
