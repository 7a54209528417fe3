package consensus

import (
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// Raft looks at its last contact with the leader at random times only: one to three election timeouts after the leader has gone silent.
// Followers that look when the timeout is over, one after the other, elect in little more than one; a tie is rare then.
const (
	silenceTicks = 20 // looks in an election timeout
	silenceRank  = 10 // a follower gives each one before it an election timeout over this
)

// watchSilence has Raft look at once when the leader has been silent for the election timeout. Raft decides as ever: it looks at its
// contact itself, and asks the others by pre-vote whether they miss the leader too. The first to ask often hears that the others do not
// miss it yet, and the next may lack entries that the first one has; so candidates ask again after half the time. The election that
// follows has all of it: votes are synced, and a disk may be busy.
func (n *Node) watchSilence() {
	most := n.opts.ElectionTimeout
	t := time.NewTicker(most / silenceTicks)
	defer t.Stop()
	s := silence{timeout: most}
	term := n.raft.CurrentTerm() // that of a candidate who asks; one who was told yes is in a later one
	for {
		select {
		case <-t.C:
		case <-n.stop:
			return
		}
		var err error
		state := n.raft.State()
		if state != raft.Candidate {
			term = n.raft.CurrentTerm()
		}
		switch _, leader := n.raft.LeaderWithID(); {
		case state == raft.Candidate && n.raft.CurrentTerm() == term:
			err = n.setTimeouts(max(most/2, min(leaseTimeout, most)))
		case state == raft.Candidate && n.raft.ReloadableConfig().ElectionTimeout < most:
			err = n.lookNow(most)
		case state == raft.Follower && leader != "" && s.over(n.raft.LastContact(), n.rank):
			err = n.lookNow(most)
		default:
			err = n.setTimeouts(most)
		}
		if err != nil {
			n.opts.Log.Warn("the timeouts of elections were refused", zap.Error(err))
		}
	}
}

// lookNow sets the timeouts and has Raft notice: it does when they become shorter. A follower looks at its last contact, a candidate
// begins its time anew.
func (n *Node) lookNow(d time.Duration) error {
	return errors.Join(n.setTimeouts(d+time.Millisecond), n.setTimeouts(d))
}

func (n *Node) setTimeouts(d time.Duration) error {
	n.reload.Lock()
	defer n.reload.Unlock()
	c := n.raft.ReloadableConfig()
	if c.ElectionTimeout == d && c.HeartbeatTimeout == d {
		return nil
	}
	c.HeartbeatTimeout, c.ElectionTimeout = d, d
	return n.raft.ReloadConfig(c)
}

// silence of one leader, as a follower hears it.
type silence struct {
	timeout time.Duration
	seen    time.Time // the last contact that was too long ago at the last look
}

// over says that two looks in a row found the last contact too long ago: a process that stood still hears what waited for it first.
// It is said once of each contact.
func (s *silence) over(last time.Time, rank func() int) bool {
	if last.IsZero() || time.Since(last) < s.timeout {
		return false
	}
	if s.seen.Equal(last) {
		if time.Since(last) < s.timeout+time.Duration(rank())*s.timeout/silenceRank {
			return false
		}
		s.seen = last.Add(-1) // neither this contact again, nor another one
		return true
	}
	if !s.seen.Equal(last.Add(-1)) {
		s.seen = last
	}
	return false
}

// rank is this node's place among the voters.
func (n *Node) rank() int {
	voters, err := raftView{n.raft}.voters()
	if err != nil {
		return 0
	}
	var ids []raft.ServerID
	for _, v := range voters {
		ids = append(ids, v.ID)
	}
	slices.Sort(ids)
	return max(0, slices.Index(ids, n.id))
}
