// Package doctor checks what a server promises from outside, as a client would see it.
package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Config of a check.
type Config struct {
	Endpoints            []string // of one store; writers are spread over them
	AccessKey, SecretKey string
	Region               string
	Bucket               string // empty: one is made and removed
	Writers              int
	Generations          int           // at most
	Duration             time.Duration // at most; 0: no limit
	Timeout              time.Duration // of one request
	TLS                  *tls.Config
	Progress             func(Report) // after each generation; nil: none
}

// Report is what was found. Violations are broken promises; everything else may be as it is.
type Report struct {
	Generations int      `json:"generations"`
	Writers     int      `json:"writers"`
	Succeeded   int      `json:"succeeded"` // writes that were acknowledged
	Refused     int      `json:"refused"`   // because of their condition
	Unknown     int      `json:"unknown"`   // without an answer that says whether they happened
	Seconds     float64  `json:"seconds"`
	Verdict     Verdict  `json:"verdict"`
	Error       string   `json:"error,omitempty"` // why the verdict is not Sound
	Violations  []string `json:"violations"`
}

// Verdict is the outcome in one word.
type Verdict string

// Verdicts. Sound takes at least one generation in which a writer succeeded; nothing found is not enough.
const (
	Sound      Verdict = "sound"
	Broken     Verdict = "broken"
	Ignored    Verdict = "ignored"
	NotChecked Verdict = "not checked"
)

// Errors of CAS.
var (
	// ErrIgnored: the server takes writes whose condition is false.
	ErrIgnored = errors.New("the server ignores conditions on PUT: compare-and-swap does not work there at all")
	// ErrBroken: conditions are looked at, and still not safe to build on.
	ErrBroken = errors.New("compare-and-swap is broken on this server")
	// ErrUnavailable: the check could not be made.
	ErrUnavailable = errors.New("the check could not be made")
)

// Bounds.
const (
	violationsMax = 20 // then the check ends
	stalledMax    = 50 // rounds in a row in which nothing was acknowledged
	readsMax      = 100
	createEvery   = 10 // one generation of so many begins with the key absent
)

// CAS runs generations of writers that all try to replace the same version, and looks whether exactly one succeeds and stays. Before, it
// makes sure that every endpoint is an S3 server of one store that it can write to. Report holds what was done also with an error.
func CAS(ctx context.Context, cfg Config) (Report, error) {
	c := &cas{cfg: cfg, report: Report{Writers: cfg.Writers, Violations: []string{}}, key: "minikv-doctor-" + random(), late: map[string]string{}}
	t := transport(cfg.TLS, cfg.Writers)
	defer t.CloseIdleConnections()
	began := time.Now()
	err := c.check(ctx, t)
	c.report.Seconds = time.Since(began).Seconds()
	c.conclude(err)
	return c.report, err
}

func (c *cas) check(ctx context.Context, t http.RoundTripper) error {
	if c.made = c.cfg.Bucket == ""; c.made {
		c.cfg.Bucket = "minikv-doctor-" + random()
	}
	for _, e := range c.cfg.Endpoints {
		s, err := newServer(e, c.cfg, t)
		if err != nil {
			return err
		}
		c.servers = append(c.servers, s)
	}
	if len(c.servers) == 0 {
		return errors.New("endpoint: none is given")
	}
	for _, s := range c.servers {
		if err := c.speaksS3(ctx, s); err != nil {
			return err
		}
	}
	if c.made {
		if a := c.servers[0].do(ctx, http.MethodPut, "", nil); !a.done() {
			return fmt.Errorf("%w: the bucket %s can't be made: %s", ErrUnavailable, c.cfg.Bucket, a)
		}
	}
	defer c.clean(c.made)
	if err := c.run(ctx); err != nil {
		return err
	}
	switch {
	case len(c.report.Violations) > 0:
		return ErrBroken
	case c.report.Generations == 0 || c.report.Succeeded == 0:
		return fmt.Errorf("%w: %d generations ended in time, and %d writes succeeded", ErrUnavailable, c.report.Generations, c.report.Succeeded)
	}
	return nil
}

// conclude writes the verdict into the report.
func (c *cas) conclude(err error) {
	switch {
	case err == nil:
		c.report.Verdict = Sound
		return
	case errors.Is(err, ErrIgnored):
		c.report.Verdict = Ignored
	case errors.Is(err, ErrBroken) || len(c.report.Violations) > 0:
		c.report.Verdict = Broken
	default:
		c.report.Verdict = NotChecked
	}
	c.report.Error = err.Error()
}

func random() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

type cas struct {
	cfg     Config
	servers []*server
	made    bool // the bucket
	key     string
	report  Report
	late    map[string]string // bodies of writes without an answer, and the version that they were to replace
}

// clean removes what was made, as far as the server answers.
func (c *cas) clean(bucket bool) {
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Timeout)
	defer cancel()
	c.servers[0].do(ctx, http.MethodDelete, c.key, nil)
	if bucket {
		c.servers[0].do(ctx, http.MethodDelete, "", nil)
	}
}

func (c *cas) at(i int) *server { return c.servers[i%len(c.servers)] }

func (c *cas) run(ctx context.Context) error {
	until := ctx
	if c.cfg.Duration > 0 {
		var cancel context.CancelFunc
		until, cancel = context.WithTimeout(ctx, c.cfg.Duration)
		defer cancel()
	}
	version, err := c.probe(ctx)
	if err != nil {
		return err
	}
	for stalled := 0; c.report.Generations < c.cfg.Generations && until.Err() == nil && len(c.report.Violations) < violationsMax; {
		if c.report.Generations%createEvery == createEvery-1 {
			if version, err = c.remove(ctx); err != nil {
				return err
			}
		}
		next, moved, err := c.generation(ctx, version)
		if err != nil {
			return err
		}
		if version = next; !moved {
			if stalled++; stalled > stalledMax {
				return fmt.Errorf("%w: in %d rounds nothing was acknowledged; the last answer was %s", ErrUnavailable, stalled, c.read(ctx, 0, 1))
			}
			continue
		}
		stalled = 0
		c.report.Generations++
		if c.cfg.Progress != nil {
			c.cfg.Progress(c.report)
		}
	}
	return ctx.Err()
}

// remove deletes the key, so that the next generation begins with none: "".
func (c *cas) remove(ctx context.Context) (string, error) {
	for range readsMax {
		if a := c.at(c.report.Generations).do(ctx, http.MethodDelete, c.key, nil); a.done() {
			return "", nil
		} else if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	return "", fmt.Errorf("%w: the key can't be deleted", ErrUnavailable)
}

// read reads the key until there is an answer, first at endpoint from, then at the one step further each time.
func (c *cas) read(ctx context.Context, from, step int) (a answer) {
	for i := range readsMax {
		a = c.at(from+i*step).do(ctx, http.MethodGet, c.key, nil)
		if a.done() || a.err == nil && a.status == http.StatusNotFound || ctx.Err() != nil {
			break
		}
		select {
		case <-time.After(min(20*time.Millisecond<<min(i, 6), time.Second)):
		case <-ctx.Done():
		}
	}
	return a
}

// generation lets all writers replace the version with this ETag at once, "" for none. moved: one of them did. next is the
// version that is there now.
func (c *cas) generation(ctx context.Context, version string) (next string, moved bool, err error) {
	bodies, answers := make([]string, c.cfg.Writers), make([]answer, c.cfg.Writers)
	condition := []string{"If-Match", version}
	if version == "" {
		condition = []string{"If-None-Match", "*"}
	}
	start := make(chan struct{})
	var wg sync.WaitGroup
	for w := range bodies {
		bodies[w] = fmt.Sprintf("generation %d, writer %d, %s", c.report.Generations+1, w, random())
		wg.Go(func() {
			<-start
			answers[w] = c.at(w).do(ctx, http.MethodPut, c.key, []byte(bodies[w]), condition...)
		})
	}
	close(start)
	wg.Wait()
	if ctx.Err() != nil {
		return "", false, ctx.Err()
	}
	now := c.read(ctx, c.report.Generations, 1)
	if !now.done() && now.status != http.StatusNotFound {
		return "", false, fmt.Errorf("%w: the key can't be read: %s", ErrUnavailable, now)
	}
	return c.judge(version, bodies, answers, now)
}

// judge compares what the writers were told with what is there.
func (c *cas) judge(version string, bodies []string, answers []answer, now answer) (next string, moved bool, err error) {
	g := c.report.Generations + 1
	var won, unsure []int
	for w, a := range answers {
		switch {
		case a.done():
			won = append(won, w)
		case a.refused():
			c.report.Refused++
		case a.err == nil && a.status < 500 && a.status != http.StatusRequestTimeout && a.status != http.StatusTooManyRequests:
			return "", false, fmt.Errorf("%w: a PUT with a condition answers %s", ErrUnavailable, a)
		default:
			unsure = append(unsure, w)
		}
	}
	c.report.Succeeded += len(won)
	c.report.Unknown += len(unsure)
	broken := func(format string, args ...any) {
		c.report.Violations = append(c.report.Violations, fmt.Sprintf("generation %d: ", g)+fmt.Sprintf(format, args...))
	}
	holder := slices.Index(bodies, string(now.body))
	if !now.done() {
		holder = -1
	}
	switch {
	case len(won) > 1:
		broken("%d writers were told that they replaced the same version", len(won))
	case len(won) == 1 && holder != won[0]:
		broken("the update of writer %d was acknowledged and is lost: the key holds that of %s", won[0], name(holder))
	case len(won) == 0 && holder >= 0 && !slices.Contains(unsure, holder):
		broken("the write of writer %d was refused, and the key holds it", holder)
	case len(won) == 0 && holder < 0 && now.etag != version && !c.came(now, version):
		broken("no writer succeeded, and the key is another one")
	}
	for _, w := range unsure {
		c.late[bodies[w]] = version
	}
	return now.etag, now.etag != version, nil
}

// came says that a write of an earlier round, which had no answer, took effect now: it was to replace the same version.
func (c *cas) came(now answer, version string) bool {
	of, ok := c.late[string(now.body)]
	return now.done() && ok && of == version
}

func name(writer int) string {
	if writer < 0 {
		return "none of them"
	}
	return fmt.Sprintf("writer %d", writer)
}
