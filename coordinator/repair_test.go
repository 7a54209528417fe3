package coordinator_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/coordinator/repair"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// noCare fails a test that copies.
type noCare struct {
	repair.Volumes // nothing else is called
	t              *testing.T
}

func (c noCare) Fetch(context.Context, *metapb.VolumeRow, []object.Want, []*metapb.VolumeRow) ([]object.Fetched, error) {
	c.t.Error("something was copied")
	return nil, errs.E("test", errs.Unavailable, "no")
}

// TestTheDyingIsNotMissing: what was overwritten or deleted needs no further replica, and is no longer counted as lacking one.
func TestTheDyingIsNotMissing(t *testing.T) {
	cfg := testConfig(t, vfs.NewMem(), "/c")
	cfg.Pool.Replication = 3
	cfg.Volumes = []*metapb.VolumeRow{{Number: 1, Id: []byte("volume-1")}, {Number: 2, Id: []byte("volume-2")}, {Number: 3, Id: []byte("volume-3")}}
	cfg.Clock, cfg.Care = &clock{}, noCare{t: t}
	c := open(t, cfg)
	m := connect(t, c)
	b := createBucket(t, m, "bucket")
	w, _ := writeRun(t, m, 3)
	for _, s := range w.Shards {
		s.Confirmations[0].Volumes = s.Confirmations[0].Volumes[:2]
	}
	_, err := m.Do(t.Context(), &metapb.Command{Op: &metapb.Command_PutObject{PutObject: &metapb.PutObject{
		Bucket: b, Key: "key", Written: w, Object: &metapb.NewObject{Etag: make([]byte, 16), Owner: "o", Size: w.Run.Length},
	}}})
	must(t, err)
	missing := func() uint64 {
		a, err := c.Read(t.Context(), &metapb.Query{Q: &metapb.Query_Stats{Stats: &metapb.StatsQuery{}}})
		must(t, err)
		return a.GetStats().GetMissing()
	}
	if n := missing(); n != 3 {
		t.Fatalf("%d are missing", n)
	}
	deleteKey(t, m, b, "key")
	c.RepairNow()
	// It is counted once it was answered.
	require.Eventually(t, func() bool { return missing() == 0 && c.RepairStats().Cleared > 0 }, time.Minute, 10*time.Millisecond)
	if did := c.RepairStats(); did.Copied != 0 || did.Cleared != 3 {
		t.Fatalf("%+v", did)
	}
}

// TestNodesWithTheOnlyCopyAreNotRemovedUnnoticed: the refusal counts and names the blobs, and force says what it lost.
func TestNodesWithTheOnlyCopyAreNotRemovedUnnoticed(t *testing.T) {
	cfg := testConfig(t, vfs.NewMem(), "/c")
	cfg.Pool.Replication = 3
	cfg.Volumes = []*metapb.VolumeRow{{Number: 1, Id: []byte("volume-1")}, {Number: 2, Id: []byte("volume-2")}, {Number: 3, Id: []byte("volume-3")}}
	cfg.Clock = &clock{}
	c := open(t, cfg)
	m := connect(t, c)
	b := createBucket(t, m, "bucket")
	w, base := writeRun(t, m, 2)
	for _, s := range w.Shards {
		s.Confirmations[0].Volumes = []uint32{1, 2} // 3 lacks both
	}
	_, err := m.Do(t.Context(), &metapb.Command{Op: &metapb.Command_PutObject{PutObject: &metapb.PutObject{
		Bucket: b, Key: "key", Written: w, Object: &metapb.NewObject{Etag: make([]byte, 16), Owner: "o", Size: w.Run.Length},
	}}})
	must(t, err)
	must(t, c.WatchOnce(t.Context()))
	last := base.Blob(w.Run.Ranges[0].First)
	r, err := c.Report(t.Context(), &coordpb.ReportRequest{Suspects: []*coordpb.Suspect{{Blob: last[:], Volume: 2, Damaged: true}}})
	must(t, err)
	require.EqualValues(t, 1, r.Taken)

	_, err = c.RemoveNode(t.Context(), "1", false)
	require.Equal(t, errs.Conflict, errs.KindOf(err))
	require.ErrorContains(t, err, "1 blobs")
	require.ErrorContains(t, err, last.String())
	_, err = c.RemoveNode(t.Context(), "3", false)
	require.ErrorContains(t, err, "drain it first", "it has nothing that others have not")
	lost, err := c.RemoveNode(t.Context(), "1", true)
	must(t, err)
	require.EqualValues(t, 1, lost.Count)
	require.Equal(t, []object.BlobID{last}, lost.Some)
}
