package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/gateway/objects"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// simReborn is deleted and made again all the time.
const simReborn = object.Bucket("reborn")

// rebirths is what one keeper knows of a bucket that it alone deletes and makes.
type rebirths struct {
	mu     sync.Mutex
	steps  int             // begun and ended: odd while one is on its way
	id     string          // after the last step; empty: there is none
	buried map[string]bool // ids whose deletion was acknowledged
}

func (r *rebirths) begin() {
	r.mu.Lock()
	r.steps++
	r.mu.Unlock()
}

func (r *rebirths) end(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps++
	if id == "" {
		r.buried[r.id] = true
	}
	r.id = id
}

// seen says what a read that ends now, and began with the given state, may not have seen.
func (r *rebirths) seen(steps int, buried map[string]bool, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case buried[id]:
		return fmt.Errorf("bucket %x was seen after its deletion was acknowledged", id)
	case steps%2 == 0 && steps == r.steps && id != r.id:
		return fmt.Errorf("bucket %x was seen; all the time there was %x", id, r.id)
	}
	return nil
}

func (r *rebirths) now() (steps int, buried map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	buried = map[string]bool{}
	for id := range r.buried {
		buried[id] = true
	}
	return r.steps, buried
}

// TestSimulatedBucketsThatAreMadeAnew: a gateway deletes a bucket and makes it again while others read, list and write. Whoever reads
// after that was acknowledged sees it (I2), and who writes by a row of a moment ago never writes into a later bucket of the name.
func TestSimulatedBucketsThatAreMadeAnew(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		s := openSim(t, seed)
		defer s.close()
		var gates []*simGate
		for i := range simNodes {
			g, err := openGate(s, simName("g", i))
			require.NoError(t, err)
			defer g.close()
			gates = append(gates, g)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r := &rebirths{buried: map[string]bool{}}
		var wg sync.WaitGroup
		var stale, written, reads int
		var mu sync.Mutex // guards these
		count := func(n *int) { mu.Lock(); *n++; mu.Unlock() }
		for i, g := range gates[1:] {
			wg.Go(func() {
				for ctx.Err() == nil {
					if err := r.read(ctx, g); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
					count(&reads)
				}
			})
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					waitFor(ctx, time.Duration(s.random(int(50*time.Millisecond))))
					switch err := writeByRow(ctx, g, fmt.Sprint(i, "-", n)); {
					case err == nil:
						count(&written)
					case errs.Is(err, errs.StaleBucket):
						count(&stale)
					}
				}
			})
		}
		r.keep(ctx, t, gates[0])
		cancel()
		wg.Wait()
		t.Logf("%d rebirths, %d reads, %d writes, %d refused as stale", len(r.buried), reads, written, stale)
		require.Greater(t, len(r.buried), 20)
		require.Greater(t, written, 20)
		require.Positive(t, stale)
	})
}

// keep deletes and makes the bucket until ctx ends. Before each deletion it looks who has written into it.
func (r *rebirths) keep(ctx context.Context, t *testing.T, g *simGate) {
	for ctx.Err() == nil {
		r.begin()
		row, err := g.objs.CreateBucket(ctx, &metapb.CreateBucket{Name: string(simReborn), Owner: "o"})
		if err != nil {
			return
		}
		r.end(string(row.Id))
		sc := objects.Scope{Bucket: objects.RefOf(row)}
		for gone := false; !gone; {
			waitFor(ctx, 100*time.Millisecond)
			page, err := g.objs.List(ctx, &metapb.ListObjectsQuery{Bucket: string(simReborn), Limit: 1000})
			if err != nil {
				return
			}
			var keys []*metapb.DeleteKey
			for _, e := range page.Entries {
				if want := fmt.Sprintf("%x/", row.Id); len(e.Key) < len(want) || e.Key[:len(want)] != want {
					t.Errorf("%s was written into bucket %x", e.Key, row.Id)
				}
				keys = append(keys, &metapb.DeleteKey{Key: e.Key})
			}
			if len(keys) > 0 {
				if _, err := g.objs.Delete(ctx, sc, keys); err != nil {
					return
				}
			}
			r.begin()
			err = g.objs.DeleteBucket(ctx, sc)
			if gone = err == nil; gone {
				r.end("")
			} else if errs.Is(err, errs.BucketNotEmpty) {
				r.end(string(row.Id)) // someone wrote into it meanwhile
			} else {
				return
			}
		}
	}
}

// read looks at the bucket in one of three ways, and whether that can be.
func (r *rebirths) read(ctx context.Context, g *simGate) error {
	steps, buried := r.now()
	var row *metapb.BucketRow
	var err error
	switch steps / 2 % 3 {
	case 0:
		row, err = g.objs.Bucket(ctx, simReborn)
	case 1:
		var page *objects.ListPage
		if page, err = g.objs.List(ctx, &metapb.ListObjectsQuery{Bucket: string(simReborn), Limit: 10}); err == nil {
			row = page.Bucket
		}
	default:
		var obj *objects.Object
		if obj, err = g.objs.Stat(ctx, objects.GetRequest{Bucket: simReborn, Key: "k"}); err == nil {
			row = obj.Bucket
		}
	}
	if err != nil && !errs.Is(err, errs.NoSuchBucket) {
		return err
	}
	return r.seen(steps, buried, string(row.GetId()))
}

// writeByRow writes a key that names the bucket which the gateway remembers, and does not authorize it again.
func writeByRow(ctx context.Context, g *simGate, key string) error {
	row := g.objs.RecentBucket(simReborn)
	if row == nil {
		var err error
		if row, err = g.objs.Bucket(ctx, simReborn); err != nil {
			return err
		}
	}
	body := []byte("x")
	_, err := g.objs.Put(ctx, objects.PutRequest{
		Scope: objects.Scope{Bucket: objects.RefOf(row)}, Key: object.Key(fmt.Sprintf("%x/%s", row.Id, key)), Owner: "o",
		Body: objects.Body{Reader: bytes.NewReader(body), Size: int64(len(body))},
	})
	return err
}
