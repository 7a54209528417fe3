package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"minikv/e2e/harness"
	"minikv/internal/ops"
)

// Steps of scripts about full disks and moving shards.

const bigPrefix, bigSize = "zbig", 4 << 20

func (r *faultRun) newBig() (string, content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	return fmt.Sprintf("%s%06d", bigPrefix, r.seq), content{r.seq, bigSize}
}

func (r *faultRun) putBig() error {
	key, v := r.newBig()
	return r.store(r.t.Context(), key, v)
}

func (r *faultRun) dropBig() error {
	for _, key := range r.keys() {
		if p := r.possible(key); strings.HasPrefix(key, bigPrefix) && p[0] != (content{}) {
			return r.remove(r.t.Context(), key)
		}
	}
	return errors.New("no big object is left")
}

// fillMax bounds what is put until the disks must be full, fillUnanswered the puts of it that a busy machine does not answer in time.
const fillMax, fillUnanswered = 600, 10

func (r *faultRun) fill([]string) error {
	unanswered := 0
	for n := range fillMax {
		key, v := r.newBig()
		r.may(key, v)
		ctx, cancel := context.WithTimeout(r.t.Context(), faultAnswered)
		err := r.put(ctx, r.next(), key, v)
		cancel()
		if st, code := status(err); st == http.StatusInsufficientStorage {
			r.is(key, content{})
			r.t.Logf("    %d objects fit: %s", n, code)
			return nil
		}
		if st, _ := status(err); err != nil && (st == 0 || st >= 500) && unanswered < fillUnanswered {
			unanswered++
			r.t.Logf("    %v", err)
			continue
		}
		if err != nil {
			return err
		}
		r.is(key, v)
	}
	return fmt.Errorf("%d objects of %d bytes fit", fillMax, bigSize)
}

// full asks both ports.
func (r *faultRun) full([]string) error {
	g := r.f.Gateways()[0]
	key, v := r.newBig()
	harness.Eventually(r.t, faultAnswered, "full", func() error {
		st, code := status(r.put(r.t.Context(), r.clients[g], key, v))
		if st == http.StatusServiceUnavailable { // no one leads
			return errors.New(code)
		}
		if st != http.StatusInsufficientStorage || code != "InsufficientStorage" {
			r.t.Fatalf("S3 answers %d %s", st, code)
		}
		return nil
	})
	return r.fullREST(g, v)
}

func (r *faultRun) fullREST(g *harness.Node, v content) error {
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPut, g.REST+"/full", bytes.NewReader(v.bytes()))
	if err != nil {
		return err
	}
	req.SetBasicAuth(harness.RootUser, harness.RootPassword)
	var resp *http.Response
	harness.Eventually(r.t, faultAnswered, "full", func() error {
		if req.Body, err = req.GetBody(); err != nil {
			return err
		}
		if resp, err = g.HTTPClient().Do(req); err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable {
			return errors.New(resp.Status)
		}
		return nil
	})
	if resp.StatusCode != http.StatusInsufficientStorage {
		return fmt.Errorf("REST answers %d", resp.StatusCode)
	}
	return nil
}

func (r *faultRun) missing([]string) error {
	awaitStatus(r.t, r.f.Gateways()[0], "a replica is missing", func(st harness.ClusterStatus) bool { return st.UnderReplicated > 0 })
	return nil
}

func (r *faultRun) spread([]string) error {
	operate(r.t, r.f.Gateways()[0], "rebalance/start", ops.None{})
	return nil
}

func (r *faultRun) drain(args []string) error {
	return r.each(args, func(n *harness.Node) {
		harness.Eventually(r.t, faultAnswered, "drain", func() error {
			var a ops.NodeListAnswer
			return r.f.Gateways()[0].Operate("node/drain", ops.NodeRequest{Node: n.Name}, &a)
		})
	})
}

func (r *faultRun) moved([]string) error {
	g := r.f.Gateways()[0]
	began := time.Now()
	awaitVolumes(r.t, g, "the moves are done", func(all map[string]ops.NodeVolume) bool {
		for _, v := range all {
			if (v.State != "in" || v.Health != "up") && v.Shards > 0 {
				return false
			}
		}
		return operate(r.t, g, "rebalance/status", ops.None{}).State == "idle"
	})
	r.t.Logf("    after %v", time.Since(began).Round(time.Millisecond))
	return nil
}
