package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"minikv/e2e/harness"
)

const (
	faultAnswered = time.Minute     // a client that tries again is answered within
	faultAttempt  = 4 * time.Second // and gives up one attempt after, the first two; later ones have twice and four times as long
	faultPause    = 50 * time.Millisecond
	faultAvoid    = 10 * time.Second // a gateway that did not answer is asked last
)

// content is the bytes of an object, made of a seed; the zero value is no object.
type content struct {
	seed uint64
	size int
}

func (c content) bytes() []byte { return noise(c.seed, c.size) }

// faultRun is a running script.
type faultRun struct {
	t       *testing.T
	f       *harness.Fleet
	bucket  string
	clients map[*harness.Node]*s3.Client
	gates   []*harness.Node // the gateways; loads take them from here while nodes join the fleet
	stalls  *stalls

	mu      sync.Mutex // guards what follows: loads run beside steps
	seq     uint64
	objects map[string][]content // what each key may be: one, unless an attempt was not answered
	strays  map[string][]stray   // what attempts that were not answered may still do to each key
	loads   map[string]bool      // keys that belong to a client of a load
	turn    int                  // whose gateway's it is
	silent  map[*s3.Client]time.Time

	puts     map[string]*halfPut
	uploads  map[string]*openUpload
	stutters sync.WaitGroup
	calm     context.CancelFunc // ends the stutters
	load     *faultLoad
	it       *harness.Node // whose clock or disk was changed last
	blobs    uint64        // at the step of that name
	usual    time.Duration // within which 99 of 100 operations of a load were answered, without a limit
}

func newFaultRun(t *testing.T, p harness.Plan) *faultRun {
	r := &faultRun{
		t: t, clients: map[*harness.Node]*s3.Client{}, objects: map[string][]content{}, puts: map[string]*halfPut{},
		uploads: map[string]*openUpload{},
		silent:  map[*s3.Client]time.Time{},
		strays:  map[string][]stray{},
		loads:   map[string]bool{},
	}
	r.stalls = watchStalls(t)
	p.Args = append(slices.Clone(faultArgs), p.Args...)
	r.f = harness.StartFleet(t, p)
	r.gates = r.f.Gateways()
	for _, g := range r.gates {
		r.clients[g] = g.AWS()
	}
	r.bucket = r.f.Gateways()[0].Bucket(t)
	t.Cleanup(func() {
		r.endStutters()
		if r.load != nil {
			r.load.cancel()
			r.load.wg.Wait()
		}
	})
	return r
}

// faultArgs let collectors, epochs and the deletion queue work while a script runs.
var faultArgs = []string{"--queue.delay", "3s", "--collect.interval", "1s", "--epoch.interval", "5s"}

// next is the gateway whose turn it is, as behind a load balancer: one that just did not answer comes last.
func (r *faultRun) next() *s3.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	var c *s3.Client
	for range r.gates {
		r.turn++
		if c = r.clients[r.gates[r.turn%len(r.gates)]]; time.Since(r.silent[c]) > faultAvoid {
			break
		}
	}
	return c
}

// heard remembers whether a gateway answered at all.
func (r *faultRun) heard(c *s3.Client, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.silent, c)
	if st, code := status(err); err != nil && (st == 0 || code == codeSkewed) {
		r.silent[c] = time.Now()
	}
}

// again tries an operation at one gateway after the other until it is answered. Refusals of the client's fault are final.
func (r *faultRun) again(ctx context.Context, at *harness.Node, do func(context.Context, *s3.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, faultAnswered)
	defer cancel()
	for n := 0; ; n++ {
		c := r.clients[at]
		if at == nil {
			c = r.next()
		}
		attempt, done := context.WithTimeout(ctx, faultAttempt<<min(n/2, 2))
		err := do(attempt, c)
		done()
		r.heard(c, err)
		if st, code := status(err); err == nil || st >= 400 && st < 500 && code != codeSkewed {
			return err
		}
		select {
		case <-time.After(faultPause):
		case <-ctx.Done():
			return fmt.Errorf("not answered within %v, %d attempts: %w", faultAnswered, n+1, err)
		}
	}
}

func (r *faultRun) put(ctx context.Context, c *s3.Client, key string, v content) error {
	return putKey(ctx, c, r.bucket, key, v.bytes())
}

func (r *faultRun) newContent() content {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	size := rand.IntN(100_000)
	switch rand.IntN(12) {
	case 0:
		size = 4<<20 + rand.IntN(3<<20) // more than a blob
	case 1:
		size = 0
	}
	return content{r.seq, size}
}

func (r *faultRun) newKey() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	return fmt.Sprintf("k%06d", r.seq)
}

// may adds a content that an unanswered attempt may have made; is says what it is now.
func (r *faultRun) may(key string, v content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.objects[key]) == 0 {
		r.objects[key] = []content{{}}
	}
	r.objects[key] = append(r.objects[key], v)
}

func (r *faultRun) is(key string, v content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects[key] = []content{v}
}

func (r *faultRun) keys() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys []string
	for k := range r.objects {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (r *faultRun) possible(key string) []content {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.objects[key])
}

// store puts a key until it is answered.
func (r *faultRun) store(ctx context.Context, key string, v content) error {
	r.may(key, v)
	err := r.again(ctx, nil, func(ctx context.Context, c *s3.Client) error {
		return r.strayed(key, v, r.put(ctx, c, key, v))
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	r.is(key, v)
	return nil
}

func (r *faultRun) remove(ctx context.Context, key string) error {
	r.may(key, content{})
	err := r.again(ctx, nil, func(ctx context.Context, c *s3.Client) error {
		_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &r.bucket, Key: &key})
		return r.strayed(key, content{}, err)
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	r.is(key, content{})
	return nil
}

// read finds out which of its possible contents a key has, and fails if it has none of them.
func (r *faultRun) read(ctx context.Context, at *harness.Node, key string) error {
	var body []byte
	absent := false
	err := r.again(ctx, at, func(ctx context.Context, c *s3.Client) error {
		out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: &key})
		if st, code := status(err); st == 404 && code == "NoSuchKey" {
			absent = true
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { _ = out.Body.Close() }()
		absent = false
		body, err = io.ReadAll(out.Body)
		return err
	})
	if err != nil {
		return fmt.Errorf("get %s: %w", key, err)
	}
	for _, v := range append(r.possible(key), r.astray(key)...) {
		if absent && v == (content{}) || !absent && v != (content{}) && bytes.Equal(body, v.bytes()) {
			r.is(key, v)
			return nil
		}
	}
	return fmt.Errorf("get %s: absent: %v, %d bytes; possible: %v", key, absent, len(body), r.possible(key))
}

// check reads everything and compares a listing with it; again, if what was not answered may have happened in between.
func (r *faultRun) check(at *harness.Node) error {
	err := r.checkOnce(at)
	for range 3 {
		if err == nil || !r.anyAstray() {
			break
		}
		r.t.Logf("    again: %v", err)
		err = r.checkOnce(at)
	}
	return err
}

func (r *faultRun) checkOnce(at *harness.Node) error {
	var want []string
	for _, key := range r.keys() {
		if err := r.read(r.t.Context(), at, key); err != nil {
			return err
		}
		if r.possible(key)[0] != (content{}) {
			want = append(want, key)
		}
	}
	var got []string
	err := r.again(r.t.Context(), at, func(ctx context.Context, c *s3.Client) error {
		got = nil
		for p := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: &r.bucket, MaxKeys: aws.Int32(100)}); p.HasMorePages(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, o := range page.Contents {
				got = append(got, *o.Key)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if !slices.Equal(want, got) {
		return fmt.Errorf("the listing is %v, the objects are %v", got, want)
	}
	return nil
}
