package rpc

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/volumepb"
)

// LocalVolume is a volume of this process.
type LocalVolume struct {
	Volume      Volume
	Number      func() uint32 // in the layout; 0: not a member yet
	Incarnation string
	Stats       func() *volumepb.StatsReply // number and incarnation are filled in
	Care        Care                        // nil: calls of it are errs.Unsupported
}

// receiveBudget bounds the bytes of blobs on their way into this process's volumes.
const receiveBudget = 256 << 20

// RegisterVolumes serves the volumes.
func RegisterVolumes(s *Server, volumes ...LocalVolume) {
	v := &volumeServer{volumes: volumes, budget: semaphore.NewWeighted(receiveBudget)}
	s.grpc.RegisterService(&volumeDesc, v)
	s.data.serve(v)
}

type volumeServer struct {
	volumes []LocalVolume
	budget  *semaphore.Weighted
}

var volumeDesc = grpc.ServiceDesc{
	ServiceName: volumeService,
	HandlerType: (*any)(nil),
	Metadata:    "volume.proto",
	Methods: []grpc.MethodDesc{
		{MethodName: "Commit", Handler: unaryOf(methodCommit, (*volumeServer).commit)},
		{MethodName: "Abort", Handler: unaryOf(methodAbort, (*volumeServer).abort)},
		{MethodName: "Delete", Handler: unaryOf(methodDelete, (*volumeServer).delete)},
		{MethodName: "List", Handler: unaryOf(methodList, (*volumeServer).list)},
		{MethodName: "Stat", Handler: unaryOf(methodStat, (*volumeServer).stat)},
		{MethodName: "Stats", Handler: unaryOf(methodStats, (*volumeServer).stats)},
		{MethodName: "Fetch", Handler: unaryOf(methodFetch, (*volumeServer).fetch)},
		{MethodName: "Check", Handler: unaryOf(methodCheck, (*volumeServer).check)},
		{MethodName: "Digests", Handler: unaryOf(methodDigests, (*volumeServer).digests)},
		{MethodName: "Compact", Handler: unaryOf(methodCompact, (*volumeServer).compact)},
		{MethodName: "Fence", Handler: unaryOf(methodFence, (*volumeServer).fence)},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "Prepare", ClientStreams: true, Handler: streamOf((*volumeServer).prepareStream)},
		{StreamName: "PrepareSmall", ClientStreams: true, Handler: streamOf((*volumeServer).prepareSmallStream)},
		{StreamName: "ReadAt", ServerStreams: true, Handler: streamOf((*volumeServer).readAt)},
	},
}

// meant gives the volume that a call by gRPC is meant for.
func (s *volumeServer) meant(ctx context.Context) (*LocalVolume, error) {
	ref, err := incomingRef(ctx)
	if err != nil {
		return nil, err
	}
	return s.find(ref)
}

// find gives the volume that is meant. One that is not here is Unavailable, never "no such blob".
func (s *volumeServer) find(ref VolumeRef) (*LocalVolume, error) {
	const op = "rpc.Volume"
	for i := range s.volumes {
		v := &s.volumes[i]
		if v.is(ref) {
			if ref == (VolumeRef{}) && len(s.volumes) > 1 {
				return nil, errs.E(op, errs.Invalid, "several volumes live here: name one")
			}
			return v, nil
		}
	}
	return nil, errs.E(op, errs.Unavailable, "volume %d %s does not live here", ref.Number, ref.Incarnation)
}

// is says whether the volume is meant. One that was just made a member and did not hear its number yet is known by its incarnation.
func (v *LocalVolume) is(ref VolumeRef) bool {
	if ref.Incarnation != "" {
		return ref.Incarnation == v.Incarnation && (ref.Number == 0 || v.number() == 0 || v.number() == ref.Number)
	}
	return ref.Number == 0 || v.number() == ref.Number
}

func (v *LocalVolume) number() uint32 {
	if v.Number == nil {
		return 0
	}
	return v.Number()
}

// receiving is what one Prepare holds.
type receiving struct {
	frames []*inFrame
	data   [][]byte
}

var receivings = sync.Pool{New: func() any { return new(receiving) }}

func (r *receiving) free() {
	for _, f := range r.frames {
		f.free()
	}
	clear(r.frames)
	clear(r.data)
	r.frames, r.data = r.frames[:0], r.data[:0]
	receivings.Put(r)
}

func (s *volumeServer) prepareStream(ctx context.Context, ss grpc.ServerStream) error {
	reply, err := s.prepare(ctx, ss)
	if err != nil {
		return err
	}
	return errs.WrapKind("rpc.Prepare", errs.Canceled, ss.SendMsg(reply))
}

func (s *volumeServer) prepare(ctx context.Context, ss grpc.ServerStream) (*volumepb.PrepareReply, error) {
	const op = "rpc.Prepare"
	v, err := s.meant(ctx)
	if err != nil {
		return nil, err
	}
	r := receivings.Get().(*receiving)
	defer r.free()
	var total, got uint32
	for {
		f := &inFrame{}
		if err := ss.RecvMsg(f); err != nil {
			return nil, brokenOff(op, err)
		}
		r.frames = append(r.frames, f)
		first := r.frames[0]
		if len(r.frames) == 1 {
			total = f.total
			if err := s.budget.Acquire(ctx, int64(total)); err != nil {
				return nil, errs.WrapKind(op, errs.SlowDown, err)
			}
			defer s.budget.Release(int64(total))
		}
		if f.id != first.id || f.epochs != first.epochs || f.total != total || f.offset != uint64(got) || f.length > total-got || (f.length == 0 && total > 0) {
			return nil, errs.E(op, errs.Invalid, "frame %d of blob %s does not fit", len(r.frames), first.id)
		}
		if r.data, err = f.appendTo(r.data); err != nil {
			return nil, err
		}
		if got += f.length; got == total {
			durable, err := v.Volume.Prepare(ctx, first.id, first.epochs, r.data)
			return &volumepb.PrepareReply{Durable: durable}, err
		}
	}
}

func (s *volumeServer) readAt(ctx context.Context, ss grpc.ServerStream) error {
	const op = "rpc.ReadAt"
	var req volumepb.ReadRequest
	if err := ss.RecvMsg(&req); err != nil {
		return brokenOff(op, err)
	}
	v, err := s.meant(ctx)
	if err != nil {
		return err
	}
	id, err := object.BlobIDFrom(req.Id)
	if err != nil {
		return err
	}
	if req.Length > BlobMax || req.Offset > BlobMax {
		return errs.E(op, errs.Invalid, "%d bytes at %d", req.Length, req.Offset)
	}
	if req.Length == 0 {
		_, err := v.Volume.ReadAt(ctx, id, nil, int64(req.Offset))
		return err
	}
	for off, end := req.Offset, req.Offset+uint64(req.Length); off < end; {
		// Pieces end where blocks do, so that no block is verified twice.
		want := int(min(end, (off/FrameMax+1)*FrameMax) - off)
		n, err := sendPiece(ctx, ss, v.Volume, frameHeader{id: id, offset: off, total: req.Length}, want)
		if err != nil || n < want {
			return err
		}
		off += uint64(n)
	}
	return nil
}

// sendPiece reads up to want bytes and sends what there is, if anything.
func sendPiece(ctx context.Context, ss grpc.ServerStream, v Volume, h frameHeader, want int) (int, error) {
	f := newOutFrame(want)
	n, err := v.ReadAt(ctx, h.id, f.data(), int64(h.offset))
	if err != nil || n == 0 {
		f.drop()
		return n, err
	}
	f.seal(h, n, checksum(f.data()[:n]))
	if err := ss.SendMsg(f); err != nil {
		return n, errs.WrapKind("rpc.ReadAt", errs.Canceled, err)
	}
	return n, nil
}

func (s *volumeServer) each(ctx context.Context, m *volumepb.BlobIDs, do func(Volume) func(context.Context, ...object.BlobID) error) (*volumepb.Done, error) {
	v, err := s.meant(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := unpackIDs(m.Packed)
	if err != nil {
		return nil, err
	}
	return &volumepb.Done{}, do(v.Volume)(ctx, ids...)
}

func (s *volumeServer) commit(ctx context.Context, m *volumepb.BlobIDs) (*volumepb.Done, error) {
	return s.each(ctx, m, func(v Volume) func(context.Context, ...object.BlobID) error { return v.Commit })
}

func (s *volumeServer) abort(ctx context.Context, m *volumepb.BlobIDs) (*volumepb.Done, error) {
	return s.each(ctx, m, func(v Volume) func(context.Context, ...object.BlobID) error { return v.Abort })
}

func (s *volumeServer) delete(ctx context.Context, m *volumepb.BlobIDs) (*volumepb.Done, error) {
	return s.each(ctx, m, func(v Volume) func(context.Context, ...object.BlobID) error { return v.Delete })
}

func (s *volumeServer) list(ctx context.Context, m *volumepb.ListRequest) (*volumepb.ListPage, error) {
	v, err := s.meant(ctx)
	if err != nil {
		return nil, err
	}
	var after object.BlobID
	if len(m.After) > 0 {
		if after, err = object.BlobIDFrom(m.After); err != nil {
			return nil, err
		}
	}
	if m.Limit == 0 || m.Limit > listMax {
		return nil, errs.E("rpc.List", errs.Invalid, "a page of %d blobs", m.Limit)
	}
	page, err := listPage(v.Volume, m, after)
	if err != nil {
		return nil, err
	}
	return &volumepb.ListPage{Packed: packInfos(page)}, nil
}

func listPage(v Volume, m *volumepb.ListRequest, after object.BlobID) ([]object.BlobInfo, error) {
	switch {
	case m.Shards > 0:
		return v.ListShard(int(m.Shard), int(m.Shards), after, int(m.Limit))
	case m.Prepared:
		return v.ListPrepared(after, int(m.Limit), m.Below)
	}
	return v.List(after, int(m.Limit))
}

func (s *volumeServer) fence(ctx context.Context, m *volumepb.FenceRequest) (*volumepb.Done, error) {
	v, err := s.meant(ctx)
	if err != nil {
		return nil, err
	}
	return &volumepb.Done{}, v.Volume.Fence(ctx, m.Shard, m.Shards, m.Epoch)
}

func (s *volumeServer) stat(ctx context.Context, m *volumepb.StatRequest) (*volumepb.StatReply, error) {
	v, err := s.meant(ctx)
	if err != nil {
		return nil, err
	}
	id, err := object.BlobIDFrom(m.Id)
	if err != nil {
		return nil, err
	}
	in, err := v.Volume.Stat(id)
	if err != nil {
		return nil, err
	}
	return statReply(in), nil
}

func (s *volumeServer) stats(ctx context.Context, _ *volumepb.StatsRequest) (*volumepb.StatsReply, error) {
	v, err := s.meant(ctx)
	if err != nil {
		return nil, err
	}
	r := &volumepb.StatsReply{}
	if v.Stats != nil {
		r = v.Stats()
	}
	r.Number, r.Incarnation = v.number(), v.Incarnation
	return r, nil
}
