package meta

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/proto/metapb"
)

// restoredAt is a cluster as it is restored from one and the same backup.
func restoredAt(t *testing.T, now time.Time) *harness {
	h := newHarness(t, 3)
	require.NoError(t, Rebase(h.db, make([]byte, idLen), now.Unix()/60))
	h.reopen()
	return h
}

// TestABackupIsRestoredAgain, after the cluster that was restored from it before has lived for a while. Volumes refuse what is prepared
// below the horizon of that one, so the second must begin above all its epochs.
func TestABackupIsRestoredAgain(t *testing.T) {
	now := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	first := restoredAt(t, now)
	const hours = 24 * 7
	for range hours {
		first.do(&metapb.Command{Op: &metapb.Command_TickEpoch{TickEpoch: &metapb.TickEpoch{From: first.m.cluster.Epoch, HorizonLag: 48}}})
	}
	second := restoredAt(t, now.Add(hours*time.Hour))
	require.Greater(t, second.m.cluster.Epoch, first.m.cluster.Epoch)
	for i, s := range second.m.shards[movePool] {
		require.Greater(t, s.epoch, first.m.shards[movePool][i].epoch)
	}
}

// TestRebaseWithoutAClock that is right: epochs rise all the same, and stay where an index has room for them.
func TestRebaseWithoutAClock(t *testing.T) {
	was := newHarness(t, 3)
	for _, now := range []time.Time{{}, time.Unix(0, 0), time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(292277026596, 1, 1, 0, 0, 0, 0, time.UTC)} {
		h := restoredAt(t, now)
		require.GreaterOrEqual(t, h.m.cluster.Epoch, was.m.cluster.Epoch+RebaseEpochs, "%s", now)
		require.Less(t, h.m.cluster.Epoch, uint64(1<<31), "%s", now)
		require.GreaterOrEqual(t, h.m.shards[movePool][0].epoch, was.m.shards[movePool][0].epoch+RebaseEpochs, "%s", now)
	}
}
