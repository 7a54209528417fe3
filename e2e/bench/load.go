package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/sha256-simd"

	"minikv/sigv4"
)

const (
	accessKey = "benchkey"
	secretKey = "bench-secret-0123456789"
	bucket    = "bench"
)

// load is one cell of the table.
type load struct {
	op      string
	size    int
	clients int
	signed  bool
	length  time.Duration
	sum     string // SHA-256 of the body, in hex: made once, so that the client's hashing is not measured
}

type result struct {
	rate     float64 // operations/s
	p50, p99 time.Duration
	cpuPerOp float64 // seconds of the server
	byRole   cpu     // the same by role
}

var signer = sigv4.Signer{AccessKey: accessKey, SecretKey: secretKey, Region: "us-east-1"}

// keysOf bounds what a load reads and rewrites, so that a cell's data fits the disk.
func (l load) keys() int { return max(16, min(1024, (256<<20)/max(l.size, 1))) }

func (l load) key(i int) string { return fmt.Sprintf("s%d/%05d", l.size, i%l.keys()) }

func (l load) run(ctx context.Context, s *server) (result, error) {
	body := make([]byte, l.size)
	_, _ = rand.Read(body)
	sum := sha256.Sum256(body)
	l.sum = hex.EncodeToString(sum[:])
	if l.op != "PUT" {
		if err := l.fill(ctx, s, body); err != nil {
			return result{}, err
		}
	}
	runCtx, cancel := context.WithTimeout(ctx, l.length)
	defer cancel()
	var next atomic.Int64
	conns := make([]*conn, l.clients)
	for i := range conns {
		var err error
		if conns[i], err = dial(ctx, s.url); err != nil {
			return result{}, err
		}
		defer func() { _ = conns[i].Close() }()
	}
	lat := make([][]time.Duration, l.clients)
	errs := make([]error, l.clients)
	cpuBefore := s.cpuSeconds()
	begin := time.Now()
	var wg sync.WaitGroup
	for c := range l.clients {
		wg.Go(func() {
			buf := make([]byte, 256<<10)
			for runCtx.Err() == nil {
				at := time.Now()
				if err := l.once(ctx, s, conns[c], body, buf, int(next.Add(1))); err != nil {
					errs[c] = err
					return
				}
				lat[c] = append(lat[c], time.Since(at))
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			return result{}, err
		}
	}
	all := slices.Concat(lat...)
	if len(all) == 0 {
		return result{}, fmt.Errorf("no operation ended within %v", l.length)
	}
	slices.Sort(all)
	r := result{rate: float64(len(all)) / took.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100], byRole: s.cpuSeconds()}
	for role := range r.byRole {
		r.byRole[role] = (r.byRole[role] - cpuBefore[role]) / float64(len(all))
	}
	r.cpuPerOp = r.byRole.total()
	return r, nil
}

// fill writes the keys that a reading load reads, and reads each once: what the disk gives is not compared with loopback.
func (l load) fill(ctx context.Context, s *server, body []byte) error {
	put := l
	put.op = "PUT"
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.filled[l.size] {
		return nil
	}
	c, err := dial(ctx, s.url)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	buf := make([]byte, 256<<10)
	for i := range l.keys() {
		if err := put.once(ctx, s, c, body, buf, i); err != nil {
			return err
		}
	}
	get := l
	get.op = "GET"
	for i := range l.keys() {
		if err := get.once(ctx, s, c, nil, buf, i); err != nil {
			return err
		}
	}
	s.filled[l.size] = true
	return nil
}

func (l load) once(ctx context.Context, s *server, c *conn, body, buf []byte, i int) error {
	payload := sigv4.UnsignedPayload
	if l.op != "PUT" {
		body = nil
	} else if l.signed {
		payload = l.sum
	}
	status, n, err := c.do(ctx, l.op, "/"+bucket+"/"+l.key(i)+s.query(l), body, payload, buf)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", l.op, err)
	case status != http.StatusOK:
		return fmt.Errorf("%s: status %d", l.op, status)
	case l.op == "GET" && n != int64(l.size):
		return fmt.Errorf("GET: %d bytes, not %d", n, l.size)
	}
	return nil
}

func send(ctx context.Context, client *http.Client, method, url string, body io.Reader, size int64, payload string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = size
	}
	if _, err := signer.Sign(req, payload, time.Now()); err != nil {
		return nil, err
	}
	return client.Do(req)
}

// list measures full pages over many small objects, and writes a table of its own.
func list(ctx context.Context, out io.Writer, s settings, srv *server) error {
	if s.listKeys == 0 {
		return nil
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	errs := make(chan error, 64)
	for range 64 {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= s.listKeys {
					errs <- nil
					return
				}
				resp, err := send(ctx, client, "PUT", fmt.Sprintf("%s/%s/list/%03d/%07d", srv.url, bucket, i%1000, i), strings.NewReader("x"), 1, sigv4.UnsignedPayload)
				if err != nil {
					errs <- err
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		}()
	}
	for range 64 {
		if err := <-errs; err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "\n| LIST of pages of 1,000 | clients | keys/s | pages/s |\n|---|---|---|---|")
	for _, clients := range []int{1, 16} {
		keys, pages, took, err := listFor(ctx, srv, client, clients, time.Duration(s.seconds*float64(time.Second)))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %s keys | %d | %.0f | %.0f |\n", strconv.Itoa(s.listKeys), clients, float64(keys)/took.Seconds(), float64(pages)/took.Seconds())
	}
	return nil
}

func listFor(ctx context.Context, srv *server, client *http.Client, clients int, length time.Duration) (keys, pages int64, took time.Duration, err error) {
	var nk, np atomic.Int64
	errs := make(chan error, clients)
	begin := time.Now()
	for range clients {
		go func() {
			after := ""
			for time.Since(begin) < length {
				resp, err := send(ctx, client, "GET", srv.url+"/"+bucket+"?list-type=2&prefix=list%2F&start-after="+sigv4.EncodeQuery(after), nil, 0, sigv4.UnsignedPayload)
				if err != nil {
					errs <- err
					return
				}
				b, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					errs <- fmt.Errorf("list: status %d, %v", resp.StatusCode, err)
					return
				}
				nk.Add(int64(bytes.Count(b, []byte("<Key>"))))
				np.Add(1)
				after = ""
				if i := bytes.LastIndex(b, []byte("<Key>")); i >= 0 && bytes.Contains(b, []byte("<IsTruncated>true")) {
					rest := b[i+5:]
					after = string(rest[:bytes.IndexByte(rest, '<')])
				}
			}
			errs <- nil
		}()
	}
	for range clients {
		if e := <-errs; e != nil && err == nil {
			err = e
		}
	}
	return nk.Load(), np.Load(), time.Since(begin), err
}
