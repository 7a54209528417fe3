package placement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// topology has nodes in zones with disks each, numbered from 1.
func topology(zones, nodes, disks int) (out []Volume) {
	for z := range zones {
		for n := range nodes {
			for range disks {
				out = append(out, Volume{Number: uint32(len(out) + 1), Weight: 1, Node: fmt.Sprintf("z%dn%d", z, n), Zone: fmt.Sprintf("z%d", z)})
			}
		}
	}
	return out
}

func domains(vs []Volume, numbers []uint32, of func(Volume) string) int {
	seen := make(map[string]bool)
	for _, n := range numbers {
		seen[of(vs[slices.IndexFunc(vs, func(v Volume) bool { return v.Number == n })])] = true
	}
	return len(seen)
}

func TestFailureDomains(t *testing.T) { // P4
	for _, c := range []struct{ zones, nodes, disks, wantZones, wantNodes, wantDisks int }{
		{3, 1, 1, 3, 3, 3}, {5, 2, 2, 3, 3, 3}, {2, 2, 2, 2, 3, 3}, {1, 5, 1, 1, 3, 3}, {1, 2, 4, 1, 2, 3}, {1, 1, 4, 1, 1, 3}, {1, 1, 2, 1, 1, 2},
	} {
		vs := topology(c.zones, c.nodes, c.disks)
		for s, row := range Table(64, 3, vs) {
			got := []int{domains(vs, row, func(v Volume) string { return v.Zone }), domains(vs, row, func(v Volume) string { return v.Node }), domains(vs, row, func(v Volume) string { return fmt.Sprint(v.Number) })}
			if want := []int{c.wantZones, c.wantNodes, c.wantDisks}; !reflect.DeepEqual(got, want) || len(row) != c.wantDisks {
				t.Fatalf("%+v shard %d: %v has %v zones, nodes, disks; want %v", c, s, row, got, want)
			}
		}
	}
}

func TestUnnamedDomainsAreTheirOwn(t *testing.T) {
	for _, row := range Table(64, 3, []Volume{{Number: 1, Weight: 1}, {Number: 2, Weight: 1}, {Number: 3, Weight: 1}}) {
		if slices.Sort(row); !slices.Equal(row, []uint32{1, 2, 3}) {
			t.Fatal(row)
		}
	}
}

func TestBalanceFollowsWeight(t *testing.T) { // P3
	vs := topology(1, 12, 1)
	for i := range vs {
		vs[i].Zone = vs[i].Node
		if i%3 == 0 {
			vs[i].Weight = 2
		}
	}
	const shards = 40000
	count := make(map[uint32]float64)
	for _, row := range Table(shards, 1, vs) {
		count[row[0]]++
	}
	for _, v := range vs {
		want := shards * v.Weight / 16
		if math.Abs(count[v.Number]-want)/want > 0.07 {
			t.Errorf("volume %d of weight %v has %v shards, want about %.0f", v.Number, v.Weight, count[v.Number], want)
		}
	}
}

func TestDefaultTableIsBalanced(t *testing.T) {
	count := make(map[uint32]int)
	for _, row := range Table(256, 3, topology(6, 1, 1)) {
		for _, v := range row {
			count[v]++
		}
	}
	for v, n := range count {
		if n < 100 || n > 156 { // 128 on average
			t.Errorf("volume %d has %d of 768 replicas", v, n)
		}
	}
}

func TestMovementIsMinimal(t *testing.T) { // P2
	vs := topology(8, 1, 1)
	before := Table(1024, 3, vs)
	grown := append(slices.Clone(vs), Volume{Number: 99, Weight: 1, Node: "new", Zone: "new"})
	moved := 0
	for s, row := range Table(1024, 3, grown) {
		for _, v := range row {
			if !slices.Contains(before[s], v) {
				moved++
				if v != 99 {
					t.Fatalf("shard %d moved to volume %d, which is not new", s, v)
				}
			}
		}
	}
	if want := 1024 * 3 / 9; moved < want*8/10 || moved > want*12/10 {
		t.Errorf("%d replicas moved, want about %d", moved, want)
	}
	for s, row := range Table(1024, 3, vs[1:]) {
		for _, v := range before[s] {
			if v != vs[0].Number && !slices.Contains(row, v) {
				t.Fatalf("shard %d left volume %d, which is still there", s, v)
			}
		}
	}
}

func TestTableIsAFunction(t *testing.T) { // P1
	rapid.Check(t, func(t *rapid.T) {
		vs := topology(rapid.IntRange(1, 4).Draw(t, "zones"), rapid.IntRange(1, 3).Draw(t, "nodes"), rapid.IntRange(1, 3).Draw(t, "disks"))
		for i := range vs {
			vs[i].Weight = rapid.Float64Range(0, 10).Draw(t, "weight")
		}
		rf := rapid.Uint32Range(1, 5).Draw(t, "rf")
		want := Table(16, rf, vs)
		r := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed")))
		r.Shuffle(len(vs), func(i, j int) { vs[i], vs[j] = vs[j], vs[i] })
		if !reflect.DeepEqual(want, Table(16, rf, vs)) {
			t.Fatal("the order of volumes matters")
		}
		for s, row := range want {
			if !slices.Equal(row, Shard(uint32(s), rf, vs)) {
				t.Fatal("Shard and Table differ")
			}
			for i, v := range row {
				if slices.Contains(row[i+1:], v) {
					t.Fatalf("volume %d twice in %v", v, row)
				}
			}
		}
	})
}

// TestVolumesOfNoWeight get nothing, and count for failure domains where they are kept.
func TestVolumesOfNoWeight(t *testing.T) {
	vs := []Volume{{Number: 1, Weight: 0, Zone: "a"}, {Number: 2, Weight: 1, Zone: "a"}, {Number: 3, Weight: 1, Zone: "b"}, {Number: 4, Weight: 1, Zone: "a"}}
	for s := range uint32(64) {
		if row := Shard(s, 3, vs); slices.Contains(row, 1) || len(row) != 3 {
			t.Fatalf("shard %d: %v", s, row)
		}
		if row := Fill(s, 2, vs, []uint32{1}); !slices.Equal(row, []uint32{1, 3}) {
			t.Fatalf("shard %d: %v shares a zone with what is kept", s, row)
		}
	}
	if row := Shard(1, 4, vs); len(row) != 3 {
		t.Fatalf("%v", row)
	}
}
