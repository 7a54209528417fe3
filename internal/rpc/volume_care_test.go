package rpc

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/coordpb"
	"minikv/proto/volumepb"
)

// Fetch copies what has a source, has what has none, and fails for what has two.
func (v *memVolume) Fetch(ctx context.Context, wants []object.Want, sources []VolumeAt) ([]object.Fetched, error) {
	if err := v.enter(ctx); err != nil {
		return nil, err
	}
	out := make([]object.Fetched, len(wants))
	for i, w := range wants {
		switch len(w.From) {
		case 0:
			out[i].Outcome = object.FetchHad
		case 1:
			out[i].Outcome = object.FetchCopied
			v.Prepare(ctx, w.ID, w.Epochs, [][]byte{sources[0].Incarnation[:], []byte(sources[0].Node + sources[0].Address)})
		default:
			out[i] = object.Fetched{Own: true, Err: errs.E("mem.Fetch", errs.StorageFull, "no room"), Lacking: w.From[:1], Away: w.From[1:]}
		}
	}
	return out, nil
}

// Check gives its verdicts by the lengths.
func (v *memVolume) Check(ctx context.Context, c object.Check) (object.Checked, error) {
	if err := v.enter(ctx); err != nil {
		return object.Checked{}, err
	}
	var out object.Checked
	for i := range c.IDs {
		out.Verdicts = append(out.Verdicts, object.Verdict(c.Lengths[i]))
		if c.Deep {
			out.Sums = append(out.Sums, []byte{c.Algorithm, c.IDs[i][0]})
		}
	}
	return out, nil
}

// Digests gives one blob in the last shard.
func (v *memVolume) Digests(ctx context.Context, shards uint32) ([]object.ShardDigest, error) {
	all := make([]object.ShardDigest, shards)
	for i := range all {
		all[i].Shard = uint32(i)
	}
	all[shards-1].Add(blobID(1), 5)
	return all, v.enter(ctx)
}

func (v *memVolume) Compact(ctx context.Context, dead float64) (object.Compacted, error) {
	return object.Compacted{Segments: 1, CopiedBytes: 2, FreedBytes: int64(100 * dead)}, v.enter(ctx)
}

func TestCareTravels(t *testing.T) {
	v := newMemVolume()
	local := v.local()
	addr := serve(t, ServerConfig{Security: node(t, nil, "n1", certs.AllRoles)}, func(s *Server) { RegisterVolumes(s, local) })
	c, err := NewVolumeClient(newPool(t, node(t, nil, "n2", certs.AllRoles)), addr, "n1", VolumeRef{Number: 1, Incarnation: "aa"})
	require.NoError(t, err)
	ctx := t.Context()
	wants := []object.Want{
		{ID: blobID(1), Length: 20, Epochs: object.Epochs{Cluster: 5, Shard: 6}, From: []uint32{7}},
		{ID: blobID(2), Length: 20},
		{ID: blobID(3), Length: 20, From: []uint32{7, 8}},
	}
	got, err := c.Fetch(ctx, wants, []VolumeAt{{Number: 7, Incarnation: [16]byte{9, 9}, Node: "n", Address: "a:1"}})
	require.NoError(t, err)
	require.Equal(t, object.Fetched{Outcome: object.FetchCopied}, got[0])
	require.Equal(t, object.Fetched{Outcome: object.FetchHad}, got[1])
	require.True(t, errs.Is(got[2].Err, errs.StorageFull) && got[2].Own)
	require.Equal(t, []uint32{7}, got[2].Lacking)
	require.Equal(t, []uint32{8}, got[2].Away)
	require.Equal(t, object.Epochs{Cluster: 5, Shard: 6}, v.infos[blobID(1)].Epochs)
	require.Equal(t, string([]byte{9, 9, 15: 0})+"na:1", string(v.blobs[blobID(1)]))

	checked, err := c.Check(ctx, object.Check{IDs: []object.BlobID{blobID(1), blobID(2)}, Lengths: []uint32{1, 3}, Deep: true, Algorithm: 3})
	require.NoError(t, err)
	require.Equal(t, []object.Verdict{object.Good, object.Damaged}, checked.Verdicts)
	require.Equal(t, [][]byte{{3, 0}, {3, 0}}, checked.Sums)
	_, err = c.Check(ctx, object.Check{IDs: []object.BlobID{blobID(1)}, Lengths: []uint32{9}})
	require.True(t, errs.Is(err, errs.Unsupported), "%v", err)

	digests, err := c.Digests(ctx, 3)
	require.NoError(t, err)
	require.Len(t, digests, 3)
	require.EqualValues(t, 5, digests[2].Bytes)
	compacted, err := c.Compact(ctx, 0.25)
	require.NoError(t, err)
	require.Equal(t, object.Compacted{Segments: 1, CopiedBytes: 2, FreedBytes: 25}, compacted)

	// What breaks a bound is refused before the volume sees it.
	before := v.calls.Load()
	_, err = c.Check(ctx, object.Check{IDs: []object.BlobID{blobID(1)}, Lengths: []uint32{object.CareBytesMax + 1}, Deep: true})
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	_, err = c.Fetch(ctx, make([]object.Want, object.FetchBlobsMax+1), nil)
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	_, err = c.Fetch(ctx, []object.Want{{Length: object.CareBytesMax + 1}}, nil)
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	_, err = c.peer.unary(ctx, methodCheck, &volumepb.CheckRequest{Packed: make([]byte, 16)}, &volumepb.CheckReply{})
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	_, err = c.Digests(ctx, object.ShardsMax+1)
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	_, err = c.Compact(ctx, 1.5)
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	require.Equal(t, before, v.calls.Load())
}

func TestReportsTravel(t *testing.T) {
	m := &memCoordinator{}
	addr := serve(t, ServerConfig{Security: node(t, nil, "n1", certs.AllRoles)}, func(s *Server) { RegisterCoordinator(s, m.local()) })
	c := NewCoordinatorClient(newPool(t, node(t, nil, "n2", certs.AllRoles)), CoordinatorConfig{AttemptMax: time.Minute}, addr)
	r, err := c.Report(t.Context(), &coordpb.ReportRequest{Suspects: make([]*coordpb.Suspect, 3)})
	require.NoError(t, err)
	require.EqualValues(t, 3, r.Taken)
	_, err = c.Report(t.Context(), &coordpb.ReportRequest{Suspects: make([]*coordpb.Suspect, suspectsMax+1)})
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
	require.NotEqual(t, codes.OK, status.Code(err))
}
