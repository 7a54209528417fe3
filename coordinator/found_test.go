package coordinator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
	"minikv/proto/coordpb"
)

// Volumes that hold blobs are of an earlier cluster, whose metadata is elsewhere or lost: a new one would have them collected as nobody's.
func TestNoClusterIsFoundedOverBlobs(t *testing.T) {
	c := &Coordinator{cfg: Config{FoundWith: 2, Pool: Pool{Shards: 4, Replication: 2}}}
	join := func(node string, blobs uint64) {
		id := make([]byte, 16)
		copy(id, node)
		c.health.heard(&coordpb.JoinRequest{Node: node, Volumes: []*coordpb.NodeVolume{{Incarnation: id, DiskTotal: 1 << 30, Blobs: blobs}}}, time.Now())
	}
	join("v1", 0)
	join("v2", 7)
	_, _, err := c.foundingVolumes()
	require.True(t, errs.Is(err, errs.Unavailable), "%v", err)
	require.ErrorContains(t, err, "7 blobs of a cluster whose metadata is not here are on volumes of v2:")
	require.ErrorContains(t, err, "minikv restore")
	join("v2", 0)
	rows, shards, err := c.foundingVolumes()
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Len(t, shards, 4)
}
