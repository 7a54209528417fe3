package config

import (
	"slices"
	"strings"
	"testing"
)

// member are the flags of a node that may be started.
func member(more ...string) []string {
	return append([]string{"--node", "n1", "--cluster", "n1=10.0.0.1:5001,n2=10.0.0.2:5001"}, more...)
}

// secrets come by the environment.
var secrets = []string{"MINIKV_CLUSTER_SECRET=0123456789abcdef", "MINIKV_ROOT_USER=rootkey", "MINIKV_ROOT_PASSWORD=root-secret-key-01"}

func TestANodeOfACluster(t *testing.T) {
	c, err := load(t, "", secrets, member())
	if err != nil {
		t.Fatal(err)
	}
	own, founds := c.Founding()
	if !c.Clustered() || !founds || own.Address != "10.0.0.1:5001" || !slices.Equal(c.Coordinators(), []string{"10.0.0.1:5001", "10.0.0.2:5001"}) {
		t.Fatalf("%+v", c)
	}
	for _, role := range []string{RoleGateway, RoleCoordinator, RoleVolume} {
		if !c.Has(role) {
			t.Errorf("no role %s", role)
		}
	}
	c, err = load(t, "", secrets, []string{"--node", "v1", "--join", "h1:5001,h2:5001", "--roles", "volume", "--rpc", "h3:5001"})
	if err != nil {
		t.Fatal(err)
	}
	if _, founds := c.Founding(); founds || c.Has(RoleGateway) || !c.Has(RoleVolume) || len(c.Coordinators()) != 2 {
		t.Fatalf("%+v", c)
	}
	if c, err = load(t, "", nil, nil); err != nil || c.Clustered() || !c.Has(RoleVolume) {
		t.Fatalf("a process alone: %v", err)
	}
}

// TestClusterRefusals name the setting and what is allowed.
func TestClusterRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"a cluster without a name":       {[]string{"--cluster", "n1=h:5001"}, "node: empty"},
		"no way to others":               {[]string{"--node", "n1"}, "cluster and join: both empty"},
		"two ways to others":             {member("--join", "h:5001"), "cluster and join: both are set"},
		"not listed":                     {member("--node", "n3"), "does not list node"},
		"listed without the role":        {member("--roles", "volume"), "no role coordinator"},
		"a peer without a name":          {member("--cluster", "10.0.0.1:5001"), "cluster"},
		"a peer without a port":          {member("--cluster", "n1=10.0.0.1"), "cluster"},
		"a peer twice":                   {member("--cluster", "n1=10.0.0.1:5001,n1=10.0.0.2:5001"), "cluster"},
		"an address twice":               {member("--cluster", "n1=10.0.0.1:5001,n2=10.0.0.1:5001"), "cluster"},
		"an address that nobody reaches": {member("--cluster", "n1=0.0.0.0:5001,n2=10.0.0.2:5001"), "cluster"},
		"a role that is none":            {member("--roles", "gateway,leader"), "roles"},
		"no role":                        {member("--roles", ""), "roles"},
		"too many replicas":              {member("--replication", "8"), "replication"},
		"a weight that is none":          {member("--volume-weight", "heavy"), "volume-weight"},
		"a weight below none":            {member("--volume-weight", "-1"), "volume-weight"},
	} {
		_, err := load(t, "", secrets, c.args)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %q", name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "0123456789abcdef") {
			t.Errorf("%s: the secret is told: %v", name, err)
		}
	}
}

// TestTheClusterSecret is needed, and long enough; what is wrong with it does not show it.
func TestTheClusterSecret(t *testing.T) {
	for _, environ := range [][]string{secrets[1:], append([]string{"MINIKV_CLUSTER_SECRET=tooshort"}, secrets[1:]...)} {
		_, err := load(t, "", environ, member())
		if err == nil || !strings.Contains(err.Error(), "cluster-secret") || strings.Contains(err.Error(), "tooshort") {
			t.Errorf("%v", err)
		}
	}
}

// TestTheWeight is unset, by capacity, unless it is a number; 0 is one.
func TestTheWeight(t *testing.T) {
	for text, want := range map[string]any{"auto": nil, "0": uint64(0), "7": uint64(7), "4TiB": uint64(4 << 40)} {
		c, err := load(t, "", secrets, member("--volume-weight", text))
		if err != nil {
			t.Fatal(err)
		}
		if w := c.VolumeWeight; (w == nil) != (want == nil) || w != nil && *w != want {
			t.Errorf("%s: %v, want %v", text, w, want)
		}
	}
}
