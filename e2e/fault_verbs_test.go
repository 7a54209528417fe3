package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"minikv/e2e/harness"
)

var faultVerbs map[string]func(r *faultRun, args []string) error

func init() {
	faultVerbs = map[string]func(r *faultRun, args []string) error{
		"put": times(func(r *faultRun) error { return r.store(r.t.Context(), r.newKey(), r.newContent()) }),
		"overwrite": times(func(r *faultRun) error {
			keys := r.free()
			return r.store(r.t.Context(), keys[rand.IntN(len(keys))], r.newContent())
		}),
		"delete": times(func(r *faultRun) error {
			keys := r.free()
			return r.remove(r.t.Context(), keys[rand.IntN(len(keys))])
		}),
		"big":        times((*faultRun).putBig),
		"drop":       times((*faultRun).dropBig),
		"fill":       (*faultRun).fill,
		"full":       (*faultRun).full,
		"missing":    (*faultRun).missing,
		"join":       func(r *faultRun, args []string) error { r.f.Join(args[0], "volume"); return nil },
		"spread":     (*faultRun).spread,
		"drain":      (*faultRun).drain,
		"moved":      (*faultRun).moved,
		"replicate":  (*faultRun).replicate,
		"replicated": (*faultRun).replicated,
		"try":        (*faultRun).try,
		"check":      func(r *faultRun, args []string) error { return r.withAt(args, r.check) },
		"resumes":    (*faultRun).resumes,
		"refuses":    (*faultRun).refuses,
		"load":       (*faultRun).beginLoad,
		"end":        (*faultRun).endLoad,
		"begin":      (*faultRun).begin,
		"finish":     func(r *faultRun, args []string) error { return r.finishPut(args[0], len(args) > 1) },
		"complete":   (*faultRun).complete,
		"kill":       func(r *faultRun, args []string) error { return r.each(args, (*harness.Node).Kill) },
		"freeze":     func(r *faultRun, args []string) error { return r.each(args, (*harness.Node).Freeze) },
		"stop": func(r *faultRun, args []string) error {
			return r.each(args, func(n *harness.Node) {
				if err := n.Stop(); err != nil {
					r.t.Errorf("%s: %v", n.Name, err)
				}
			})
		},
		"start": (*faultRun).start,
		"thaw":  (*faultRun).thaw,
		"wipe":  (*faultRun).wipe,
		"isolate": func(r *faultRun, args []string) error {
			return r.each(args, func(n *harness.Node) { r.f.Isolate(n.Name) })
		},
		"cut":     (*faultRun).cut,
		"slow":    (*faultRun).slow,
		"heal":    func(r *faultRun, _ []string) error { r.f.Net.Heal(); return nil },
		"stutter": func(r *faultRun, args []string) error { return r.each(args, r.stutter) },
		"whole":   (*faultRun).whole,
		"log":     (*faultRun).logged,

		"clock":     (*faultRun).setClock,
		"disk":      (*faultRun).setDisk,
		"skewed":    (*faultRun).skewed,
		"blobs":     (*faultRun).countBlobs,
		"kept":      (*faultRun).kept,
		"collected": (*faultRun).collected,
		"reads":     (*faultRun).quickReads,
		"exits":     (*faultRun).exits,
	}
}

// times does something as often as the first word says.
func times(do func(r *faultRun) error) func(*faultRun, []string) error {
	return func(r *faultRun, args []string) error {
		n, err := strconv.Atoi(args[0])
		for range n {
			if err := do(r); err != nil {
				return err
			}
		}
		return err
	}
}

func (r *faultRun) withAt(args []string, do func(*harness.Node) error) error {
	_, at, err := r.at(args)
	if err != nil {
		return err
	}
	return do(at)
}

// try puts new objects and old ones, once each.
func (r *faultRun) try(args []string) error {
	args, at, err := r.at(args)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[0])
	failed := 0
	for i := range n {
		key, v := r.newKey(), r.newContent()
		if keys := r.free(); i%2 == 1 && len(keys) > 0 {
			key = keys[rand.IntN(len(keys))]
		}
		c := r.clients[at]
		if at == nil {
			c = r.next()
		}
		r.may(key, v)
		ctx, cancel := context.WithTimeout(r.t.Context(), faultAttempt)
		err := r.put(ctx, c, key, v)
		cancel()
		if err == nil {
			r.is(key, v)
			continue
		}
		failed++
	}
	r.t.Logf("    %d of %d failed", failed, n)
	return err
}

// late fails when something took longer than it may. A machine that stood still says nothing of that: elections begin anew.
func (r *faultRun) late(began time.Time, within time.Duration) error {
	took := time.Since(began)
	if took <= within {
		return nil
	}
	if stood := r.stalls.since(began); stood > 0 {
		r.t.Logf("    after %v, not judged: the machine stood still for %v", took, stood)
		return nil
	}
	return fmt.Errorf("after %v", took)
}

func (r *faultRun) resumes(args []string) error {
	within, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	began := time.Now()
	if err := r.store(r.t.Context(), r.newKey(), r.newContent()); err != nil {
		return err
	}
	return r.late(began, within)
}

// refuses asks all at once: a gateway looks for a leader for 10 s before it gives up.
func (r *faultRun) refuses(args []string) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	key := "refused"
	r.may(key, content{1, 10})
	var asked sync.WaitGroup
	err := r.each(args, func(n *harness.Node) {
		asked.Go(func() {
			_, err := r.clients[n].GetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: &key})
			if st, _ := status(err); st != http.StatusServiceUnavailable {
				r.t.Errorf("a read at %s: %v", n.Name, err)
			}
		})
		asked.Go(func() {
			err := r.put(ctx, r.clients[n], key, content{1, 10})
			if st, _ := status(err); st != http.StatusServiceUnavailable {
				r.t.Errorf("a write at %s: %v", n.Name, err)
			}
		})
	})
	asked.Wait()
	return err
}

func (r *faultRun) start([]string) error {
	var dead []*harness.Node
	for _, name := range r.f.Names() {
		if n := r.f.Nodes[name]; n.Dead() {
			if err := n.Launch(); err != nil {
				return err
			}
			dead = append(dead, n)
		}
	}
	for _, n := range dead {
		n.WaitReady()
	}
	return nil
}

func (r *faultRun) thaw([]string) error {
	r.endStutters()
	for _, n := range r.f.Nodes {
		n.Thaw()
	}
	return nil
}

func (r *faultRun) wipe(args []string) error {
	nodes, err := r.targets(args[0])
	if err != nil {
		return err
	}
	if !nodes[0].Dead() {
		return errors.New("it runs")
	}
	path := filepath.Join(nodes[0].Data, args[1])
	if _, err := os.Stat(path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

func (r *faultRun) cut(args []string) error {
	oneWay := len(args) == 3 && args[1] == "->"
	from, err := r.targets(args[0])
	if err != nil {
		return err
	}
	to, err := r.targets(args[len(args)-1])
	if err != nil {
		return err
	}
	for _, a := range from {
		for _, b := range to {
			if a == b {
				continue
			}
			r.t.Logf("    %s, %s", a.Name, b.Name)
			r.f.Net.Set(a.Name, b.Name, harness.Fault{Cut: true})
			if !oneWay {
				r.f.Net.Set(b.Name, a.Name, harness.Fault{Cut: true})
			}
		}
	}
	return nil
}

func (r *faultRun) slow(args []string) error {
	d, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	return r.each(args[:1], func(n *harness.Node) {
		for _, other := range r.f.Names() {
			if other != n.Name {
				r.f.Net.Between(n.Name, other, harness.Fault{Delay: d})
			}
		}
	})
}

// stutter freezes the node nine tenths of the time.
func (r *faultRun) stutter(n *harness.Node) {
	ctx, cancel := context.WithCancel(context.Background())
	before := r.calm
	r.calm = func() {
		cancel()
		if before != nil {
			before()
		}
	}
	r.stutters.Go(func() {
		for ctx.Err() == nil {
			n.Freeze()
			waitFor(ctx, 90*time.Millisecond)
			n.Thaw()
			waitFor(ctx, 10*time.Millisecond)
		}
	})
}

func waitFor(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (r *faultRun) endStutters() {
	if r.calm != nil {
		r.calm()
		r.stutters.Wait()
		r.calm = nil
	}
}

func (r *faultRun) whole([]string) error {
	harness.Eventually(r.t, 2*time.Minute, "every replica is there", func() error {
		st, err := r.f.Gateways()[0].Status()
		if err != nil {
			return err
		}
		up := map[string]bool{} // a node whose disk was lost has an old volume, too
		for _, v := range st.Volumes {
			up[v.Node] = up[v.Node] || v.Up
		}
		if slices.Contains(slices.Collect(maps.Values(up)), false) {
			return fmt.Errorf("%+v", st)
		}
		if st.UnderReplicated != 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	return nil
}

func (r *faultRun) begin(args []string) error {
	args, at, err := r.at(args)
	if err != nil {
		return err
	}
	if at == nil {
		at = r.f.Gateways()[0]
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	if args[0] == "put" {
		r.beginPut(args[1], n<<20, at)
		return nil
	}
	return r.beginUpload(args[1], n)
}

// openUpload is a multipart upload with all its parts.
type openUpload struct {
	id    string
	parts []types.CompletedPart
	whole content
}

const uploadPart = 5 << 20

func (r *faultRun) beginUpload(key string, parts int) error {
	u := &openUpload{whole: content{seed: uint64(len(key)) + 99, size: parts * uploadPart}}
	body := u.whole.bytes()
	err := r.again(r.t.Context(), nil, func(ctx context.Context, c *s3.Client) error {
		out, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: &key})
		if err == nil {
			u.id = *out.UploadId
		}
		return err
	})
	for i := 0; i < parts && err == nil; i++ {
		err = r.again(r.t.Context(), nil, func(ctx context.Context, c *s3.Client) error {
			out, err := c.UploadPart(ctx, &s3.UploadPartInput{
				Bucket: &r.bucket, Key: &key, UploadId: &u.id, PartNumber: aws.Int32(int32(i + 1)),
				Body: bytes.NewReader(body[i*uploadPart : (i+1)*uploadPart]),
			})
			if err == nil {
				u.parts = append(u.parts, types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(int32(i + 1))})
			}
			return err
		})
	}
	r.uploads[key] = u
	return err
}

// completeDelayMax is about how long a Complete takes.
const completeDelayMax = 8 * time.Millisecond

func (r *faultRun) complete(args []string) error {
	key := args[0]
	u := r.uploads[key]
	if u == nil {
		return fmt.Errorf("no upload of %s was begun", key)
	}
	r.may(key, u.whole)
	done := make(chan error, 1)
	go func() {
		done <- r.again(r.t.Context(), nil, func(ctx context.Context, c *s3.Client) error {
			_, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
				Bucket: &r.bucket, Key: &key, UploadId: &u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
			})
			return err
		})
	}()
	var at error
	if len(args) > 2 && args[1] == "while" {
		waitFor(r.t.Context(), rand.N(completeDelayMax))
		at = faultVerbs[args[2]](r, args[3:])
	}
	if err := errors.Join(<-done, at); err != nil {
		return err
	}
	r.is(key, u.whole)
	return nil
}

// faultLoad is clients at work beside the steps.
type faultLoad struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64

	began time.Time

	mu     sync.Mutex // guards what follows
	failed []error
	took   []time.Duration
}

func (r *faultRun) beginLoad(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	r.load = &faultLoad{cancel: cancel, began: time.Now()}
	for range n {
		r.load.wg.Go(func() {
			var own []string
			for ctx.Err() == nil {
				r.load.one(r, &own)
			}
		})
	}
	return nil
}

// one does one operation on keys of this client alone, which is not cut off when the load ends.
func (l *faultLoad) one(r *faultRun, own *[]string) {
	began := time.Now()
	ctx := r.t.Context()
	var err error
	key := ""
	if len(*own) > 0 {
		key = (*own)[rand.IntN(len(*own))]
	}
	switch k := rand.IntN(10); {
	case key == "" || k < 3:
		key = r.claim(r.newKey())
		err = r.store(ctx, key, r.newContent())
		*own = append(*own, key)
	case k < 5:
		err = r.store(ctx, key, r.newContent())
	case k < 6:
		err = r.remove(ctx, key)
	default:
		err = r.read(ctx, nil, key)
	}
	took := time.Since(began)
	l.done.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, took)
	if err != nil {
		l.failed = append(l.failed, err)
		l.cancel()
	}
}

// endLoad may name the time within which 99 of 100 operations were answered.
func (r *faultRun) endLoad(args []string) error {
	r.load.cancel()
	r.load.wg.Wait()
	if r.load.done.Load() == 0 {
		return errors.New("no operation was done")
	}
	r.t.Logf("    %s", distribution(r.load.took))
	if len(args) == 3 && args[1] == "p99" {
		if err := r.shareWithin(r.load.took, r.load.began, 0.99, args[2]); err != nil {
			return err
		}
	} else {
		r.usual = shareOf(r.load.took, 0.99)
	}
	return errors.Join(r.load.failed...)
}
