package raftnet

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// plain is Raft's transport without our handshake.
func plain(t *testing.T, log *zap.Logger) *raft.NetworkTransport {
	t.Helper()
	tr, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 1, time.Minute, newLogger(log))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tr.Close()) })
	return tr
}

// reset ends a connection as a process does that ends with bytes unread.
func reset(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.(*net.TCPConn).SetLinger(0))
	require.NoError(t, c.Close())
}

// TestAResetWhileRaftReads ends in Raft's codec, which hides its cause: a vote is asked for again, and the log is silent.
func TestAResetWhileRaftReads(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	answered := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Read(make([]byte, 1))
			answered <- c
		}
	}()
	failed := make(chan error, 1)
	asking := plain(t, zap.NewNop())
	go func() {
		failed <- asking.RequestVote("b", raft.ServerAddress(l.Addr().String()), &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
	}()
	reset(t, <-answered)
	err = <-failed
	require.Error(t, err)
	require.True(t, broken(err), "%v", err)
	require.True(t, ended(err), "%v", err)

	core, logs := observer.New(zap.DebugLevel)
	asked := plain(t, zap.New(core))
	c, err := net.Dial("tcp", string(asked.LocalAddr()))
	require.NoError(t, err)
	_, err = c.Write([]byte{0, 0x88}) // AppendEntries, a map of 8, and nothing of it
	require.NoError(t, err)
	reset(t, c)
	require.Eventually(t, func() bool { return logs.Len() > 0 }, time.Minute, time.Millisecond)
	require.Equal(t, zapcore.DebugLevel, logs.All()[0].Level, "%v", logs.All())
	require.False(t, ended(io.ErrNoProgress))
}
