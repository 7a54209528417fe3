package raftnet

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"minikv/internal/errs"
	"minikv/internal/rpc"
	"minikv/internal/rpc/secure"
)

// Sizes and times of the transport.
const (
	poolMax    = 3
	rpcTimeout = 10 * time.Second // of one request; a snapshot gets as much for every 256 KiB
)

// Config of a Transport. Security and Incarnation must be set.
type Config struct {
	Security    *secure.Config
	Incarnation raft.ServerID // ours, the id in Raft
	Advertise   string        // host:port that others are told; empty: the listener's
	// Resolve turns an address of Raft's configuration into one to dial; nil: as it is.
	Resolve func(addr string) string
	Log     *zap.Logger
	Timeout time.Duration // of one request; 0: 10 s
}

// Transport is Raft's, between coordinators. It embeds the pointer, so that pre-vote and whatever else is optional survives.
type Transport struct {
	*raft.NetworkTransport
	layer *layer
}

var (
	_ raft.Transport   = (*Transport)(nil)
	_ raft.WithPreVote = (*Transport)(nil)
	_ raft.WithClose   = (*Transport)(nil)
)

// New takes over l, which is closed with the transport. errs.Invalid: the configuration would not protect the port.
func New(l net.Listener, cfg Config) (*Transport, error) {
	const op = "raftnet.New"
	if cfg.Security == nil || cfg.Incarnation == "" {
		return nil, errs.E(op, errs.Invalid, "no security or no incarnation")
	}
	if err := cfg.Security.Check(); err != nil {
		return nil, errs.Wrap(op, err)
	}
	if err := cfg.Security.CheckListener(l.Addr()); err != nil {
		return nil, errs.Wrap(op, err)
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = rpcTimeout
	}
	s := newLayer(l, cfg)
	n := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s, MaxPool: poolMax, Timeout: cfg.Timeout, MsgpackUseNewTimeFormat: true, Logger: newLogger(cfg.Log),
	})
	return &Transport{NetworkTransport: n, layer: s}, nil
}

// SetHeartbeatHandler ignores the fast path: it runs beside Raft's main loop and races with a change of term there (N3).
func (*Transport) SetHeartbeatHandler(func(raft.RPC)) {}

// Close ends all connections and waits for the goroutines of the port.
func (t *Transport) Close() error {
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	if err2 := t.layer.Close(); err == nil {
		err = err2
	}
	return err
}

// The calls below name the incarnation that is meant (N2); the address alone does not, and connections are pooled by it.

// AppendEntriesPipeline is raft.Transport's.
func (t *Transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	return t.NetworkTransport.AppendEntriesPipeline(id, meant(id, target))
}

// AppendEntries is raft.Transport's.
func (t *Transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return t.NetworkTransport.AppendEntries(id, meant(id, target), args, resp)
}

// RequestVote is raft.Transport's.
func (t *Transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return whole(func() error {
		*resp = raft.RequestVoteResponse{}
		return t.NetworkTransport.RequestVote(id, meant(id, target), args, resp)
	})
}

// RequestPreVote is raft.WithPreVote's.
func (t *Transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return whole(func() error {
		*resp = raft.RequestPreVoteResponse{}
		return t.NetworkTransport.RequestPreVote(id, meant(id, target), args, resp)
	})
}

// whole asks for a vote until it meets a connection that is whole: those to a coordinator that was restarted since stay in the pool
// until they are used, and an election that fails for each of them waits one to two election timeouts. A vote may be asked for again.
func whole(ask func() error) error {
	for range poolMax {
		if err := ask(); err == nil || !broken(err) {
			return err
		}
	}
	return ask()
}

func broken(err error) bool {
	err = errs.Uncoded(err)
	for _, x := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, x) {
			return true
		}
	}
	return false
}

// InstallSnapshot is raft.Transport's.
func (t *Transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.NetworkTransport.InstallSnapshot(id, meant(id, target), args, resp, data)
}

// TimeoutNow is raft.Transport's.
func (t *Transport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.NetworkTransport.TimeoutNow(id, meant(id, target), args, resp)
}

// Confirmer asks other coordinators over RPC whether a term is still theirs; consensus reads wait for it.
type Confirmer struct {
	Client *rpc.CoordinatorClient
	// Address is where the server's RPC is, given its entry in Raft's configuration, whose address is Raft's port.
	Address func(raft.Server) (string, error)
}

// Confirm returns nil when the server is of the incarnation that its id names and its current term is term.
func (c Confirmer) Confirm(ctx context.Context, server raft.Server, term uint64) error {
	addr, err := c.Address(server)
	if err != nil {
		return errs.Wrap("raftnet.Confirm", err)
	}
	return c.Client.Confirm(ctx, addr, string(server.ID), term)
}

// newLogger gives what raft's transport says to zap, warnings and errors only.
func newLogger(z *zap.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft-net", Output: io.Discard, Level: hclog.Warn})
	l.RegisterSink(sink{z})
	return l
}

type sink struct{ z *zap.Logger }

// Accept is hclog.SinkAdapter's.
func (s sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	if level < hclog.Warn {
		return
	}
	var fields []zap.Field
	to := zapcore.WarnLevel
	for i := 0; i+1 < len(args); i += 2 {
		if k, ok := args[i].(string); ok {
			fields = append(fields, zap.Any(k, args[i+1]))
		}
		if err, ok := args[i+1].(error); ok && ended(err) {
			to = zapcore.DebugLevel
		}
	}
	s.z.Log(to, "raft-net: "+msg, fields...)
}

// ended says that a connection was closed by either side, as it is whenever a coordinator stops or is killed; whoever needs the other one
// tells that it is gone.
func ended(err error) bool {
	err = errs.Uncoded(err)
	return errors.Is(err, net.ErrClosed) || errors.Is(err, raft.ErrTransportShutdown) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
