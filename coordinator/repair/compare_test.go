package repair

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"minikv/internal/object"
)

func (c *cluster) comparer() *Comparer {
	return &Comparer{Metadata: c, Volumes: c, Clock: realClock{}, Log: zap.NewNop(), Every: time.Hour}
}

// TestRounds: equal replicas are left alone after their digests; a blob that one lacks becomes a missing row, by lists or, when many shards
// differ, by metadata; strays and the dead become none.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(4, 3)
		for n := range 100 {
			c.put(n, 9)
		}
		x := c.comparer()
		must(t, x.Round(t.Context()))
		require.Equal(t, CompareStats{Rounds: 1}, x.Stats())
		require.Equal(t, 4, c.digests, "once each")

		lost := c.put(200, 9).Blob(2)
		c.lose(lost, c.members(lost)[1], object.Missing, false)
		stray := c.put(201, 9).Blob(2)
		delete(c.runs, stray.Run())
		c.lose(stray, c.members(stray)[0], object.Missing, false)
		must(t, x.Round(t.Context()))
		require.Equal(t, []replica{{lost, c.members(lost)[1]}}, c.known())
		require.EqualValues(t, 1, x.Stats().Found)
		must(t, x.Round(t.Context()))
		require.EqualValues(t, 1, x.Stats().Found, "it is known")

		// A member that is away is not compared, and nothing is held against it.
		c.down[1] = true
		must(t, x.Round(t.Context()))
		require.Len(t, c.known(), 1)
	})
}

func (c *cluster) known() (all []replica) {
	for r := range c.missing {
		all = append(all, r)
	}
	return all
}

// TestRoundsWhenManyDiffer walk metadata instead of comparing lists.
func TestRoundsWhenManyDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3)
		want := map[replica]bool{}
		for n := range 60 {
			id := c.put(n, 9).Blob(2)
			if n%2 == 0 {
				c.lose(id, uint32(1+n%3), object.Missing, false)
				want[replica{id, uint32(1 + n%3)}] = true
			}
		}
		x := c.comparer()
		must(t, x.Round(t.Context()))
		require.Greater(t, x.Stats().Differ, int64(testShards/2))
		require.Len(t, c.known(), len(want))
		for _, r := range c.known() {
			require.True(t, want[r])
		}
	})
}

// TestLongLists are merged over many pages.
func TestLongLists(t *testing.T) {
	c := newCluster(2, 2)
	for n := range 3 * listPage * testShards / 2 {
		c.put(n, 9)
	}
	var lost []replica
	for n := range 20 {
		id := c.put(1_000_000+n, 9).Blob(2)
		r := replica{id, uint32(1 + n%2)}
		c.lose(id, r.volume, object.Missing, false)
		lost = append(lost, r)
	}
	x := c.comparer()
	top, err := readTopology(t.Context(), c)
	must(t, err)
	for s := range uint32(testShards) {
		must(t, x.lists(t.Context(), top, s))
	}
	require.ElementsMatch(t, lost, c.known())
}

// TestStartedVolumesAreComparedFirst, as soon as they answer, once for each start.
func TestStartedVolumesAreComparedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3)
		for n := range 30 {
			id := c.put(n, 9).Blob(2)
			if n%5 == 0 {
				c.lose(id, 2, object.Missing, false)
			}
		}
		x := c.comparer()
		repairs := 0
		x.Found = func() { repairs++ }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); x.Run(ctx) }()
		defer func() { cancel(); <-done }()
		x.Booted(1, []byte("old"), time.Hour) // has run for long: the leader is new
		c.down[2] = true
		x.Booted(2, []byte("a"), time.Second)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Empty(t, c.known())
		require.Zero(t, x.Stats().Started)
		c.mu.Lock()
		delete(c.down, 2)
		c.mu.Unlock()
		time.Sleep(retryStarted)
		synctest.Wait()
		require.Len(t, c.known(), 6)
		require.Positive(t, repairs)
		x.Booted(2, []byte("a"), time.Minute)
		x.Booted(1, []byte("new"), time.Hour)
		time.Sleep(time.Second)
		synctest.Wait()
		require.EqualValues(t, 2, x.Stats().Started, "volume 2, and volume 1 that started anew")
		time.Sleep(time.Hour)
		synctest.Wait()
		require.EqualValues(t, 1, x.Stats().Rounds)
	})
}

// TestAStartedVolumeThatIsGone is asked now and then, and no metadata is walked for it; when it is back the walk goes on where it ended.
func TestAStartedVolumeThatIsGone(t *testing.T) {
	c := newCluster(3, 3)
	for n := range 300 {
		c.put(n, 9)
	}
	x := c.comparer()
	x.Clock = noClock{}
	c.down[2] = true
	x.Booted(2, []byte("a"), time.Second)
	for range 10 {
		require.Error(t, x.compareStarted(t.Context()))
	}
	require.LessOrEqual(t, c.listed, 10, "a page each time")
	c.listed, c.failCheck = 0, 50
	delete(c.down, 2)
	require.Error(t, x.compareStarted(t.Context()))
	must(t, x.compareStarted(t.Context()))
	require.Equal(t, 101+1, c.listed, "of 100 pages and an empty one, one twice")
	require.EqualValues(t, 1, x.Stats().Started)
}

// TestAVolumeThatStartsWhileItIsCompared is compared again: what it lost by the second start, pages that were read before do not tell.
func TestAVolumeThatStartsWhileItIsCompared(t *testing.T) {
	c := newCluster(3, 3)
	first := c.put(0, 9)
	for n := range 30 {
		if base := c.put(1+n, 9); bytes.Compare(base[:], first[:]) < 0 {
			first = base
		}
	}
	x := c.comparer()
	x.Clock = noClock{}
	x.Booted(2, []byte("a"), time.Second)
	pages := 0
	c.paged = func() {
		if pages++; pages == 5 {
			delete(c.held, replica{first.Blob(2), 2})
			x.Booted(2, []byte("b"), time.Second)
		}
	}
	must(t, x.compareStarted(t.Context()))
	require.Empty(t, c.known())
	require.True(t, x.waiting())
	must(t, x.compareStarted(t.Context()))
	require.Equal(t, []replica{{first.Blob(2), 2}}, c.known())
	require.False(t, x.waiting())
}

// TestUndecidedBlobsAreNoDifference: whatever failed writes have left on some replicas, a round is over with digests and prepared blobs, and
// each replica that was lost is found in it, however many shards either is in.
func TestUndecidedBlobsAreNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(rapid.IntRange(3, 5).Draw(t, "volumes"), 3)
		c.hinted = map[object.BlobID]bool{}
		for n := range rapid.IntRange(0, 60).Draw(t, "alive") {
			id := c.put(n, 9).Blob(2)
			c.hinted[id] = rapid.IntRange(0, 3).Draw(t, "hinted") > 0
		}
		for n := range rapid.IntRange(0, 60).Draw(t, "undecided") {
			base := c.put(1000+n, 9)
			delete(c.runs, base)
			c.dying[base] = n%7 == 0
			for _, v := range c.members(base.Blob(2)) {
				if rapid.Bool().Draw(t, "not here") {
					c.lose(base.Blob(2), v, object.Missing, false)
				}
			}
		}
		x := c.comparer()
		x.Clock = noClock{}
		if err := x.Round(context.Background()); err != nil {
			t.Fatal(err)
		}
		if c.listed > 0 || x.Stats().Differ > 0 || len(c.missing) > 0 {
			t.Fatalf("%d lists, %+v, %d rows", c.listed, x.Stats(), len(c.missing))
		}
		lost := map[replica]bool{}
		for base := range c.runs {
			id := base.Blob(2)
			if rapid.IntRange(0, 9).Draw(t, "lost") == 0 {
				r := replica{id, rapid.SampledFrom(c.members(id)).Draw(t, "on")}
				c.lose(id, r.volume, object.Missing, false)
				lost[r] = true
			}
		}
		if err := x.Round(context.Background()); err != nil {
			t.Fatal(err)
		}
		for r := range lost {
			if c.missing[r] == nil {
				t.Fatalf("the loss of %s on volume %d was not found", r.blob, r.volume)
			}
		}
		if len(c.missing) != len(lost) {
			t.Fatalf("%d rows for %d losses", len(c.missing), len(lost))
		}
	})
}

// noClock does not wait.
type noClock struct{}

func (noClock) Now() time.Time { return time.Now() }
func (noClock) After(time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- time.Now()
	return c
}
