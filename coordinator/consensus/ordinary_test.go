package consensus

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"minikv/internal/errs"
)

// TestOrdinaryMessagesAreForDebugging: what each start, stop and election brings; causes that an operator has to look after stay loud.
func TestOrdinaryMessagesAreForDebugging(t *testing.T) {
	peer := raft.Server{ID: "1", Address: "a"}
	refused := errs.Wrap("raftnet.Dial", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
	for i, c := range []struct {
		msg  string
		args []any
		loud bool
	}{
		{"heartbeat timeout reached, starting election", []any{"last-leader-addr", raft.ServerAddress(""), "last-leader-id", raft.ServerID("")}, false},
		{"heartbeat timeout reached, starting election", []any{"last-leader-addr", raft.ServerAddress("b"), "last-leader-id", raft.ServerID("2")}, true},
		{"failed to get previous log", []any{"previous-index", 7, "error", raft.ErrLogNotFound}, false},
		{"failed to get previous log", []any{"previous-index", 7, "error", errors.New("disk")}, true},
		{"failed to heartbeat to", []any{"peer", raft.ServerAddress("a"), "error", refused}, false},
		{"failed to appendEntries to", []any{"peer", peer, "error", fmt.Errorf("read: %w", net.ErrClosed)}, false},
		{"failed to make requestVote RPC", []any{"target", peer, "error", errors.New(raft.ErrRaftShutdown.Error())}, false},
		{"failed to make requestVote RPC", []any{"target", peer, "error", os.ErrDeadlineExceeded}, false},
		{"failed to appendEntries to", []any{"peer", peer, "error", errs.E("raftnet", errs.AccessDenied, "the secret is another one")}, true},
		{"failed to commit logs", []any{"error", net.ErrClosed}, true},
		{"failed to contact", []any{"server-id", raft.ServerID("1")}, true},
		{"failed to contact", []any{"server-id", raft.ServerID("down")}, false},
	} {
		core, logs := observer.New(zap.DebugLevel)
		l := newRaftLogger(zap.New(core), false)
		l.noise = newNoise()
		l.noise.setDown("down", true)
		l.Error(c.msg, c.args...)
		want := zapcore.DebugLevel
		if c.loud {
			want = zapcore.ErrorLevel
		}
		if logs.Len() != 1 || logs.All()[0].Level != want {
			t.Errorf("case %d, %s: %v", i, c.msg, logs.All())
		}
	}
}

// TestAPeerThatResetsIsUnreachable: a peer that stops while it is asked, whichever part of its answer had arrived.
func TestAPeerThatResetsIsUnreachable(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn) error{
		"reset": func(c *net.TCPConn) error { return c.SetLinger(0) },
		"reset in its answer": func(c *net.TCPConn) error {
			_, err := c.Write([]byte{0xa0, 0x85})
			return errors.Join(err, c.SetLinger(0))
		},
		"closed in its answer": func(c *net.TCPConn) error {
			_, err := c.Write([]byte{0xa0, 0x85})
			return errors.Join(err, c.CloseWrite())
		},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, err = c.Read(make([]byte, 1))
				err = errors.Join(err, end(c.(*net.TCPConn)), c.Close())
			}
			stopped <- err
		}()
		transport, err := raft.NewTCPTransport("127.0.0.1:0", l.Addr(), 1, time.Minute, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		var answer raft.AppendEntriesResponse
		err = transport.AppendEntries("1", raft.ServerAddress(l.Addr().String()), &raft.AppendEntriesRequest{}, &answer)
		if !unreachable(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err := errors.Join(<-stopped, transport.Close(), l.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTheCauseIsToldOnce, by whoever tells that the peer is down, and what follows from it is not told any more.
func TestTheCauseIsToldOnce(t *testing.T) {
	t.Parallel() // most of it is waiting
	core, logs := observer.New(zap.InfoLevel)
	_, nodes := threeVoters(t)
	id := nodes[1].ID()
	n := &Node{opts: Options{Log: zap.New(core)}, noise: newNoise(), raft: nodes[0].raft}
	l := newRaftLogger(n.opts.Log, false)
	l.noise = n.noise
	down := map[raft.ServerID]time.Time{}
	address := raft.ServerAddress(n.addressOf(id))
	for range 5 {
		l.Error("failed to heartbeat to", "peer", address, "error", errs.E("raftnet.Dial", errs.Unavailable, "connection refused"))
		n.peerSeen(raft.FailedHeartbeatObservation{PeerID: id}, down)
		l.Warn("failed to contact", "server-id", id)
	}
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].ContextMap()["cause"].(string), "connection refused") {
		t.Fatalf("%v", logs.All())
	}
	n.peerSeen(raft.ResumedHeartbeatObservation{PeerID: id}, down)
	l.Warn("failed to contact", "server-id", id)
	if logs.FilterMessage("failed to contact").Len() != 1 {
		t.Fatalf("%v", logs.All())
	}
}
