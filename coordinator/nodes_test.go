package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"minikv/internal/errs"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// joinOf is what a node tells of itself; id names its data directory.
func joinOf(name, id string, settings ...string) *coordpb.JoinRequest {
	r := &coordpb.JoinRequest{Node: name, Address: id + ":5001", Info: &coordpb.NodeInfo{Id: []byte(id)}}
	for i := 0; i+1 < len(settings); i += 2 {
		r.Info.Settings = append(r.Info.Settings, &coordpb.Fingerprint{Setting: settings[i], Mac: []byte(settings[i+1])})
	}
	return r
}

// TestOneNodeOfEachName: another data directory is refused while the first one lives, and replaces it when it is silent.
func TestOneNodeOfEachName(t *testing.T) {
	n, now := nodes{}, time.Unix(1000, 0)
	join := func(id string, established bool) (string, bool) {
		taken, _, before := n.heard(joinOf("n1", id), established, now)
		return taken, before != nil
	}
	if taken, replaced := join("a", false); taken != "" || replaced {
		t.Fatal("the first was refused")
	}
	now = now.Add(nodeSilent - 1)
	if taken, _ := join("b", false); !strings.Contains(taken, "at a:5001") {
		t.Fatalf("a second one was not refused with where the first is: %q", taken)
	}
	if _, again, _ := n.heard(joinOf("n1", "b"), false, now); !again {
		t.Fatal("the same refusal is told again")
	}
	if k := n.all(now)[0]; string(k.Info.Id) != "a" || k.Rival != "b:5001" {
		t.Fatalf("%v", k)
	}
	if taken, _ := join("a", false); taken != "" {
		t.Fatal("the first was refused after the second had come")
	}
	now = now.Add(nodeSilent)
	if taken, replaced := join("b", false); taken != "" || !replaced {
		t.Fatal("a silent one was not replaced")
	}
	if k := n.all(now)[0]; string(k.Info.Id) != "b" || string(k.Replaced) != "a" {
		t.Fatalf("%v", k)
	}
	// One that others call, at the same address, is there instead of the other.
	n.byName["n1"].address = "c:5001"
	if taken, _ := join("c", false); taken == "" {
		t.Fatal("a gateway of the same address was taken for the successor")
	}
	r := joinOf("n1", "c")
	r.Volumes = []*coordpb.NodeVolume{{Incarnation: []byte("v")}}
	if taken, _, before := n.heard(r, false, now); taken != "" || before == nil {
		t.Fatal("a node in the place of the other was refused")
	}
	n.byName["n1"] = &heardNode{info: joinOf("n1", "b").Info, address: "b:5001", at: now, replaced: []byte("a")}
	// What the metadata knows is never refused, whoever came first.
	if taken, _ := join("a", true); taken != "" {
		t.Fatal("an established node was refused")
	}
	if k := n.all(now)[0]; k.Rival != "b:5001" {
		t.Fatalf("two of a name are not told: %v", k)
	}
	// One that ends in good order leaves its name, and only its own.
	leave := joinOf("n1", "b")
	leave.Info.Leaving = true
	n.heard(leave, false, now)
	if len(n.all(now)) != 1 {
		t.Fatal("another one's end took the name")
	}
	leave.Info.Id = []byte("a")
	n.heard(leave, false, now)
	if taken, replaced := join("b", false); taken != "" || replaced {
		t.Fatal("the name was not free")
	}
	// Programs of before tell no id.
	if taken, replaced := join("", false); taken != "" || replaced {
		t.Fatal("a node without an id was refused")
	}
}

// TestNodesAreForgotten after a while, and are bounded.
func TestNodesAreForgotten(t *testing.T) {
	n, now := nodes{}, time.Unix(1000, 0)
	for i := range nodesMax + 5 {
		n.heard(joinOf(fmt.Sprint("g", i), "x"), false, now)
	}
	if len(n.all(now)) != nodesMax {
		t.Fatalf("%d are remembered", len(n.byName))
	}
	if len(n.all(now.Add(nodeForget+1))) != 0 {
		t.Fatal("they are not forgotten")
	}
}

// TestSettingsThatDiffer are told in groups, of living nodes that have the setting, and logged when they change.
func TestSettingsThatDiffer(t *testing.T) {
	n, now := nodes{}, time.Unix(1000, 0)
	text := func(all []*coordpb.Difference) (s string) {
		for _, d := range all {
			s += d.Setting + "=" + strings.Join(groupTexts(d), "|") + " "
		}
		return s
	}
	n.heard(joinOf("g3", "3", "root-password", "other", "region", "r"), false, now)
	n.heard(joinOf("g1", "1", "root-password", "p", "region", "r"), false, now)
	n.heard(joinOf("g2", "2", "root-password", "p", "region", "r"), false, now)
	n.heard(joinOf("v1", "4"), false, now)
	all := n.differences(now)
	if got := text(all); got != "root-password=g1,g2|g3 " {
		t.Fatal(got)
	}
	if len(differencesOf(all, "g1")) != 1 || len(differencesOf(all, "v1")) != 0 {
		t.Error("told to the wrong ones")
	}
	if begun, over := n.changes(all); text(begun) != text(all) || over != nil {
		t.Error("not logged")
	}
	if begun, over := n.changes(n.differences(now)); begun != nil || over != nil {
		t.Error("logged again")
	}
	n.heard(joinOf("g2", "2", "root-password", "other", "region", "r"), false, now)
	if begun, _ := n.changes(n.differences(now)); text(begun) != "root-password=g2,g3|g1 " {
		t.Error(text(begun))
	}
	now = now.Add(nodeSilent)
	n.heard(joinOf("g2", "2", "root-password", "other", "region", "r"), false, now)
	if begun, over := n.changes(n.differences(now)); begun != nil || !slices.Equal(over, []string{"root-password"}) {
		t.Error("the silent still count")
	}
}

// TestWhatANodeTellsIsBounded.
func TestWhatANodeTellsIsBounded(t *testing.T) {
	long := strings.Repeat("x", infoTextMax+1)
	for name, r := range map[string]*coordpb.JoinRequest{
		"name": joinOf(long, "1"), "zone": {Zone: long}, "id": joinOf("n", "01234567890123456"), "setting": joinOf("n", "1", long, "m"),
		"mac": joinOf("n", "1", "s", long), "roles": {Info: &coordpb.NodeInfo{Roles: make([]string, infoRolesMax+1)}},
		"version": {Info: &coordpb.NodeInfo{Version: long}},
	} {
		if err := checkInfo(r); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkInfo(joinOf("n", "1", "s", "m")); err != nil {
		t.Error(err)
	}
}

// TestPredecessors are the volumes of the name that the node does not have.
func TestPredecessors(t *testing.T) {
	l := &metapb.Layout{Volumes: []*metapb.VolumeRow{
		{Number: 1, Id: []byte("a"), Node: "n1"}, {Number: 2, Id: []byte("b"), Node: "n2"}, {Number: 3, Id: []byte("c"), Node: "n1"},
	}}
	r := joinOf("n1", "x")
	if got := predecessors(l, r); got != nil {
		t.Fatal(got)
	}
	r.Volumes = []*coordpb.NodeVolume{{Incarnation: []byte("c")}}
	if got := predecessors(l, r); !slices.Equal(got, []uint32{1}) {
		t.Fatal(got)
	}
}
