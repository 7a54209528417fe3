package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"minikv/e2e/harness"
)

const codeSkewed = "RequestTimeTooSkewed"

func (r *faultRun) setClock(args []string) error {
	if len(args) != 2 {
		return errors.New("clock NODE OFFSET")
	}
	ahead, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	return r.each(args[:1], func(n *harness.Node) {
		n.SetClock(ahead)
		r.it = n
	})
}

func (r *faultRun) setDisk(args []string) error {
	if len(args) == 2 && args[1] == "well" {
		return r.each(args[:1], func(n *harness.Node) { n.SetDisk("", "", 0, 0) })
	}
	if len(args) != 5 {
		return errors.New("disk NODE PART KINDS LEAST MOST, or disk NODE well")
	}
	least, err1 := time.ParseDuration(args[3])
	most, err2 := time.ParseDuration(args[4])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return r.each(args[:1], func(n *harness.Node) {
		n.SetDisk(args[1], args[2], least, most)
		r.it = n
	})
}

// skewed asks with new clients, which know nothing of the gateway's time yet.
func (r *faultRun) skewed(args []string) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), faultAnswered)
	defer cancel()
	var failed error
	err := r.each(args, func(n *harness.Node) {
		key := "skewed"
		_, err := n.AWS().GetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: &key})
		if _, code := status(err); code != codeSkewed {
			failed = errors.Join(failed, fmt.Errorf("a read at %s: %w", n.Name, err))
		}
		if _, code := status(r.put(ctx, n.AWS(), key, content{1, 10})); code != codeSkewed {
			failed = errors.Join(failed, fmt.Errorf("a write at %s ended with %q", n.Name, code))
		}
	})
	return errors.Join(err, failed)
}

// sumBlobs is the number of blobs that the volumes told the leader of, once all did: one who has just begun to lead was not told yet.
func (r *faultRun) sumBlobs() (sum uint64, err error) {
	for _, g := range r.f.Gateways() {
		var st harness.ClusterStatus
		if st, err = g.Status(); err != nil {
			continue
		}
		for _, v := range st.Volumes {
			if !v.Up {
				return 0, fmt.Errorf("%+v", st)
			}
			sum += v.Blobs
		}
		return sum, nil
	}
	return 0, err
}

// countBlobs waits until the number stays the same: volumes tell it with their heartbeats.
func (r *faultRun) countBlobs([]string) error {
	same, last := 0, uint64(0)
	harness.Eventually(r.t, 3*time.Minute, "a steady number of blobs", func() error {
		n, err := r.sumBlobs()
		if err != nil {
			return err
		}
		if n != last || n == 0 {
			same, last = 0, n
		}
		if same++; same < blobsSteady {
			return fmt.Errorf("%d blobs", n)
		}
		return nil
	})
	r.blobs = last
	r.t.Logf("    %d", r.blobs)
	return nil
}

// blobsSteady looks in a row, at least 20 ms apart, are longer than a heartbeat takes.
const blobsSteady = 75

func (r *faultRun) kept(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	fewer := 0 // looks in a row: one who has just begun to lead was not told by all volumes yet
	for end := time.Now().Add(d); fewer > 0 || time.Now().Before(end); waitFor(r.t.Context(), 100*time.Millisecond) {
		n, err := r.sumBlobs()
		if err != nil || n >= r.blobs {
			fewer = 0
			continue
		}
		if fewer++; fewer == keptLooks {
			return fmt.Errorf("%d of %d blobs are left", n, r.blobs)
		}
	}
	return nil
}

// keptLooks at least 100 ms apart are longer than a volume takes to be heard by a new leader. Blobs that are collected do not come back.
const keptLooks = 50

func (r *faultRun) collected([]string) error {
	harness.Eventually(r.t, 2*time.Minute, "blobs of the deleted are collected", func() error {
		n, err := r.sumBlobs()
		if err == nil && n >= r.blobs {
			err = fmt.Errorf("%d blobs, there were %d", n, r.blobs)
		}
		return err
	})
	return nil
}

func (r *faultRun) quickReads(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var keys []string
	for _, k := range r.keys() {
		if !slices.Contains(r.possible(k), content{}) {
			keys = append(keys, k)
		}
	}
	var took []time.Duration
	start := time.Now()
	for range n {
		began := time.Now()
		if err := r.read(r.t.Context(), nil, keys[rand.IntN(len(keys))]); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	r.t.Logf("    %s", distribution(took))
	return r.shareWithin(took, start, 0.9, args[1])
}

// shareWithin fails when more than the rest of a share of the times are longer than a limit and a few times what they usually are here:
// on a machine that is busy with other things, or has stood still since they began, they are long without any fault.
func (r *faultRun) shareWithin(all []time.Duration, began time.Time, share float64, limit string) error {
	most, err := time.ParseDuration(limit)
	if err != nil {
		return err
	}
	stood := r.stalls.since(began)
	if at := shareOf(all, share); at > most+3*r.usual+stood {
		return fmt.Errorf("%v of a hundred took up to %v, usual is %v, the machine stood still for %v", 100*share, at, r.usual, stood)
	}
	return nil
}

func shareOf(all []time.Duration, share float64) time.Duration {
	slices.Sort(all)
	return all[int(share*float64(len(all)-1))]
}

func (r *faultRun) exits(args []string) error {
	var failed error
	err := r.each(args, func(n *harness.Node) {
		ctx, cancel := context.WithTimeout(r.t.Context(), faultAnswered)
		defer cancel()
		if err := n.Wait(ctx); err == nil || ctx.Err() != nil {
			failed = fmt.Errorf("%s: %v", n.Name, err)
		}
		n.Kill() // it is dead, and now known to be
	})
	return errors.Join(err, failed)
}
