package rpc

import "testing"

// TestVolumeIsMeant: a volume answers to its number and its incarnation, and before it knows its number to its incarnation alone.
func TestVolumeIsMeant(t *testing.T) {
	for _, x := range []struct {
		number uint32
		ref    VolumeRef
		want   bool
	}{
		{3, VolumeRef{}, true},
		{3, VolumeRef{Number: 3}, true},
		{3, VolumeRef{Number: 4}, false},
		{3, VolumeRef{Number: 3, Incarnation: "a"}, true},
		{3, VolumeRef{Incarnation: "a"}, true},
		{3, VolumeRef{Number: 3, Incarnation: "b"}, false},
		{3, VolumeRef{Number: 4, Incarnation: "a"}, false},
		{0, VolumeRef{Number: 3, Incarnation: "a"}, true},
		{0, VolumeRef{Number: 3, Incarnation: "b"}, false},
		{0, VolumeRef{Number: 3}, false},
	} {
		v := LocalVolume{Incarnation: "a", Number: func() uint32 { return x.number }}
		if got := v.is(x.ref); got != x.want {
			t.Errorf("volume %d a, asked for %+v: %v", x.number, x.ref, got)
		}
	}
}
