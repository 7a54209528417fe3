// Command bench measures a minikv binary against the limits of the machine it runs on, in one run: hashing, appending with
// group commit, writing, loopback, and the load client's own ceiling against a server that does nothing.
//
//	go run ./e2e/bench -bin bin/minikv > table.md
//
// Absolute figures move from machine to machine; the ratios in the last columns are what to compare.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

type settings struct {
	bin, dir string
	seconds  float64
	repeat   int
	sizes    []int
	clients  []int
	listKeys int
	unsigned bool
	args     string
	ops      []string
	profile  string
	against  string
	cluster  string // "coordinators,volumes"
	only     bool   // the cluster
}

func main() {
	var s settings
	var sizes, clients, ops string
	if len(os.Args) > 1 && os.Args[1] == "null-server" {
		nullServer(os.Args[2])
		return
	}
	flag.StringVar(&s.bin, "bin", "bin/minikv", "the binary to measure")
	flag.StringVar(&s.dir, "dir", "", "directory for data, on the disk to measure; default a temporary one here")
	flag.Float64Var(&s.seconds, "seconds", 2, "length of one measurement in seconds")
	flag.IntVar(&s.repeat, "repeat", 1, "measurements per cell; the median is shown")
	flag.StringVar(&sizes, "sizes", "1024,65536,1048576,16777216", "object sizes in bytes")
	flag.StringVar(&clients, "clients", "1,16,64", "numbers of concurrent clients")
	flag.IntVar(&s.listKeys, "list-keys", 100_000, "keys in the listing benchmark")
	flag.BoolVar(&s.unsigned, "unsigned", false, "UNSIGNED-PAYLOAD instead of signed payloads")
	flag.StringVar(&s.args, "args", "", "further flags of minikv serve")
	flag.StringVar(&ops, "ops", "PUT,GET,HEAD", "operations to measure")
	flag.StringVar(&s.profile, "profile", "", "directory for a CPU and an allocation profile of minikv per cell (adds --pprof)")
	flag.StringVar(&s.against, "against", "", "a second binary: only compare the two, in ABBA order")
	flag.StringVar(&s.cluster, "cluster", "", "coordinators,volumes: after the single process (or, with -against, in its place), a cluster of that many processes and a gateway")
	flag.BoolVar(&s.only, "cluster-only", false, "leave the single process out")
	flag.Parse()
	s.ops = strings.Split(ops, ",")
	if s.profile != "" {
		s.args += " --pprof"
	}
	s.sizes, s.clients = ints(sizes), ints(clients)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func ints(list string) []int {
	var out []int
	for f := range strings.SplitSeq(list, ",") {
		var n int
		if _, err := fmt.Sscan(f, &n); err == nil {
			out = append(out, n)
		}
	}
	return out
}

func run(ctx context.Context, s settings) error {
	base := s.dir
	if base == "" {
		base = "."
	}
	dir, err := os.MkdirTemp(base, "bench-data-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if s.against != "" {
		return compare(ctx, s, dir)
	}
	limits, err := measureLimits(dir, s.clients)
	if err != nil {
		return err
	}
	ceiling, err := startServer(ctx, os.Args[0], "null-server", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ceiling.stop()
	out, _ := exec.CommandContext(ctx, s.bin, "version").Output()
	fmt.Printf("%s; %s %s/%s, %d cores; %.1f s per cell, median of %d\n\n", strings.TrimSpace(string(out)), runtime.Version(),
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), s.seconds, s.repeat)
	limits.print()
	fmt.Println("\n| servers | operation | size | clients | ops/s | MiB/s | p50 | p99 | server CPU us/op | client's ceiling ops/s | limit | of limit |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|")
	var listing strings.Builder // comes after the table of all servers
	if !s.only {
		if err := s.single(ctx, &listing, dir, ceiling, limits); err != nil {
			return err
		}
	}
	if s.cluster != "" {
		srv, err := s.start(ctx, s.bin, filepath.Join(dir, "cluster"))
		if err != nil {
			return err
		}
		defer srv.stop()
		if err := s.cells(ctx, srv, ceiling, limits); err != nil {
			return err
		}
	}
	fmt.Print(listing.String())
	return nil
}

// single measures one process, listings included.
func (s settings) single(ctx context.Context, listing io.Writer, dir string, ceiling *server, limits limits) error {
	srv, err := startMinikv(ctx, s, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer srv.stop()
	if err := s.cells(ctx, srv, ceiling, limits); err != nil {
		return err
	}
	return list(ctx, listing, s, srv)
}

// start starts a binary as one process, or as the cluster that is asked for.
func (s settings) start(ctx context.Context, bin, data string) (*server, error) {
	s.bin = bin
	n := ints(s.cluster)
	switch {
	case s.cluster == "":
		return startMinikv(ctx, s, data)
	case len(n) != 2 || n[0] < 1 || n[1] < 1:
		return nil, fmt.Errorf("-cluster %q is not coordinators,volumes", s.cluster)
	}
	return startCluster(ctx, s, data, n[0], n[1])
}

// cells measures every operation, size and number of clients.
func (s settings) cells(ctx context.Context, srv, ceiling *server, limits limits) error {
	for _, size := range s.sizes {
		for _, clients := range s.clients {
			for _, op := range s.ops {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if op == "HEAD" && size != s.sizes[0] {
					continue
				}
				l := load{op: op, size: size, clients: clients, signed: !s.unsigned, length: time.Duration(s.seconds * float64(time.Second))}
				if err := s.cell(ctx, l, srv, ceiling, limits); err != nil {
					return fmt.Errorf("%s %d: %w", op, size, err)
				}
			}
		}
	}
	return nil
}

func (s settings) cell(ctx context.Context, l load, srv, ceiling *server, limits limits) error {
	top, err := median(ctx, 1, l, ceiling)
	if err != nil {
		return fmt.Errorf("null server: %w", err)
	}
	r, err := median(ctx, s.repeat, l, srv)
	if err == nil && s.profile != "" {
		err = profile(ctx, s.profile, l, srv)
	}
	if err == nil {
		printRow(srv, l, r, top, limits)
	}
	return err
}

// median runs a load n times and gives the run with the median rate; the first of several is preceded by a short warm-up.
func median(ctx context.Context, n int, l load, s *server) (result, error) {
	warm := l
	warm.length = l.length / 4
	if _, err := warm.run(ctx, s); err != nil {
		return result{}, err
	}
	var rs []result
	for range n {
		r, err := l.run(ctx, s)
		if err != nil {
			return result{}, err
		}
		rs = append(rs, r)
	}
	slices.SortFunc(rs, func(a, b result) int { return int(a.rate - b.rate) })
	return rs[len(rs)/2], nil
}

func printRow(srv *server, l load, r, top result, limits limits) {
	name, limit := limits.of(l)
	ratio, limitText := "-", "-"
	if limit > 0 {
		limitText = fmt.Sprintf("%s %.0f", name, limit)
		ratio = fmt.Sprintf("%.2f", r.rate/limit)
	}
	fmt.Printf("| %s | %s | %s | %d | %.0f | %.0f | %s | %s | %s | %.0f | %s | %s |\n", srv.kind(), l.op, sizeName(l.size), l.clients, r.rate,
		r.rate*float64(l.size)/(1<<20), r.p50.Round(10*time.Microsecond), r.p99.Round(10*time.Microsecond), r.cpuText(), top.rate, limitText, ratio)
}

// kind is "1" for a process alone, and coordinators+volumes for a cluster.
func (s *server) kind() string {
	n := map[string]int{}
	for _, p := range s.processes {
		n[p.role]++
	}
	if n["gateway"] == 0 {
		return "1"
	}
	return fmt.Sprintf("%d+%d", n["coordinator"], n["volume"])
}

// cpuText is microseconds per operation; of a cluster also those of gateway, coordinators and volumes.
func (r result) cpuText() string {
	total := fmt.Sprintf("%.0f", r.cpuPerOp*1e6)
	if len(r.byRole) < 2 {
		return total
	}
	return fmt.Sprintf("%s (%.0f, %.0f, %.0f)", total, r.byRole["gateway"]*1e6, r.byRole["coordinator"]*1e6, r.byRole["volume"]*1e6)
}

func sizeName(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
