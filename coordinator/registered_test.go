package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/coordinator/meta"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// TestRegistered: a row is written anew for what has changed, not for each byte by which a shared pool of disks moves.
func TestRegistered(t *testing.T) {
	node := &coordpb.JoinRequest{Node: "n", Zone: "z"}
	row := func(change func(*metapb.VolumeRow)) *metapb.VolumeRow {
		r := &metapb.VolumeRow{Node: "n", Zone: "z", Address: "a:1", Capacity: 64 << 30}
		change(r)
		return r
	}
	says := func(total uint64) *coordpb.NodeVolume { return &coordpb.NodeVolume{Address: "a:1", DiskTotal: total} }
	same := row(func(*metapb.VolumeRow) {})
	require.False(t, registered(nil, node, says(64<<30)))
	for total, want := range map[uint64]bool{64 << 30: true, 64<<30 - 12345: true, 65 << 30: true, 63 << 30: true, 67 << 30: false, 62 << 30: false, 0: false} {
		require.Equal(t, want, registered(same, node, says(total)), "%d", total)
	}
	for _, other := range []func(*metapb.VolumeRow){
		func(r *metapb.VolumeRow) { r.Node = "m" }, func(r *metapb.VolumeRow) { r.Zone = "" }, func(r *metapb.VolumeRow) { r.Address = "a:2" },
		func(r *metapb.VolumeRow) { r.Silent = true }, func(r *metapb.VolumeRow) { r.State = meta.VolumeRemoved },
	} {
		require.False(t, registered(row(other), node, says(64<<30)))
	}
}
