package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profile repeats a load and writes DIR/OP-SIZE-CLIENTS.cpu meanwhile, .allocs and .metrics (all since the start) afterwards; of a
// cluster for each process, whose name comes first.
func profile(ctx context.Context, dir string, l load, s *server) error {
	l.length = max(l.length, 5*time.Second)
	file := func(p process) string {
		name := fmt.Sprintf("%s-%d-%d", l.op, l.size, l.clients)
		if p.name != "" {
			name = p.name + "-" + name
		}
		return filepath.Join(dir, name)
	}
	done := make(chan error, len(s.processes))
	for _, p := range s.processes {
		go func() {
			done <- s.fetch(ctx, p, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(l.length.Seconds())-1), file(p)+".cpu")
		}()
	}
	_, err := l.run(ctx, s)
	for _, p := range s.processes {
		err = errors.Join(err, <-done, s.fetch(ctx, p, "/debug/pprof/allocs", file(p)+".allocs"), s.fetch(ctx, p, "/metrics", file(p)+".metrics"))
	}
	return err
}

// fetch writes what a process's REST port answers to a path into a file.
func (s *server) fetch(ctx context.Context, p process, path, file string) error {
	origin := p.rest
	if origin == "" {
		origin = s.rest
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+path, nil)
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
