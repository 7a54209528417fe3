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
	inFramesBlobs = 8        // usual number of blobs in a call
)

// smallBlob is one that waits for a place in a call.
type smallBlob struct {
	h    frameHeader
	data [][]byte

	waiter
	copying sync.WaitGroup // until its bytes are copied by whoever took it along; 0 while it waits
}

// Answers to a blob that was taken along.
const (
	wordDurable word = wordLead + 1 + iota // stored
	wordWritten                            // stored, not synced
	wordAlone                              // the call failed
)

// prepareShared has small blobs share calls: a call of gRPC costs both ends 50 to 100 us of CPU, many times what a blob of 1 KiB
// costs. Should a shared call fail, for whatever reason, each of its blobs goes on alone: doing it twice is doing it once.
func (c *VolumeClient) prepareShared(ctx context.Context, h frameHeader, data [][]byte) (bool, error) {
	b := &smallBlob{h: h, data: data}
	if c.small.enter(b) {
		return c.leadSmall(ctx, b)
	}
	return c.awaitSmall(ctx, b)
}

// awaitSmall waits until b is told to lead, or what became of it.
func (c *VolumeClient) awaitSmall(ctx context.Context, b *smallBlob) (bool, error) {
	select {
	case w := <-b.told:
		switch w {
		case wordLead:
			return c.leadSmall(ctx, b)
		case wordAlone:
			return c.prepareAlone(ctx, b.h, b.data)
		}
		return w == wordDurable, nil
	case <-ctx.Done():
		if !c.small.leave(b) { // on its way; what comes of it, no one asks
			b.copying.Wait()
		}
		return false, errs.Wrap(opOf(methodSmall)+" "+c.peer.addr, ctx.Err())
	}
}

// leadSmall makes a call for b and those that wait.
func (c *VolumeClient) leadSmall(ctx context.Context, b *smallBlob) (bool, error) {
	if err := ctx.Err(); err != nil { // told to lead in the same moment
		c.small.ended()
		return false, errs.Wrap(opOf(methodSmall)+" "+c.peer.addr, err)
	}
	bytes := int(b.h.total) + frameHeaderLen
	others := c.small.take(&b.waiter, smallBlobsMax-1, func(o *smallBlob) bool {
		more := int(o.h.total) + frameHeaderLen
		if bytes+more > smallBytesMax {
			return false
		}
		bytes += more
		o.copying.Add(1)
		return true
	})
	if len(others) == 0 {
		defer c.small.ended()
		return c.prepareAlone(ctx, b.h, b.data)
	}
	all := append([]*smallBlob{b}, others...)
	f := outFrame{buffers.Get(bytes)}
	at := *f.buf
	for i, o := range all {
		at = at[o.putTo(at):]
		if i > 0 {
			o.copying.Done()
		}
	}
	call, end := b.with.begin(ctx)
	go c.callSmall(call, end, all, f)
	return c.awaitSmall(ctx, b)
}

// callSmall makes a call for all and tells them what became of it. It ends with the call, at latest when the last of them has gone.
func (c *VolumeClient) callSmall(ctx context.Context, end context.CancelFunc, all []*smallBlob, f outFrame) {
	durable, err := c.prepareSmall(ctx, f)
	end()
	c.small.ended()
	w := wordWritten
	switch {
	case err != nil:
		w = wordAlone
	case durable:
		w = wordDurable
	}
	for _, o := range all {
		o.told <- w
	}
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
