package node

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"minikv/gateway/iam"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/rpc/secure"
	"minikv/proto/coordpb"
)

// TestWhatIsLacking names each coordinator that is not as it should be, with the cause, and what the leader waits for.
func TestWhatIsLacking(t *testing.T) {
	p := func(name string) config.Peer { return config.Peer{Name: name, Address: name + ":5001"} }
	empty, formed := &coordpb.StatusReply{}, &coordpb.StatusReply{Formed: true}
	for name, c := range map[string]struct {
		all  []asked
		want []string
	}{
		"all empty": {[]asked{{p("a"), empty, nil}, {p("b"), empty, nil}}, nil},
		"nobody there": {[]asked{{p("a"), empty, nil}, {p("b"), nil, errs.WrapKind("x", errs.Unavailable, syscall.ECONNREFUSED)}},
			[]string{"b at b:5001 does not answer as it should: connection refused, nobody listens there"}},
		"silence": {[]asked{{config.Peer{Address: "h:1"}, nil, errs.E("x", errs.Timeout, "deadline")}},
			[]string{"h:1 does not answer as it should: no answer in time"}},
		"another secret": {[]asked{{p("a"), nil, errs.E("x", errs.AccessDenied, "the server has another cluster secret")}},
			[]string{"a at a:5001 does not answer as it should: the server has another cluster secret"}},
		"of another cluster": {[]asked{{p("a"), empty, nil}, {p("b"), &coordpb.StatusReply{Formed: true, Cluster: "c0"}, nil}},
			[]string{"b at b:5001 is not empty: it belongs to the cluster c0, of which no coordinator leads"}},
		"of another group": {[]asked{{p("a"), empty, nil}, {p("b"), formed, nil}},
			[]string{"b at b:5001 is not empty: it belongs to a group of coordinators of which none leads"}},
		"an election": {[]asked{{p("a"), formed, nil}, {p("b"), formed, nil}}, []string{"no coordinator leads yet"}},
		"volumes": {[]asked{{p("a"), &coordpb.StatusReply{Node: "a", Formed: true, State: "Leader", Waiting: "1 of 3"}, nil}, {p("b"), formed, nil}},
			[]string{"the leader a: 1 of 3"}},
	} {
		if got := lacksOf(c.all); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestTheSharedSettings stand for their values, under the cluster's secret only.
func TestTheSharedSettings(t *testing.T) {
	user := func(key, secret string) iam.User {
		return iam.User{Account: iam.Account{AccessKey: key}, SecretKey: secret}
	}
	root, a, b := user("root", "p"), user("a", "s"), user("b", "s")
	gateway := &config.Config{Roles: []string{config.RoleGateway}, Region: "r", RESTBucket: "b"}
	of := func(cfg *config.Config, secret string, founded bool, users ...iam.User) map[string]string {
		s, err := secure.NewSecret([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, f := range newAbout(nil, "", "", users).shared(cfg, s, founded) {
			if len(f.Mac) != secure.FingerprintLen {
				t.Errorf("%s has %d bytes", f.Setting, len(f.Mac))
			}
			out[f.Setting] = string(f.Mac)
		}
		return out
	}
	differ := func(x, y map[string]string) (names string) {
		var all []string
		for name := range x {
			if x[name] != y[name] {
				all = append(all, name)
			}
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	const secret = "cluster-secret-0123456789"
	base := of(gateway, secret, true, root, a, b)
	for name, c := range map[string]struct {
		other map[string]string
		want  string
	}{
		"the order of users":  {of(gateway, secret, true, root, b, a), ""},
		"a user's secret":     {of(gateway, secret, true, root, a, user("b", "t")), "users"},
		"one user less":       {of(gateway, secret, true, root, a), "users"},
		"moved bytes":         {of(gateway, secret, true, root, user("as", ""), b), "users"},
		"root's password":     {of(gateway, secret, true, user("root", "q"), a, b), "root-password"},
		"another cluster":     {of(gateway, "cluster-secret-9876543210", true, root, a, b), "region rest-bucket root-password root-user users"},
		"the region":          {of(&config.Config{Roles: gateway.Roles, Region: "x", RESTBucket: "b"}, secret, true, root, a, b), "region"},
		"a value as username": {of(gateway, secret, true, user("p", "root"), a, b), "root-password root-user"},
	} {
		if got := differ(base, c.other); got != c.want {
			t.Errorf("%s: %q differ, want %q", name, got, c.want)
		}
	}
	coordinator := &config.Config{Node: "c1", Roles: []string{config.RoleCoordinator}, Cluster: []config.Peer{{Name: "c1", Address: "h:1"}}}
	if got := of(coordinator, secret, false); got["replication"] == "" || got["down-after"] == "" || got["root-user"] != "" {
		t.Errorf("before the founding: %v", got)
	}
	if got := of(coordinator, secret, true); got["replication"] != "" {
		t.Error("what counts at the founding only is told after it")
	}
}

// TestTheNameIsAnothers: a node that was never accepted gives up when it is refused again and again, and one that was goes on.
func TestTheNameIsAnothers(t *testing.T) {
	now := time.Unix(1000, 0)
	taken := &coordpb.JoinReply{Taken: "another node named n1 is alive"}
	m := newMembership()
	m.heard(taken, now, zap.NewNop())
	m.heard(taken, now.Add(nameRefused-1), zap.NewNop())
	if len(m.refused) != 0 || m.isAccepted() {
		t.Fatal("it gave up too early")
	}
	m.heard(taken, now.Add(nameRefused), zap.NewNop())
	m.heard(taken, now.Add(nameRefused), zap.NewNop())
	if err := <-m.refused; !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "--node") {
		t.Fatal(err)
	}
	m = newMembership()
	m.heard(&coordpb.JoinReply{}, now, zap.NewNop())
	m.heard(taken, now, zap.NewNop())
	m.heard(taken, now.Add(time.Hour), zap.NewNop())
	if len(m.refused) != 0 || !m.isAccepted() {
		t.Fatal("a member ends itself")
	}
}

// TestTroublesAreTold when they begin, change or last, and when they are over.
func TestTroublesAreTold(t *testing.T) {
	var all troubles
	var told []string
	now := time.Unix(1000, 0)
	see := func(text string) {
		all.see("x", text, now, func(s string) { told = append(told, s) }, func() { told = append(told, "over") })
	}
	see("")
	see("a")
	see("a")
	see("b")
	now = now.Add(toldRepeat)
	see("b")
	see("")
	see("")
	if want := []string{"a", "b", "b", "over"}; !slices.Equal(told, want) {
		t.Errorf("%q, want %q", told, want)
	}
}
