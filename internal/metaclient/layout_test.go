package metaclient

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"minikv/proto/metapb"
)

// laidOut gives layouts whose answers come when the test says so.
type laidOut struct {
	*fake
	cluster byte
	index   uint64
	hold    chan struct{} // nil: answers come at once
}

func (f *laidOut) Read(_ context.Context, _ *metapb.Query) (*metapb.Answer, error) {
	f.mu.Lock()
	hold := f.hold
	a := &metapb.Answer{Index: f.index, A: &metapb.Answer_Layout{Layout: &metapb.Layout{
		Cluster: &metapb.ClusterRow{Id: []byte{f.cluster}, LayoutIndex: f.index},
	}}}
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return a, nil
}

func (f *laidOut) is(cluster byte, index uint64, hold chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cluster, f.index, f.hold = cluster, index, hold
}

// TestTheNewestLayoutStays when an older answer comes after it: who has just heard that the layout is old would place by it again. A
// restored cluster's is taken whatever its index.
func TestTheNewestLayoutStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &laidOut{fake: newFake(), cluster: 1, index: 10}
		c, err := New(t.Context(), f, Config{})
		must(t, err)
		defer c.Close()
		late := make(chan struct{})
		f.is(1, 11, late)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.RefreshLayout(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		f.is(1, 12, nil)
		must(t, c.RefreshLayout(t.Context()))
		close(late)
		wg.Wait()
		if at := c.Layout().Cluster.LayoutIndex; at != 12 {
			t.Errorf("the layout of index %d took the place of that of 12", at)
		}
		f.is(2, 3, nil)
		must(t, c.RefreshLayout(t.Context()))
		if l := c.Layout(); l.Cluster.LayoutIndex != 3 {
			t.Errorf("another cluster's layout was not taken: %v", l)
		}
	})
}
