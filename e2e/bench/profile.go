package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profile repeats a load and writes DIR/OP-SIZE-CLIENTS.cpu meanwhile, .allocs and .metrics (all since the start) afterwards.
func profile(ctx context.Context, dir string, l load, s *server) error {
	name := filepath.Join(dir, fmt.Sprintf("%s-%d-%d", l.op, l.size, l.clients))
	l.length = max(l.length, 5*time.Second)
	done := make(chan error, 1)
	go func() {
		done <- s.fetch(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(l.length.Seconds())-1), name+".cpu")
	}()
	_, err := l.run(ctx, s)
	if perr := <-done; err == nil {
		err = perr
	}
	if err == nil {
		err = s.fetch(ctx, "/debug/pprof/allocs", name+".allocs")
	}
	if err == nil {
		err = s.fetch(ctx, "/metrics", name+".metrics")
	}
	return err
}

// fetch writes what the REST port answers to a path into a file.
func (s *server) fetch(ctx context.Context, path, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.rest+path, nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth(accessKey, secretKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d: %s", path, resp.StatusCode, b)
	}
	return os.WriteFile(file, b, 0o644)
}
