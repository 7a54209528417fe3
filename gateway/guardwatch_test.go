package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// countedListener counts the reads of its connections.
type countedListener struct {
	net.Listener
	reads *atomic.Int64
}

type countedConn struct {
	net.Conn
	reads *atomic.Int64
}

func (l countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l.reads}, err
}

func (c countedConn) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

// watchedServer serves h behind a guard, and gives a connection to it.
func watchedServer(t *testing.T, h http.HandlerFunc) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveWatched(t, l, h)
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	_ = client.SetDeadline(time.Now().Add(2 * time.Minute))
	return client
}

func serveWatched(t *testing.T, l net.Listener, h http.HandlerFunc) {
	s := &http.Server{Handler: h, ConnContext: ConnContext}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(Guard(l, nil, time.Minute)) }()
	t.Cleanup(func() { _ = s.Close(); <-served })
}

func TestShortRequestsAreNotReadBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which a request takes no time
		l, reads := newPipeListener(), &atomic.Int64{}
		serveWatched(t, countedListener{l, reads}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") })
		client, err := l.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		in := bufio.NewReader(client)
		const requests = 50
		for range requests {
			_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		synctest.Wait()
		if n := reads.Load(); n != requests+1 { // the last waits for the next request
			t.Fatalf("%d reads of the connection for %d requests", n, requests)
		}
	})
}

func TestHangingUpEndsARequestThatLasts(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	client := watchedServer(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		select {
		case <-r.Context().Done():
			ended <- r.Context().Err()
		case <-time.After(time.Minute):
			ended <- nil
		}
	})
	_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
	<-began
	_ = client.Close()
	if err := <-ended; err != context.Canceled {
		t.Fatalf("the request's context says %v", err)
	}
}

// What comes while a request is watched belongs to the next request.
func TestTheWatchKeepsWhatItReads(t *testing.T) {
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprintf("early=%v", early), func(t *testing.T) {
			watching := make(chan struct{})
			client := watchedServer(t, func(w http.ResponseWriter, r *http.Request) {
				if g := r.Context().Value(guardKey{}).(*guard); r.URL.Path == "/first" {
					g.await(func(w *watch) bool { return w.state == watched })
					close(watching)
					if early {
						g.await(func(w *watch) bool { return w.hasEarly })
					}
				}
				_, _ = io.WriteString(w, r.URL.Path)
			})
			in := bufio.NewReader(client)
			ask := func(path string) { _, _ = io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n") }
			answer := func(want string) {
				t.Helper()
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if b, _ := io.ReadAll(resp.Body); string(b) != want {
					t.Fatalf("the answer is %q, not %q", b, want)
				}
			}
			ask("/first")
			<-watching
			if early {
				ask("/second")
				answer("/first")
			} else {
				answer("/first")
				ask("/second")
			}
			answer("/second")
			ask("/third")
			answer("/third")
		})
	}
}

// await waits until the watch is as wanted.
func (g *guard) await(is func(*watch) bool) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		g.watch.mu.Lock()
		ok := is(&g.watch)
		g.watch.mu.Unlock()
		if ok {
			return
		}
	}
}
