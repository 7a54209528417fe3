package rpc

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/proto/metapb"
)

// patient is a client that waits for one coordinator longer than the tests last.
func (c *trio) patient(t *testing.T, addrs ...string) *CoordinatorClient {
	client := NewCoordinatorClient(newPool(t, node(t, nil, "g1", gateway)), CoordinatorConfig{AttemptMax: time.Minute}, addrs...)
	client.find.times.max, client.find.times.late = time.Minute, time.Minute // whoever lives answers, on a busy machine too
	client.find.hint("", addrs[0])
	return client
}

// TestAReplacedLeaderIsNotWaitedFor: it takes connections and never answers, while another one leads.
func TestAReplacedLeaderIsNotWaitedFor(t *testing.T) {
	c := newTrio(t)
	c.leads.Store(1)
	frozen := listen(t)
	defer frozen.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, ask := range []func(*CoordinatorClient) error{
		func(client *CoordinatorClient) error { _, err := client.Read(ctx, &metapb.Query{}); return err },
		func(client *CoordinatorClient) error { _, err := client.Propose(ctx, &metapb.Command{}); return err },
	} {
		client := c.patient(t, frozen.Addr().String(), c.addrs[1], c.addrs[2])
		require.NoError(t, ask(client))
		addr, err := client.find.leader(ctx)
		require.NoError(t, err)
		require.Equal(t, c.addrs[1], addr)
	}
}

// TestASlowLeaderIsWaitedFor: it says that it leads, also when it is known by two addresses.
func TestASlowLeaderIsWaitedFor(t *testing.T) {
	c := newTrio(t)
	c.leads.Store(1)
	m := c.nodes[1]
	m.read = func(ctx context.Context, _ *metapb.Query) (*metapb.Answer, error) {
		select {
		case <-time.After(findUsually.aside + 3*findUsually.again):
			return &metapb.Answer{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	alias := serve(t, ServerConfig{Security: node(t, nil, "c", coordinator)}, func(s *Server) { RegisterCoordinator(s, m.local()) })
	client := c.patient(t, c.addrs[1], alias, c.addrs[2])
	client.find.times.grace = time.Minute
	_, err := client.Read(t.Context(), &metapb.Query{})
	require.NoError(t, err)
	addr, err := client.find.leader(t.Context())
	require.NoError(t, err)
	require.Equal(t, c.addrs[1], addr)
}

// TestWhoIsDeposed is who may be left for another one.
func TestWhoIsDeposed(t *testing.T) {
	for _, x := range []struct {
		what   string
		leader string
		ready  map[string]uint64
		want   bool
	}{
		{"another one leads", "b", map[string]uint64{"b": 2}, true},
		{"another one of a later term", "b", map[string]uint64{"a": 1, "b": 2}, true},
		{"both are one", "b", map[string]uint64{"a": 2, "b": 2}, false},
		{"nobody else", "a", map[string]uint64{"a": 2}, false},
		{"nobody", "", map[string]uint64{}, false},
		{"somebody says so of another one", "b", map[string]uint64{}, false},
	} {
		r := &findRound{leader: x.leader, ready: x.ready}
		require.Equal(t, x.want, r.deposed("a"), x.what)
	}
}
