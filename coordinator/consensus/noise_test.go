package consensus

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestRepeatedMessagesAreLeftOut, of the same peer; another one's, and the first after it was back, are news.
func TestRepeatedMessagesAreLeftOut(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	now := time.Unix(1000, 0)
	quiet := newNoise()
	quiet.now = func() time.Time { return now }
	l := newRaftLogger(zap.New(core), false)
	l.noise = quiet
	for range 100 {
		l.Error("failed to heartbeat to", "peer", raft.ServerAddress("a"), "error", "refused")
		l.Error("failed to appendEntries to", "peer", raft.Server{ID: "1", Address: "a"})
		l.Error("failed to heartbeat to", "peer", raft.ServerAddress("b"))
	}
	if logs.Len() != 3 {
		t.Fatalf("%d messages", logs.Len())
	}
	now = now.Add(noiseEvery)
	l.Error("failed to heartbeat to", "peer", raft.ServerAddress("a"))
	last := logs.All()[3]
	if last.ContextMap()["left_out"] != int64(99) {
		t.Fatalf("%v", last.ContextMap())
	}
	quiet.again("a")
	l.Error("failed to heartbeat to", "peer", raft.ServerAddress("a"))
	l.Error("failed to heartbeat to", "peer", raft.ServerAddress("a"))
	if logs.Len() != 5 {
		t.Fatalf("%d messages after it was back", logs.Len())
	}
}

// TestAPeerThatIsDownIsToldOnce, and once when it is back.
func TestAPeerThatIsDownIsToldOnce(t *testing.T) {
	t.Parallel() // most of it is waiting
	core, logs := observer.New(zap.InfoLevel)
	_, nodes := threeVoters(t)
	id := nodes[1].ID()
	n := &Node{opts: Options{Log: zap.New(core)}, noise: newNoise(), raft: nodes[0].raft}
	down := map[raft.ServerID]time.Time{}
	for range 2 {
		for range 10 {
			n.peerSeen(raft.FailedHeartbeatObservation{PeerID: id, LastContact: time.Now()}, down)
		}
		n.peerSeen(raft.ResumedHeartbeatObservation{PeerID: id}, down)
		n.peerSeen(raft.ResumedHeartbeatObservation{PeerID: id}, down)
	}
	if got := logs.FilterMessage("a coordinator does not answer").Len(); got != 2 {
		t.Fatalf("told %d times", got)
	}
	if got := logs.FilterMessage("a coordinator answers again").Len(); got != 2 {
		t.Fatalf("told %d times that it is back", got)
	}
}
