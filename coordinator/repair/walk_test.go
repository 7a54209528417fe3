package repair

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/object"
)

// walk walks the cluster and gives its findings.
func (c *cluster) walk(t *testing.T, s Scope, rate int64) (map[replica]object.Verdict, Walked) {
	t.Helper()
	found := map[replica]object.Verdict{}
	w := &Walker{Metadata: c, Volumes: c, Clock: realClock{}, Rate: rate}
	pages := 0
	did, err := w.Walk(t.Context(), s, func(bad []Finding) error {
		for _, f := range bad {
			found[replica{f.Blob, f.Volume}] = f.Verdict
		}
		return nil
	}, func(Walked) error { pages++; return nil })
	must(t, err)
	require.Greater(t, pages, 1)
	return found, did
}

// TestWalk finds what lacks, and deep what is damaged, nothing else; a volume that is away leaves its replicas unchecked.
func TestWalk(t *testing.T) {
	c := newCluster(4, 3)
	blobs := 0
	for n := range 20 {
		c.put(n, uint64(n%4)*testBlob+5)
		blobs += n%4 + 1
	}
	found, did := c.walk(t, Scope{}, 0)
	require.Empty(t, found)
	require.Equal(t, Walked{Runs: 20, Blobs: int64(blobs), Replicas: int64(3 * blobs)}, did)

	lost, rotten, gone := c.put(30, 9).Blob(2), c.put(31, 9).Blob(2), c.put(32, 9).Blob(2)
	c.lose(lost, c.members(lost)[1], object.Missing, false)
	c.lose(rotten, c.members(rotten)[2], object.Damaged, false)
	for _, v := range c.members(gone) {
		c.lose(gone, v, object.Missing, false)
	}
	dead := c.put(33, 9)
	delete(c.runs, dead)
	want := map[replica]object.Verdict{{lost, c.members(lost)[1]}: object.Missing}
	for _, v := range c.members(gone) {
		want[replica{gone, v}] = object.Missing
	}
	found, did = c.walk(t, Scope{}, 0)
	require.Equal(t, want, found)
	require.EqualValues(t, 1, did.Lost)
	require.EqualValues(t, 4, did.Bad)
	want[replica{rotten, c.members(rotten)[2]}] = object.Damaged
	found, did = c.walk(t, Scope{Deep: true}, 0)
	require.Equal(t, want, found)
	require.Greater(t, did.Bytes, int64(3*20))

	only := c.members(lost)[1]
	found, _ = c.walk(t, Scope{Volume: only, Deep: true}, 0)
	for r := range found {
		require.Equal(t, only, r.volume)
	}
	c.down[only] = true
	found, did = c.walk(t, Scope{}, 0)
	require.NotContains(t, found, replica{lost, only})
	require.Positive(t, did.Unchecked)
}

// TestWalkLeavesOutWhatChanged: what was deleted, or moved elsewhere, between the page and the answer is no finding.
func TestWalkLeavesOutWhatChanged(t *testing.T) {
	c := newCluster(4, 3)
	for n := range 6 {
		c.put(n, 9)
	}
	gone, moved := c.put(7, 9), c.put(8, 9).Blob(2)
	c.lose(gone.Blob(2), c.members(gone.Blob(2))[0], object.Missing, false)
	from := c.members(moved)[0]
	c.lose(moved, from, object.Missing, false)
	suspects := []Finding{{gone.Blob(2), c.members(gone.Blob(2))[0], object.Missing}, {moved, from, object.Missing}}
	bad, err := confirm(t.Context(), c, suspects)
	must(t, err)
	require.Len(t, bad, 2)
	delete(c.runs, gone)
	c.layout.Shards[moved.Shard(testShards)].Members[0] = 99
	bad, err = confirm(t.Context(), c, []Finding{{gone.Blob(2), 1, object.Missing}, {moved, from, object.Missing}})
	must(t, err)
	require.Empty(t, bad)
}

// TestWalkEnds with its context, with its listener, and at its rate.
func TestWalkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3)
		for n := range 12 {
			c.put(n, testBlob)
		}
		began := time.Now()
		_, did := c.walk(t, Scope{Deep: true}, 12*testBlob)
		require.EqualValues(t, 36*testBlob, did.Bytes)
		require.InDelta(t, 3, time.Since(began).Seconds(), 1)
		gone := errors.New("gone")
		w := &Walker{Metadata: c, Volumes: c, Clock: realClock{}}
		_, err := w.Walk(t.Context(), Scope{}, func([]Finding) error { return nil }, func(Walked) error { return gone })
		require.ErrorIs(t, err, gone)
	})
}

// TestAVerificationThatIsEndedReportsNothingMore: what it found last is not proposed behind the back of who ended it.
func TestAVerificationThatIsEndedReportsNothingMore(t *testing.T) {
	c := newCluster(4, 3)
	id := c.put(1, 9).Blob(2)
	c.lose(id, c.members(id)[0], object.Missing, false)
	ctx, cancel := context.WithCancel(t.Context())
	v := &Verifier{Metadata: c, Volumes: c, Clock: realClock{}}
	did, err := v.Verify(ctx, VerifyOptions{Repair: true}, func(Problem) error { cancel(); return nil }, func(Verified) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, did.Reported)
	require.Empty(t, c.missing)
}
