package meta

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// TestNoRunIsPublishedTwice (M3), wherever its block is known from: in the same entry, later, in more blocks than are kept, and
// by a machine that was restarted in between.
func TestNoRunIsPublishedTwice(t *testing.T) {
	h := newHarness(t, 3)
	b := h.bucket("photos")
	put := func(w *metapb.Written) *metapb.Command {
		h.seed++
		return h.stamped(putCommand(b, fmt.Sprintf("k%d", h.seed), newObject("x", 100), w, nil))
	}
	twice := func(w *metapb.Written, when string) {
		t.Helper()
		r := h.apply(put(w))[0]
		require.Equal(t, errs.Conflict, errs.Kind(r.Kind), when)
	}
	var all []*metapb.Written
	for block := range uint64(blocksCachedMax + 6) {
		for run := range uint64(3) {
			h.random = block<<16 | run<<7
			w := h.written(100)
			all = append(all, w)
			rs := h.apply(put(w), put(w))
			require.False(t, rs[0].Failed, "%v", rs[0])
			require.Equal(t, errs.Conflict, errs.Kind(rs[1].Kind), "in the same entry")
			twice(w, "at once")
		}
	}
	require.LessOrEqual(t, len(h.m.published.blocks), blocksCachedMax)
	for _, w := range all {
		twice(w, "later")
	}
	m, err := New(h.db)
	require.NoError(t, err)
	h.m = m
	for _, w := range all {
		twice(w, "after a restart")
	}
	h.random = 5 // of a block that the new machine met with rows in it
	require.False(t, h.apply(put(h.written(100)))[0].Failed)
}

// TestARunThatIsNotPublishedIsNotAskedFor: the point of it all.
func TestARunThatIsNotPublishedIsNotAskedFor(t *testing.T) {
	h := newHarness(t, 3)
	b := h.bucket("photos")
	w := h.written(100)
	require.False(t, h.apply(h.stamped(putCommand(b, "k", newObject("x", 100), w, nil)))[0].Failed)
	next := h.written(100)
	h.m.txn.begin(h.db.NewBatch(), h.index, 0, &metapb.Command{})
	not, err := h.m.published.surelyNot(&h.m.txn, next.Run.Base)
	require.NoError(t, err)
	require.True(t, not)
	not, err = h.m.published.surelyNot(&h.m.txn, w.Run.Base)
	require.NoError(t, err)
	require.False(t, not)
	require.NoError(t, h.m.txn.b.Close())
}
