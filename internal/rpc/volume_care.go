package rpc

import (
	"context"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/volumepb"
)

// VolumeAt is where to find a volume.
type VolumeAt struct {
	Number        uint32
	Incarnation   [16]byte
	Node, Address string // its node's name, and host:port of its RPC
}

// Care is what the leader has a volume do for its blobs.
type Care interface {
	// Fetch gets blobs from other volumes; each has its own outcome.
	Fetch(ctx context.Context, wants []object.Want, sources []VolumeAt) ([]object.Fetched, error)
	// Check tells what the volume has of the blobs.
	Check(ctx context.Context, c object.Check) (object.Checked, error)
	// Digests tells what the volume holds of each of so many shards.
	Digests(ctx context.Context, shards uint32) ([]object.ShardDigest, error)
	// Compact rewrites segments of which at least the share dead is dead.
	Compact(ctx context.Context, dead float64) (object.Compacted, error)
}

var _ Care = (*VolumeClient)(nil)

func (s *volumeServer) care(ctx context.Context) (Care, error) {
	v, err := s.meant(ctx)
	if err == nil && v.Care == nil {
		err = errs.E("rpc.Volume", errs.Unsupported, "this volume takes no care of others")
	}
	if err != nil {
		return nil, err
	}
	return v.Care, nil
}

func (s *volumeServer) fetch(ctx context.Context, m *volumepb.FetchRequest) (*volumepb.FetchReply, error) {
	const op = "rpc.Fetch"
	care, err := s.care(ctx)
	if err != nil {
		return nil, err
	}
	wants, sources, err := unpackFetch(m)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	got, err := care.Fetch(ctx, wants, sources)
	if err != nil {
		return nil, err
	}
	if len(got) != len(wants) {
		return nil, errs.E(op, errs.Other, "%d outcomes of %d blobs", len(got), len(wants))
	}
	reply := &volumepb.FetchReply{}
	for i := range got {
		r := &volumepb.FetchResult{Outcome: uint32(got[i].Outcome), Own: got[i].Own, Lacking: got[i].Lacking, Away: got[i].Away}
		if err := got[i].Err; err != nil {
			r.Kind, r.Message = uint32(errs.KindOf(err)), clip(err.Error())
		}
		reply.Results = append(reply.Results, r)
	}
	return reply, nil
}

func unpackFetch(m *volumepb.FetchRequest) ([]object.Want, []VolumeAt, error) {
	if len(m.Blobs) > object.FetchBlobsMax || len(m.Sources) > object.FetchSourcesMax {
		return nil, nil, errs.E("", errs.Invalid, "%d blobs from %d volumes", len(m.Blobs), len(m.Sources))
	}
	wants, sources := make([]object.Want, len(m.Blobs)), make([]VolumeAt, len(m.Sources))
	total := int64(0)
	for i, b := range m.Blobs {
		id, err := object.BlobIDFrom(b.Id)
		if err != nil {
			return nil, nil, err
		}
		wants[i] = object.Want{ID: id, Length: int64(b.Length), Epochs: object.Epochs{Cluster: b.ClusterEpoch, Shard: b.ShardEpoch}, From: b.From}
		total += int64(b.Length)
	}
	if total > object.CareBytesMax {
		return nil, nil, errs.E("", errs.Invalid, "%d bytes at once", total)
	}
	for i, s := range m.Sources {
		id, err := object.BlobIDFrom(s.Id)
		if err != nil {
			return nil, nil, err
		}
		sources[i] = VolumeAt{Number: s.Number, Incarnation: id, Node: s.Node, Address: s.Address}
	}
	return wants, sources, nil
}

// Fetch has the volume get blobs, at most object.FetchBlobsMax and object.CareBytesMax, from at most object.FetchSourcesMax others.
func (c *VolumeClient) Fetch(ctx context.Context, wants []object.Want, sources []VolumeAt) ([]object.Fetched, error) {
	req := &volumepb.FetchRequest{}
	for i := range wants {
		w := &wants[i]
		req.Blobs = append(req.Blobs, &volumepb.FetchBlob{
			Id: w.ID[:], Length: uint32(w.Length), ClusterEpoch: w.Epochs.Cluster, ShardEpoch: w.Epochs.Shard, From: w.From,
		})
	}
	for i := range sources {
		s := &sources[i]
		req.Sources = append(req.Sources, &volumepb.FetchSource{Number: s.Number, Id: s.Incarnation[:], Node: s.Node, Address: s.Address})
	}
	var reply volumepb.FetchReply
	if _, err := c.peer.unary(c.ref.outgoing(ctx), methodFetch, req, &reply); err != nil {
		return nil, err
	}
	if len(reply.Results) != len(wants) {
		return nil, errs.E(opOf(methodFetch), errs.Other, "%d outcomes of %d blobs", len(reply.Results), len(wants))
	}
	out := make([]object.Fetched, len(wants))
	for i, r := range reply.Results {
		out[i] = object.Fetched{Outcome: object.FetchOutcome(r.Outcome), Own: r.Own, Lacking: r.Lacking, Away: r.Away}
		if out[i].Outcome != object.FetchCopied && out[i].Outcome != object.FetchHad {
			out[i].Outcome = object.FetchFailed
			out[i].Err = errs.E(opOf(methodFetch)+" "+c.peer.addr, errs.Kind(r.Kind), "%s", r.Message)
		}
	}
	return out, nil
}

func (s *volumeServer) check(ctx context.Context, m *volumepb.CheckRequest) (*volumepb.CheckReply, error) {
	const op = "rpc.Check"
	care, err := s.care(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := unpackIDs(m.Packed)
	if err != nil {
		return nil, err
	}
	total := int64(0)
	for _, n := range m.Lengths {
		total += int64(n)
	}
	if len(m.Lengths) != len(ids) || (m.Deep && total > object.CareBytesMax) {
		return nil, errs.E(op, errs.Invalid, "%d blobs with %d lengths, %d bytes", len(ids), len(m.Lengths), total)
	}
	got, err := care.Check(ctx, object.Check{IDs: ids, Lengths: m.Lengths, Deep: m.Deep, Algorithm: uint8(min(m.Algorithm, 255))})
	if err != nil {
		return nil, err
	}
	reply := &volumepb.CheckReply{Verdicts: make([]byte, len(got.Verdicts)), Checksums: got.Sums}
	for i, v := range got.Verdicts {
		reply.Verdicts[i] = byte(v)
	}
	return reply, nil
}

// Check asks what the volume has of at most object.CheckBlobsMax blobs; deep, of at most object.CareBytesMax.
func (c *VolumeClient) Check(ctx context.Context, q object.Check) (object.Checked, error) {
	var reply volumepb.CheckReply
	req := &volumepb.CheckRequest{Packed: packIDs(q.IDs), Lengths: q.Lengths, Deep: q.Deep, Algorithm: uint32(q.Algorithm)}
	if _, err := c.peer.unary(c.ref.outgoing(ctx), methodCheck, req, &reply); err != nil {
		return object.Checked{}, err
	}
	if len(reply.Verdicts) != len(q.IDs) || (len(reply.Checksums) != 0 && len(reply.Checksums) != len(q.IDs)) {
		return object.Checked{}, errs.E(opOf(methodCheck), errs.Other, "%d verdicts of %d blobs", len(reply.Verdicts), len(q.IDs))
	}
	out := object.Checked{Verdicts: make([]object.Verdict, len(reply.Verdicts)), Sums: reply.Checksums}
	for i, v := range reply.Verdicts {
		if out.Verdicts[i] = object.Verdict(v); v < byte(object.Good) || v > byte(object.OtherLength) {
			return object.Checked{}, errs.E(opOf(methodCheck), errs.Unsupported, "verdict %d", v)
		}
	}
	return out, nil
}

func (s *volumeServer) digests(ctx context.Context, m *volumepb.DigestsRequest) (*volumepb.DigestsReply, error) {
	care, err := s.care(ctx)
	if err != nil {
		return nil, err
	}
	if m.Shards == 0 || m.Shards > object.ShardsMax {
		return nil, errs.E("rpc.Digests", errs.Invalid, "%d shards", m.Shards)
	}
	all, err := care.Digests(ctx, m.Shards)
	if err != nil {
		return nil, err
	}
	reply := &volumepb.DigestsReply{Packed: make([]byte, 0, len(all)*object.ShardDigestLen)}
	for i := range all {
		reply.Packed = all[i].AppendTo(reply.Packed)
	}
	return reply, nil
}

// Digests tells what the volume holds of each of so many shards.
func (c *VolumeClient) Digests(ctx context.Context, shards uint32) ([]object.ShardDigest, error) {
	var reply volumepb.DigestsReply
	if _, err := c.peer.unary(c.ref.outgoing(ctx), methodDigests, &volumepb.DigestsRequest{Shards: shards}, &reply); err != nil {
		return nil, err
	}
	all, err := object.ParseShardDigests(reply.Packed)
	if err == nil && len(all) != int(shards) {
		err = errs.E("", errs.Other, "%d digests of %d shards", len(all), shards)
	}
	return all, errs.Wrap(opOf(methodDigests), err)
}

func (s *volumeServer) compact(ctx context.Context, m *volumepb.CompactRequest) (*volumepb.CompactReply, error) {
	care, err := s.care(ctx)
	if err != nil {
		return nil, err
	}
	if !(m.Dead >= 0 && m.Dead <= 1) {
		return nil, errs.E("rpc.Compact", errs.Invalid, "a share of %v", m.Dead)
	}
	r, err := care.Compact(ctx, m.Dead)
	if err != nil {
		return nil, err
	}
	return &volumepb.CompactReply{Segments: uint64(r.Segments), CopiedBytes: uint64(r.CopiedBytes), FreedBytes: uint64(r.FreedBytes)}, nil
}

// Compact rewrites segments of which at least the share dead, 0 to 1, is dead.
func (c *VolumeClient) Compact(ctx context.Context, dead float64) (object.Compacted, error) {
	var r volumepb.CompactReply
	if _, err := c.peer.unary(c.ref.outgoing(ctx), methodCompact, &volumepb.CompactRequest{Dead: dead}, &r); err != nil {
		return object.Compacted{}, err
	}
	return object.Compacted{Segments: int64(r.Segments), CopiedBytes: int64(r.CopiedBytes), FreedBytes: int64(r.FreedBytes)}, nil
}
