package meta

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// gateway numbers its commands as a real one does.
type gateway struct {
	h        *harness
	id       []byte
	sequence uint64
	lowest   uint64
	keys     uint64 // of benchmarks; 0: a new one each time
}

func (h *harness) gateway(name byte) *gateway {
	h.t.Helper()
	g := &gateway{h: h, id: append(make([]byte, idLen-1), name), lowest: 1}
	h.do(&metapb.Command{Op: &metapb.Command_OpenSession{OpenSession: &metapb.OpenSession{Id: g.id}}})
	return g
}

func (g *gateway) next(c *metapb.Command) *metapb.Command {
	g.sequence++
	c.Session, c.Sequence, c.LowestOutstanding = g.id, g.sequence, g.lowest
	return c
}

func kindOf(r *metapb.Result) errs.Kind { return errs.Kind(r.Kind) }

func tick(from uint64) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_TickEpoch{TickEpoch: &metapb.TickEpoch{From: from, HorizonLag: 2}}}
}

func TestRetryGetsTheFirstAnswer(t *testing.T) { // M2
	h := newHarness(t, 1)
	b := h.bucket("photos")
	g := h.gateway(1)
	c := g.next(putCommand(b, "k", newObject("x", 5), h.written(5), &metapb.Conditions{IfNoneMatchAny: true}))
	first := h.do(c)
	h.remove(b, "k")
	for _, reopen := range []bool{false, true} {
		if reopen {
			h.reopen()
		}
		equal(t, first, h.try(c))
		require.Nil(t, h.get(b, "k"), "the retry took effect")
	}

	refused := g.next(putCommand(b, "gone", newObject("x", 5), h.written(5), &metapb.Conditions{IfMatchAny: true}))
	r := h.try(refused)
	require.Equal(t, errs.NoSuchKey, kindOf(r))
	h.put(b, "gone", 1)
	equal(t, r, h.try(refused)) // a refusal is an answer too
}

func TestForgottenSequencesAreRefused(t *testing.T) {
	h := newHarness(t, 1)
	g := h.gateway(1)
	one := g.next(createBucket("one", "alice"))
	h.do(one)
	g.lowest = 2
	h.do(g.next(createBucket("two", "alice")))
	require.Equal(t, 1, h.rows(tableResults))
	require.Equal(t, errs.UnknownSession, kindOf(h.try(one)))
	h.reopen()
	require.Equal(t, errs.UnknownSession, kindOf(h.try(one)))
	require.Equal(t, uint64(2), h.stats().Buckets)
}

func TestOutOfOrderSequences(t *testing.T) {
	h := newHarness(t, 1)
	g := h.gateway(1)
	one, two := g.next(createBucket("one", "alice")), g.next(createBucket("two", "alice"))
	second := h.do(two)
	h.do(one)
	equal(t, second, h.try(two))
	require.Equal(t, uint64(2), h.stats().Buckets)
}

func TestOutstandingIsBounded(t *testing.T) {
	h := newHarness(t, 1)
	g := h.gateway(1)
	g.sequence = OutstandingMax
	require.Equal(t, errs.UnknownSession, kindOf(h.try(g.next(createBucket("one", "alice")))))
	g.sequence = OutstandingMax - 1
	h.do(g.next(createBucket("one", "alice")))
}

func TestUnknownSessionIsRefused(t *testing.T) {
	h := newHarness(t, 1)
	c := createBucket("one", "alice")
	c.Session, c.Sequence = make([]byte, idLen), 1
	require.Equal(t, errs.UnknownSession, kindOf(h.try(c)))
	c.Session = []byte("short")
	require.Equal(t, errs.UnknownSession, kindOf(h.try(c)))
	require.Zero(t, h.stats().Buckets)
}

func TestQuietSessionsEnd(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		h := newHarness(t, 1)
		quiet, renewed, busy := h.gateway(1), h.gateway(2), h.gateway(3)
		h.do(quiet.next(createBucket("one", "alice")))
		renew := renewed.next(&metapb.Command{Op: &metapb.Command_RenewSession{RenewSession: &metapb.RenewSession{}}})
		for e := h.epoch; e < h.epoch+3; e++ {
			h.do(tick(e))
			require.Equal(t, e+1, h.do(renew).GetCluster().Epoch)
			h.try(busy.next(createBucket("one", "alice")))
			if reopen {
				h.reopen()
			}
		}
		require.Equal(t, uint64(2), h.stats().Sessions)
		require.Equal(t, 2, h.rows(tableSessions))
		require.Equal(t, errs.UnknownSession, kindOf(h.try(quiet.next(createBucket("two", "alice")))))
		h.do(renewed.next(createBucket("two", "alice")))
		require.Equal(t, 4, h.rows(tableResults), "results of an ended session stay")
	}
}

func TestOpenSessionTwiceIsOnce(t *testing.T) {
	h := newHarness(t, 1)
	h.gateway(1)
	h.gateway(1)
	require.Equal(t, uint64(1), h.stats().Sessions)
	h.refused(errs.Invalid, &metapb.Command{Op: &metapb.Command_OpenSession{OpenSession: &metapb.OpenSession{Id: []byte("x")}}})
}

func TestEpochAndHorizon(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	old := h.written(5)
	h.do(tick(1))
	before := h.hash()
	h.do(tick(1)) // a late duplicate
	require.Equal(t, before, h.hash())
	h.do(tick(2))
	c := h.do(tick(3)).GetCluster()
	require.Equal(t, []uint64{4, 2, h.index}, []uint64{c.Epoch, c.Horizon, c.HorizonIndex})
	h.refused(errs.StaleEpoch, putCommand(b, "k", newObject("x", 5), old, nil))
	h.epoch = 2
	h.put(b, "k", 5)
	a := h.read(&metapb.Query{Q: &metapb.Query_RunStates{RunStates: &metapb.RunStatesQuery{}}}).GetRunStates()
	require.Equal(t, []uint64{2, c.HorizonIndex}, []uint64{a.Horizon, a.HorizonIndex})
}

func TestCreateClusterOnce(t *testing.T) {
	h := emptyHarness(t)
	h.refused(errs.Unavailable, createBucket("one", "alice"))
	op := testCluster(3)
	create := &metapb.Command{Op: &metapb.Command_CreateCluster{CreateCluster: op}}
	h.do(create)
	before := h.hash()
	h.do(create)
	require.Equal(t, before, h.hash())
	other := testCluster(3)
	other.Id[0] = 1
	h.refused(errs.Conflict, &metapb.Command{Op: &metapb.Command_CreateCluster{CreateCluster: other}})
	l := h.read(&metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}}).GetLayout()
	require.Len(t, l.Shards, 4)
	require.Len(t, l.Volumes, 3)
	require.Len(t, l.Pools, 1)
	require.Equal(t, uint64(1), l.Cluster.Epoch)
}

func TestStaleIAM(t *testing.T) {
	h := newHarness(t, 1)
	g := h.gateway(1)
	c := g.next(createBucket("one", "alice"))
	c.IamRevision = 7
	require.Equal(t, errs.StaleIAM, kindOf(h.try(c)))
}
