package rpc

import (
	"context"
	"io"

	"google.golang.org/grpc"

	"minikv/internal/certs"
	"minikv/internal/crc32c"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/rpc/secure"
	"minikv/proto/volumepb"
)

// VolumeClient is a volume of another node. For concurrent use. Its errors have the kinds of volume.Server's, and errs.Unavailable,
// errs.Timeout and errs.AccessDenied where the call did not get through; after those a change may have been made or not.
type VolumeClient struct {
	peer  *Peer
	ref   VolumeRef
	small turns[*smallBlob]
}

// NewVolumeClient names a volume at host:port on the given node; an empty node is not checked.
func NewVolumeClient(p *Pool, addr, node string, ref VolumeRef) (*VolumeClient, error) {
	peer, err := p.Peer(addr, secure.Expect{Roles: certs.Roles(certs.Volume), Node: node})
	if err != nil {
		return nil, errs.Wrap("rpc.NewVolumeClient", err)
	}
	return &VolumeClient{peer: peer, ref: ref}, nil
}

// Peer is the node that the volume is on.
func (c *VolumeClient) Peer() *Peer { return c.peer }

var (
	prepareDesc = &grpc.StreamDesc{ClientStreams: true}
	readDesc    = &grpc.StreamDesc{ServerStreams: true}
)

// Prepare stores a blob of at most BlobMax bytes, the concatenation of data, which may be reused once Prepare has returned.
func (c *VolumeClient) Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (bool, error) {
	total := 0
	for _, b := range data {
		total += len(b)
	}
	if total > BlobMax {
		return false, errs.E(opOf(methodPrepare), errs.EntityTooLarge, "a blob of %d bytes", total)
	}
	h := frameHeader{id: id, epochs: ep, total: uint32(total)}
	if total <= smallMax {
		return c.prepareShared(ctx, h, data)
	}
	return c.prepareAlone(ctx, h, data)
}

func (c *VolumeClient) prepareAlone(ctx context.Context, h frameHeader, data [][]byte) (bool, error) {
	durable, r, err, direct := false, remote{}, error(nil), false
	if h.total > smallMax {
		durable, r, err, direct = c.prepareData(ctx, h, data)
	}
	if !direct {
		durable, r, err = c.prepare(ctx, h, data)
	}
	if worthAnother(ctx, methodPrepare, err, r) {
		durable, _, err = c.prepare(ctx, h, data)
	}
	return durable, err
}

func (c *VolumeClient) prepare(ctx context.Context, h frameHeader, data [][]byte) (bool, remote, error) {
	k, err := c.peer.start(c.ref.outgoing(ctx), methodPrepare, prepareDesc)
	if err != nil {
		return false, remote{kind: errs.KindOf(err)}, err
	}
	in := pieces{data: data}
	for left := int(h.total); err == nil; {
		n := min(left, FrameMax)
		f := newOutFrame(n)
		f.seal(h, n, in.copyTo(f.data()))
		err = k.send(f)
		left, h.offset = left-n, h.offset+uint64(n)
		if left == 0 {
			break
		}
	}
	return k.prepared(err)
}

// prepared ends the sending, unless err did, and takes the answer.
func (k *call) prepared(err error) (bool, remote, error) {
	var reply volumepb.PrepareReply
	if err == nil {
		err = k.stream.CloseSend()
	}
	if err == nil || err == io.EOF { // io.EOF: the stream has ended; RecvMsg says why
		err = k.stream.RecvMsg(&reply)
	}
	r, err := k.finish(err)
	return reply.Durable && err == nil, r, err
}

// pieces reads the concatenation of slices.
//
// The bytes are copied, not lent to gRPC: it keeps references to what is on its way and, when a connection dies, forgets to say
// that it is done with them, so that nobody could tell when the caller's memory is free again (R6). The copy and the checksum
// are one pass.
type pieces struct {
	data [][]byte
	off  int // bytes of data[0] that were taken
}

const copyStep = 32 << 10 // fits the first-level cache

// copyTo fills dst and returns the CRC32C of it.
func (p *pieces) copyTo(dst []byte) uint32 {
	crc := uint32(0)
	for len(dst) > 0 {
		from := p.data[0][p.off:]
		n := copy(dst[:min(len(dst), copyStep)], from)
		crc = crc32c.Update(crc, dst[:n])
		dst = dst[n:]
		if p.off += n; n == len(from) {
			p.data, p.off = p.data[1:], 0
		}
	}
	return crc
}

// ReadAt fills dst from the blob; n is less than len(dst) only at the blob's end. With an error nothing in dst counts.
func (c *VolumeClient) ReadAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (int, error) {
	if off < 0 || off > BlobMax {
		return 0, errs.E(opOf(methodReadAt), errs.Invalid, "offset %d", off)
	}
	if len(dst) > BlobMax {
		dst = dst[:BlobMax]
	}
	n, r, err, direct := 0, remote{}, error(nil), false
	if len(dst) > smallMax {
		n, r, err, direct = c.readData(ctx, id, dst, off)
	}
	if !direct {
		n, r, err = c.readAt(ctx, id, dst, off)
	}
	if worthAnother(ctx, methodReadAt, err, r) {
		n, _, err = c.readAt(ctx, id, dst, off)
	}
	return n, err
}

func (c *VolumeClient) readAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (int, remote, error) {
	k, err := c.peer.start(c.ref.outgoing(ctx), methodReadAt, readDesc)
	if err != nil {
		return 0, remote{kind: errs.KindOf(err)}, err
	}
	if err = k.send(&volumepb.ReadRequest{Id: id[:], Offset: uint64(off), Length: uint32(len(dst))}); err == nil {
		err = k.stream.CloseSend()
	}
	got := 0
	var bad error
	for err == nil || err == io.EOF {
		var f inFrame
		if err = k.stream.RecvMsg(&f); err != nil {
			break
		}
		if f.id != id || f.offset != uint64(off)+uint64(got) || int(f.length) > len(dst)-got || f.length == 0 {
			bad = errs.E(opOf(methodReadAt), errs.Other, "the answer does not fit the question")
		} else {
			bad = f.copyTo(dst[got:])
		}
		got += int(f.length)
		f.free()
		if bad != nil {
			break
		}
	}
	if bad != nil {
		k.finish(nil)
		return 0, remote{kind: errs.KindOf(bad), ran: true}, errs.Wrap(opOf(methodReadAt)+" "+c.peer.addr, bad)
	}
	r, err := k.finish(err)
	if err != nil {
		return 0, r, err
	}
	return got, r, nil
}

// Commit tells the volume that the blobs are referenced: a hint.
func (c *VolumeClient) Commit(ctx context.Context, ids ...object.BlobID) error {
	return c.each(ctx, methodCommit, ids)
}

// Abort drops prepared blobs that were never proposed, or surely refused.
func (c *VolumeClient) Abort(ctx context.Context, ids ...object.BlobID) error {
	return c.each(ctx, methodAbort, ids)
}

// Delete returns nil when the volume durably lacks all the blobs.
func (c *VolumeClient) Delete(ctx context.Context, ids ...object.BlobID) error {
	return c.each(ctx, methodDelete, ids)
}

// each sends the ids, all of them even if some fail, and gives the first error.
func (c *VolumeClient) each(ctx context.Context, method string, ids []object.BlobID) error {
	var first error
	ctx = c.ref.outgoing(ctx)
	for len(ids) > 0 {
		n := min(len(ids), idsMax)
		r, err := c.peer.unary(ctx, method, &volumepb.BlobIDs{Packed: packIDs(ids[:n])}, &volumepb.Done{})
		if err != nil && first == nil {
			first = err
		}
		if err != nil && !r.ran {
			break
		}
		ids = ids[n:]
	}
	return first
}

// List gives up to limit living blobs after the given one, in the order of the ids' hashes; the zero id begins at the start. Fewer
// than limit mean the end; limit is at most 16,384: more is errs.Invalid, for a page cut short would look like the end.
func (c *VolumeClient) List(ctx context.Context, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	return c.list(ctx, &volumepb.ListRequest{After: after[:], Limit: uint32(limit)})
}

// ListPrepared is List of blobs that are not committed and whose epoch is below the given one.
func (c *VolumeClient) ListPrepared(ctx context.Context, after object.BlobID, limit int, below uint64) ([]object.BlobInfo, error) {
	return c.list(ctx, &volumepb.ListRequest{After: after[:], Limit: uint32(limit), Prepared: true, Below: below})
}

// ListShard is List of the blobs of one of so many shards.
func (c *VolumeClient) ListShard(ctx context.Context, shard, shards uint32, after object.BlobID, limit int) ([]object.BlobInfo, error) {
	return c.list(ctx, &volumepb.ListRequest{After: after[:], Limit: uint32(limit), Shards: shards, Shard: shard})
}

// Fence makes the volume refuse prepares of a shard by older epochs, and returns when those that ran have ended.
func (c *VolumeClient) Fence(ctx context.Context, shard, shards uint32, epoch uint64) error {
	_, err := c.peer.unary(c.ref.outgoing(ctx), methodFence, &volumepb.FenceRequest{Shard: shard, Shards: shards, Epoch: epoch}, &volumepb.Done{})
	return err
}

func (c *VolumeClient) list(ctx context.Context, req *volumepb.ListRequest) ([]object.BlobInfo, error) {
	var page volumepb.ListPage
	if _, err := c.peer.unary(c.ref.outgoing(ctx), methodList, req, &page); err != nil {
		return nil, err
	}
	infos, err := unpackInfos(page.Packed)
	return infos, errs.Wrap(opOf(methodList), err)
}

// Stat tells what the volume knows of a blob.
func (c *VolumeClient) Stat(ctx context.Context, id object.BlobID) (object.BlobInfo, error) {
	var reply volumepb.StatReply
	if _, err := c.peer.unary(c.ref.outgoing(ctx), methodStat, &volumepb.StatRequest{Id: id[:]}, &reply); err != nil {
		return object.BlobInfo{}, err
	}
	in, err := infoOf(&reply)
	return in, errs.Wrap(opOf(methodStat), err)
}

// Stats tells how the volume is.
func (c *VolumeClient) Stats(ctx context.Context) (*volumepb.StatsReply, error) {
	reply := &volumepb.StatsReply{}
	_, err := c.peer.unary(c.ref.outgoing(ctx), methodStats, &volumepb.StatsRequest{}, reply)
	if err != nil {
		return nil, err
	}
	return reply, nil
}
