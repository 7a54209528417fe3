package consensus

import (
	"fmt"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"minikv/internal/errs"
)

// recover brings the state up to the newest snapshot (C4) and checks that the log continues from there.
func (n *Node) recover() error {
	const op = "consensus.recover"
	newest, err := n.restoreNewest()
	if err != nil {
		return err
	}
	if err := n.log.dropBelow(newest); err != nil {
		return err
	}
	first, err := n.log.FirstIndex()
	if err != nil {
		return err
	}
	at, err := n.state.covered()
	if err != nil {
		return err
	}
	if first > newest+1 {
		return errs.E(op, errs.Corrupt, "the Raft log begins at entry %d, the newest snapshot ends at %d", first, newest)
	}
	if first == 0 && newest == 0 && at > 0 {
		return errs.E(op, errs.Corrupt, "the state stands at entry %d, but the Raft log is gone", at)
	}
	return nil
}

// restoreNewest restores the newest snapshot if the state is behind it, and gives its index. Snapshots that can't be restored
// are set aside; Raft then takes the next older one for its own, so the log must reach back to that.
func (n *Node) restoreNewest() (uint64, error) {
	const op = "consensus.recover"
	at, err := n.state.covered()
	if err != nil {
		return 0, errs.Wrap(op, err)
	}
	ids, err := n.snaps.ids()
	if err != nil {
		return 0, errs.Wrap(op, err)
	}
	var cause error
	for _, id := range ids {
		m, err := n.snaps.readMeta(id)
		if err == nil {
			if at >= m.Index {
				return m.Index, nil
			}
			if err = n.restoreOne(m); err == nil {
				return m.Index, nil
			}
		}
		cause = err
		n.opts.Log.Error("a snapshot can't be used", zap.String("id", id), zap.Error(err))
		if err := n.snaps.setAside(id); err != nil {
			return 0, errs.Wrap(op, err)
		}
	}
	if cause != nil {
		return 0, errs.Wrap(op, fmt.Errorf("no usable snapshot, and the state at entry %d is behind: %w", at, cause))
	}
	return 0, nil
}

func (n *Node) restoreOne(m *raft.SnapshotMeta) error {
	_, r, err := n.snaps.Open(m.ID)
	if err != nil {
		return err
	}
	defer r.Close()
	return n.state.restore(r, m.Index)
}

var keyCurrentTerm = []byte("CurrentTerm") // as raft names it

// bootstrap makes this node the only voter, once.
func (n *Node) bootstrap(conf *raft.Config, trans raft.Transport) error {
	if err := n.forgetUnusedTerm(); err != nil {
		return err
	}
	used, err := raft.HasExistingState(n.log, n.log, n.snaps)
	if err != nil || used {
		return err
	}
	return raft.BootstrapCluster(conf, n.log, n.log, n.snaps, trans, raft.Configuration{
		Servers: []raft.Server{{Suffrage: raft.Voter, ID: n.id, Address: trans.LocalAddr()}},
	})
}

// forgetUnusedTerm undoes the first half of a bootstrap: Raft stores term 1 before the entry that names the voters, and a crash in
// between leaves a folder that Raft takes for a used one, though nothing ever happened in it.
func (n *Node) forgetUnusedTerm() error {
	last, err := n.log.LastIndex()
	if err != nil || last > 0 || n.newestSnapshot() > 0 {
		return err
	}
	if at, err := n.state.covered(); err != nil || at > 0 {
		return err
	}
	if term, err := n.log.GetUint64(keyCurrentTerm); err != nil || term != 1 {
		return err
	}
	return n.log.SetUint64(keyCurrentTerm, 0)
}
