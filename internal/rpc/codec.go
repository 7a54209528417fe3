package rpc

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"minikv/internal/crc32c"
	"minikv/internal/errs"
)

// codec writes frames as they are and everything else as protobuf. Both ends force it, so that the content type, which a caller
// chooses, decides nothing.
type codec struct{}

var _ encoding.CodecV2 = codec{}

// Name is that of the usual codec: to the outside this is ordinary gRPC.
func (codec) Name() string { return "proto" }

// outFrame is a frame to be sent: a buffer of the pool that starts with the header. Marshal gives it to gRPC.
type outFrame struct {
	buf *[]byte
}

// newOutFrame takes a buffer for a piece of n bytes.
func newOutFrame(n int) outFrame { return outFrame{buffers.Get(frameHeaderLen + n)} }

// data is where the bytes go.
func (f outFrame) data() []byte { return (*f.buf)[frameHeaderLen:] }

// seal writes the header around the first n bytes of data, whose checksum is crc.
func (f outFrame) seal(h frameHeader, n int, crc uint32) {
	*f.buf = (*f.buf)[:frameHeaderLen+n]
	h.length, h.crc = uint32(n), crc
	h.put((*f.buf)[:frameHeaderLen])
}

// drop gives a frame back that is not sent.
func (f outFrame) drop() { buffers.Put(f.buf) }

// inFrame is a frame that came: the header, and the bytes, still in gRPC's buffers, of which it holds references.
type inFrame struct {
	frameHeader
	pieces mem.BufferSlice
	skip   int // bytes of pieces[0] that belong to the header
}

// appendTo appends the pieces, checked, to list; they live until free.
func (f *inFrame) appendTo(list [][]byte) ([][]byte, error) {
	crc := uint32(0)
	for i, p := range f.pieces {
		b := p.ReadOnlyData()
		if i == 0 {
			b = b[f.skip:]
		}
		if len(b) == 0 {
			continue
		}
		crc = crc32c.Update(crc, b)
		list = append(list, b)
	}
	return list, f.check(crc)
}

// copyTo copies the bytes to dst, which is long enough, and checks the copy.
func (f *inFrame) copyTo(dst []byte) error {
	crc, n := uint32(0), 0
	for i, p := range f.pieces {
		b := p.ReadOnlyData()
		if i == 0 {
			b = b[f.skip:]
		}
		c := copy(dst[n:], b)
		crc = crc32c.Update(crc, dst[n:n+c])
		n += c
	}
	return f.check(crc)
}

func (f *inFrame) check(crc uint32) error {
	if crc != f.crc {
		return errs.E("rpc.frame", errs.Corrupt, "bytes of blob %s changed on the way", f.id)
	}
	return nil
}

// free lets go of the bytes.
func (f *inFrame) free() {
	f.pieces.Free()
	f.pieces = nil
}

// Marshal takes over an outFrame's buffer.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case outFrame:
		return mem.BufferSlice{mem.NewBuffer(m.buf, &buffers)}, nil
	case proto.Message:
		b := buffers.Get(proto.Size(m))
		out, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*b)[:0], m)
		if err != nil {
			buffers.Put(b)
			return nil, err
		}
		*b = out
		return mem.BufferSlice{mem.NewBuffer(b, &buffers)}, nil
	}
	return nil, errs.E("rpc.codec", errs.Other, "can't send a %T", v)
}

// Unmarshal leaves an inFrame's bytes in the buffers they came in.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *inFrame:
		return m.unmarshal(data)
	case *inFrames:
		return m.unmarshal(data)
	case proto.Message:
		if len(data) == 1 {
			return proto.Unmarshal(data[0].ReadOnlyData(), m)
		}
		b := data.MaterializeToBuffer(&buffers)
		defer b.Free()
		return proto.Unmarshal(b.ReadOnlyData(), m)
	}
	return errs.E("rpc.codec", errs.Other, "can't receive a %T", v)
}

func (f *inFrame) unmarshal(data mem.BufferSlice) error {
	var header [frameHeaderLen]byte
	got, first := 0, len(data)
	for i, p := range data {
		b := p.ReadOnlyData()
		n := copy(header[got:], b)
		if got += n; got == frameHeaderLen {
			first, f.skip = i, n
			break
		}
	}
	h, err := parseFrameHeader(header[:got])
	if err != nil {
		return err
	}
	if data.Len() != frameHeaderLen+int(h.length) {
		return errs.E("rpc.frame", errs.Invalid, "%d bytes in a frame of %d", data.Len()-frameHeaderLen, h.length)
	}
	f.frameHeader, f.pieces = h, append(f.pieces[:0], data[first:]...)
	f.pieces.Ref()
	return nil
}
