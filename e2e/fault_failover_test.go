package e2e

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

var failoverKills = flag.Int("failover.kills", 2, "how often the leader is killed")

// failoverMax is I13.
const failoverMax = 5 * time.Second

// TestFailover: after each loss of the leader a client that tries again is served within 5 s, and the distribution is told (I13).
func TestFailover(t *testing.T) {
	r := newFaultRun(t, harness.Plan{Coordinators: 3, Volumes: 3, Gateways: 2})
	for _, way := range []struct {
		name       string
		lose, back func(*harness.Node)
		times      int
	}{
		{"kill", (*harness.Node).Kill, (*harness.Node).Run, *failoverKills},
		{"freeze", (*harness.Node).Freeze, (*harness.Node).Thaw, *failoverKills / 2},
		{"isolate", func(n *harness.Node) { r.f.Isolate(n.Name) }, func(*harness.Node) { r.f.Net.Heal() }, *failoverKills / 2},
	} {
		var took []time.Duration
		for range way.times {
			took = append(took, r.failover(way.lose, way.back))
		}
		t.Logf("%s: %s", way.name, distribution(took))
		require.LessOrEqual(t, slices.Max(took), failoverMax, "%s: %v", way.name, took)
	}
	require.NoError(t, r.check(nil))
}

// failover tells how long no write was acknowledged and no read answered.
func (r *faultRun) failover(lose, back func(*harness.Node)) time.Duration {
	leader := r.f.Leader()
	key := r.newKey()
	require.NoError(r.t, r.store(r.t.Context(), key, content{1, 1000})) // it works, all know the leader
	began := time.Now()
	lose(leader)
	require.NoError(r.t, r.store(r.t.Context(), key, content{2, 1000}))
	require.NoError(r.t, r.read(r.t.Context(), nil, key))
	took := time.Since(began)
	back(leader)
	harness.Eventually(r.t, 30*time.Second, "it follows", func() error {
		st, err := r.f.Gateways()[0].Status()
		if err != nil {
			return err
		}
		if s := st.Coordinators[leader.Name].State; s != "Follower" && s != "Leader" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	return took
}

// distribution is least, median, 90 % and most of some times.
func distribution(all []time.Duration) string {
	slices.Sort(all)
	at := func(share float64) time.Duration {
		return all[int(share*float64(len(all)-1))].Round(time.Millisecond)
	}
	return fmt.Sprintf("%d times: min %v, median %v, 90 %% %v, max %v", len(all), at(0), at(0.5), at(0.9), at(1))
}
