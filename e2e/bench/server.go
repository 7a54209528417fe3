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

// server is a process under load: minikv, or one that does nothing.
type server struct {
	url    string
	rest   string // origin of the REST port, which serves profiles
	cmd    *exec.Cmd
	null   bool
	mu     sync.Mutex
	filled map[int]bool // object sizes that are written
}

// query tells the null server how many bytes to answer with.
func (s *server) query(l load) string {
	if s.null && l.op == "GET" {
		return "?n=" + strconv.Itoa(l.size)
	}
	return ""
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// cpuSeconds is user and system time of the process so far. Source: proc(5), /proc/pid/stat fields 14 and 15, in 1/100 s.
func (s *server) cpuSeconds() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	sys, _ := strconv.ParseFloat(f[12], 64)
	return (user + sys) / 100
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
	return &server{url: strings.TrimSpace(line), cmd: cmd, null: true, filled: map[int]bool{}}, nil
}

func startMinikv(ctx context.Context, s settings, data string) (*server, error) {
	s3, rest := freeAddr(), freeAddr()
	args := append([]string{"serve", "--data", data, "--s3", s3, "--rest", rest}, strings.Fields(s.args)...)
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Env = append(os.Environ(), "MINIKV_ROOT_USER="+accessKey, "MINIKV_ROOT_PASSWORD="+secretKey, "MINIKV_DEFAULT_BUCKETS="+bucket)
	log, err := os.Create(data + ".log") // at the default level: the access log is part of what a request costs
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	srv := &server{url: "http://" + s3, rest: "http://" + rest, cmd: cmd, filled: map[int]bool{}}
	for range 2000 {
		resp, err := http.Get("http://" + rest + "/health/ready")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return srv, nil
			}
		}
		time.Sleep(5 * time.Millisecond) // polling a process of ours: there is no event to wait for
	}
	srv.stop()
	return nil, fmt.Errorf("minikv was not ready within 10 s")
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
