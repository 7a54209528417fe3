package repair

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"minikv/coordinator/meta"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// start runs a queue over the cluster in a bubble; stop waits for it.
func (c *cluster) start(t *testing.T, rate int64) (q *Queue, stop func()) {
	q = NewQueue(Config{Metadata: c, Volumes: c, Clock: realClock{}, Log: zap.NewNop(), Rate: rate})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); q.Run(ctx) }()
	return q, func() { cancel(); <-done }
}

func (c *cluster) rows() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.missing)
}

// TestQueueRepairs what lacks or is damaged, from any replica that has it, and clears rows that mean nothing (R1, R2).
func TestQueueRepairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(4, 3)
		base := c.put(1, 5*testBlob+7)
		var lost []replica
		for i := range uint32(6) {
			id := base.Blob(2 + i)
			v := c.members(id)
			c.lose(id, v[i%3], object.Missing, true)
			c.lose(id, v[(i+1)%3], object.Damaged, i%2 == 0) // with others it is found on the way
			lost = append(lost, replica{id, v[i%3]})
		}
		dead := c.put(2, 9)
		c.lose(dead.Blob(2), c.members(dead.Blob(2))[0], object.Missing, true)
		delete(c.runs, dead)
		dying := c.put(3, 9)
		c.lose(dying.Blob(2), c.members(dying.Blob(2))[0], object.Missing, true)
		delete(c.runs, dying)
		c.dying[dying] = true
		c.lose(base.Blob(1), 1, object.Missing, true) // no blob of the run
		stranger := base.Blob(2)
		for v := uint32(1); v <= 4; v++ {
			if m := c.members(stranger); v != m[0] && v != m[1] && v != m[2] {
				c.lose(stranger, v, object.Missing, true) // no replica of the shard
			}
		}
		good := c.put(4, 9)
		c.lose(good.Blob(2), c.members(good.Blob(2))[0], object.Good, true) // it came late
		q, stop := c.start(t, 0)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Zero(t, c.rows())
		for _, r := range lost {
			require.Equal(t, object.Good, c.held[r])
		}
		s := q.Stats()
		require.GreaterOrEqual(t, s.Copied, int64(9))
		require.GreaterOrEqual(t, s.CopiedBytes, int64(7*testBlob))
		require.GreaterOrEqual(t, s.Had, int64(1))
		require.LessOrEqual(t, s.Had, int64(1+3), "of a blob with two rows, the second may find done what the first found on the way")
		require.EqualValues(t, 4, s.Cleared)
		require.Zero(t, s.Lost)
		require.Zero(t, s.OldestMs)
	})
}

// TestQueueWaitsForVolumes: one that is away is asked ever more rarely and keeps no other waiting; when it is back it gets its own.
func TestQueueWaitsForVolumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(4, 3)
		began := time.Now()
		for n := range 300 {
			id := c.put(n, 9).Blob(2)
			c.lose(id, c.members(id)[n%3], object.Missing, true)
		}
		c.down[1] = true
		q, stop := c.start(t, 0)
		defer stop()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for r := range c.missing {
			require.EqualValues(t, 1, r.volume, "only the volume that is down waits")
		}
		require.NotZero(t, c.rows())
		require.Equal(t, 1, q.Stats().Away)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		asked := 0
		for _, f := range c.fetches {
			if f.to == 1 {
				asked++
			}
		}
		require.InDelta(t, 5*60/backoffMax.Seconds(), asked, 10)
		require.Equal(t, began.UnixMilli(), q.Stats().OldestMs)
		require.Equal(t, map[uint32]uint64{1: uint64(c.rows())}, q.Stats().Missing)
		c.mu.Lock()
		delete(c.down, 1)
		c.mu.Unlock()
		time.Sleep(backoffMax + lookEvery)
		synctest.Wait()
		require.Zero(t, c.rows())
		require.Zero(t, q.Stats().Away)
	})
}

// TestQueueWithoutSources: what nobody has stays a row and is told; when it turns up it is copied. A blob that its volume refuses, or a
// volume that is full, keeps nothing else waiting.
func TestQueueWithoutSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3)
		gone := c.put(1, 9).Blob(2)
		for v := uint32(1); v <= 3; v++ {
			c.lose(gone, v, object.Missing, true)
		}
		refused := c.put(2, 9).Blob(2)
		c.lose(refused, 1, object.Missing, true)
		c.refuses[refused] = true
		c.full[2] = true
		for n := range 50 {
			id := c.put(3+n, 9).Blob(2)
			c.lose(id, uint32(1+n%3), object.Missing, true)
		}
		q, stop := c.start(t, 0)
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		for r := range c.missing {
			require.True(t, r.blob == gone || r.blob == refused || r.volume == 2, "%v", r)
		}
		require.GreaterOrEqual(t, q.Stats().Lost, 3)
		c.mu.Lock()
		c.held[replica{gone, 3}] = object.Good
		c.full[2], c.refuses[refused] = false, false
		c.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Zero(t, c.rows())
		require.Zero(t, q.Stats().Lost)
	})
}

// TestQueueOfWaitingRows: more rows of one volume than are read for it at once, all of which wait, do not have the queue look again and again
// (time would stand still here).
func TestQueueOfWaitingRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(1, 1)
		for n := range targetRows + 50 {
			c.lose(c.put(1+n, 9).Blob(2), 1, object.Missing, true)
		}
		q, stop := c.start(t, 0)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.GreaterOrEqual(t, q.Stats().Lost, targetRows)
	})
}

// TestQueueAsksStrangers: what no replica has is looked for on all other volumes, some at a time: one may have it of an earlier move.
func TestQueueAsksStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(5+2*strangersMax, 2)
		id := c.put(1, 9).Blob(2)
		m := c.members(id)
		for _, v := range m {
			c.lose(id, v, object.Missing, true)
		}
		last := uint32(len(c.layout.Volumes))
		for slices.Contains(m, last) {
			last--
		}
		c.held[replica{id, last}] = object.Good
		removed := m[0]%last + 1
		for slices.Contains(m, removed) || removed == last {
			removed = removed%last + 1
		}
		c.layout.Volumes[removed-1].State = meta.VolumeRemoved
		q, stop := c.start(t, 0)
		defer stop()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, q.Stats().Lost, "replicas are asked first")
		time.Sleep(10 * stuckWait)
		synctest.Wait()
		require.Zero(t, c.rows())
		require.Zero(t, q.Stats().Lost)
		require.NotContains(t, c.asked, removed)
	})
}

// TestQueueIsBounded in rows, parallel calls and bytes per second (R5).
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(20, 3)
		c.slow = 100 * time.Millisecond
		const n = 5000
		for i := range n {
			id := c.put(i, 1<<10).Blob(2)
			c.lose(id, c.members(id)[i%3], object.Missing, true)
		}
		began := time.Now()
		const rate = 256 << 10
		q, stop := c.start(t, rate)
		defer stop()
		for c.rows() > 0 && time.Since(began) < time.Hour {
			time.Sleep(100 * time.Millisecond)
		}
		took := time.Since(began)
		require.Greater(t, took, (n<<10)/rate*time.Second*9/10)
		require.Less(t, took, (n<<10)/rate*time.Second*13/10)
		require.LessOrEqual(t, c.most, parallelMax)
		require.Greater(t, c.most, 1)
		for _, f := range c.fetches {
			require.LessOrEqual(t, f.blobs, batchBlobs)
		}
		require.EqualValues(t, n, q.Stats().Copied)
	})
}

// TestQueueNamesFewSources: however many volumes may have what one lacks, a call names at most object.FetchSourcesMax of them.
func TestQueueNamesFewSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const leaving = 60
		c := newCluster(2+testShards*leaving, 2)
		for s, row := range c.layout.Shards {
			row.Members = []uint32{1, 2}
			for i := range leaving {
				row.Leaving = append(row.Leaving, uint32(3+s*leaving+i))
			}
		}
		for n := range 200 {
			c.lose(c.put(1+n, 9).Blob(2), 1, object.Missing, true)
		}
		_, stop := c.start(t, 0)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Zero(t, c.rows())
	})
}

// TestAnotherLeaderGoesOn: what one queue began another ends (R4).
func TestAnotherLeaderGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 3)
		for i := range 500 {
			id := c.put(i, testBlob).Blob(2)
			c.lose(id, c.members(id)[i%3], object.Missing, true)
		}
		_, stop := c.start(t, 50*testBlob)
		time.Sleep(3 * time.Second)
		stop()
		left := c.rows()
		require.Greater(t, left, 100)
		require.Less(t, left, 500)
		q, stop := c.start(t, 0)
		defer stop()
		time.Sleep(3 * time.Second)
		require.Zero(t, c.rows())
		require.EqualValues(t, left, q.Stats().Copied+q.Stats().Had)
	})
}

// TestReport: what is not alive is left out without an entry.
func TestReport(t *testing.T) {
	c := newCluster(3, 3)
	id := c.put(1, 9).Blob(2)
	dead := c.put(2, 9).Blob(2)
	delete(c.runs, dead.Run())
	row := func(id object.BlobID, v uint32) *metapb.MissingRow { return &metapb.MissingRow{Blob: id[:], Volume: v} }
	n, err := Report(t.Context(), c, []*metapb.MissingRow{row(dead, 1)})
	must(t, err)
	require.Zero(t, n)
	require.Zero(t, c.index)
	n, err = Report(t.Context(), c, []*metapb.MissingRow{row(dead, 1), row(id, 2)})
	must(t, err)
	require.Equal(t, 1, n)
	_, err = Report(t.Context(), c, []*metapb.MissingRow{{Blob: []byte{1}}})
	require.Error(t, err)
}
