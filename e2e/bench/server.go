package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"minikv/sigv4"
)

// server is what is under load: a process of minikv, several that are a cluster, or one that does nothing.
type server struct {
	processes []process

	url    string
	rest   string // origin of the REST port, which serves profiles
	null   bool
	mu     sync.Mutex
	filled map[int]bool // object sizes that are written
}

// process is one of a server's; role and rest are empty for the only one.
type process struct {
	cmd              *exec.Cmd
	role, name, rest string
}

// query tells the null server how many bytes to answer with.
func (s *server) query(l load) string {
	if s.null && l.op == "GET" {
		return "?n=" + strconv.Itoa(l.size)
	}
	return ""
}

func (s *server) stop() {
	for _, p := range s.processes {
		_ = p.cmd.Process.Kill()
	}
	for _, p := range s.processes {
		_ = p.cmd.Wait()
	}
}

// cpu is CPU time in seconds by role; of a single process under "".
type cpu map[string]float64

func (c cpu) total() (sum float64) {
	for _, x := range c {
		sum += x
	}
	return sum
}

// cpuSeconds is user and system time of the processes so far. Source: proc(5), /proc/pid/stat fields 14 and 15, in 1/100 s.
func (s *server) cpuSeconds() cpu {
	out := cpu{}
	for _, p := range s.processes {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		user, _ := strconv.ParseFloat(f[11], 64)
		sys, _ := strconv.ParseFloat(f[12], 64)
		out[p.role] += (user + sys) / 100
	}
	return out
}

func startServer(ctx context.Context, bin string, args ...string) (*server, error) {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, err
	}
	return &server{url: strings.TrimSpace(line), processes: []process{{cmd: cmd}}, null: true, filled: map[int]bool{}}, nil
}

func startMinikv(ctx context.Context, s settings, data string) (*server, error) {
	s3, rest := freeAddr(), freeAddr()
	args := append([]string{"serve", "--data", data, "--s3", s3, "--rest", rest}, strings.Fields(s.args)...)
	env := append(os.Environ(), "MINIKV_ROOT_USER="+accessKey, "MINIKV_ROOT_PASSWORD="+secretKey, "MINIKV_DEFAULT_BUCKETS="+bucket)
	cmd, err := spawn(ctx, s.bin, args, env, data+".log")
	if err != nil {
		return nil, err
	}
	srv := &server{url: "http://" + s3, rest: "http://" + rest, processes: []process{{cmd: cmd}}, filled: map[int]bool{}}
	if err := srv.awaitReady(ctx); err != nil {
		srv.stop()
		return nil, err
	}
	return srv, nil
}

// readyWithin bounds the start; a cluster's processes find each other first.
const readyWithin = 30 * time.Second

func (s *server) awaitReady(ctx context.Context) error {
	for begin := time.Now(); time.Since(begin) < readyWithin && ctx.Err() == nil; {
		resp, err := http.Get(s.rest + "/health/ready")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(5 * time.Millisecond) // polling processes of ours: there is no event to wait for
	}
	return fmt.Errorf("minikv was not ready within %v", readyWithin)
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// nullServer answers everything at once: PUT after reading the body, GET with n bytes. What it costs is HTTP and the client.
func nullServer(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("http://%s\n", l.Addr())
	block := make([]byte, 1<<20)
	bufs := sync.Pool{New: func() any { return new([64 << 10]byte) }}
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			buf := bufs.Get().(*[64 << 10]byte)
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, buf[:])
			bufs.Put(buf)
			w.Header().Set("Content-Length", "0")
			return
		}
		q, _ := sigv4.ParseQuery(r.URL.RawQuery)
		n := 0
		for _, p := range q {
			if p.Name == "n" {
				n, _ = strconv.Atoi(p.Value)
			}
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		for n > 0 && r.Method == http.MethodGet {
			m, err := w.Write(block[:min(n, len(block))])
			if err != nil {
				return
			}
			n -= m
		}
	}))
}
