package consensus

import (
	"context"
	"io"
	"strings"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"minikv/coordinator/kv"
	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

// A backup is a checkpoint of the state at one index, streamed from a folder of its own that is removed afterwards.
const backupDir = "backup" + tmpSuffix

// A restored folder has this sealed file until its only member is known under the address of the transport it is opened with.
const (
	restoredMagic = "mkvrest\x01"
	restoredName  = "RESTORED"
)

// Checkpointed is what a checkpoint holds.
type Checkpointed struct {
	Index, Term uint64
	Layout      *metapb.Layout
	Stats       *metapb.StatsAnswer
}

// Backup gives f a checkpoint that holds everything acknowledged before the call, as a tar stream; writes go on meanwhile. Only the
// leader can: errs.NotLeader, errs.Unavailable. errs.Conflict: one is being made.
func (n *Node) Backup(ctx context.Context, f func(at Checkpointed, tar io.Reader) error) error {
	const op = "consensus.Backup"
	if !n.backing.TryLock() {
		return errs.E(op, errs.Conflict, "another backup is being made; wait for it")
	}
	defer n.backing.Unlock()
	if err := n.reads.confirm(ctx); err != nil {
		return errs.Wrap(op, err)
	}
	fs := n.opts.FS
	dir := fs.PathJoin(n.opts.Dir, backupDir)
	if err := fs.RemoveAll(dir); err != nil {
		return errs.Wrap(op, err)
	}
	defer fs.RemoveAll(dir) // what is left goes with the next one or at the next start
	if err := n.state.checkpoint(dir); err != nil {
		return errs.Wrap(op, err)
	}
	at, err := inspect(fs, dir, n.opts.KV, nil)
	if err != nil {
		return errs.Wrap(op, err)
	}
	tar, err := tarDir(fs, dir)
	if err != nil {
		return errs.Wrap(op, err)
	}
	defer tar.Close()
	return f(at, tar)
}

// checkpoint makes dir a copy of the state of now.
func (s *state) checkpoint(dir string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return errs.E("consensus.checkpoint", errs.Unavailable, "closed")
	}
	return s.db.Checkpoint(dir)
}

// inspect opens a store that no one else has open, lets change have it, if not nil, and says what it holds.
func inspect(fs vfs.FS, dir string, o kv.Options, change func(*kv.DB) error) (at Checkpointed, err error) {
	db, err := kv.Open(markerFS{fs}, dir, o)
	if err != nil {
		return at, err
	}
	defer func() {
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}()
	if change != nil {
		if err := change(db); err != nil {
			return at, err
		}
		if err := db.Flush(); err != nil {
			return at, err
		}
	}
	if at.Index, at.Term, err = db.Applied(); err != nil {
		return at, err
	}
	m, err := meta.New(db)
	if err != nil {
		return at, err
	}
	a, err := m.Read(&metapb.Query{Q: &metapb.Query_Layout{Layout: &metapb.LayoutQuery{}}})
	if err != nil {
		return at, err
	}
	at.Layout = a.GetLayout()
	a, err = m.Read(&metapb.Query{Q: &metapb.Query_Stats{Stats: &metapb.StatsQuery{}}})
	at.Stats = a.GetStats()
	return at, err
}

// Restore makes dir, which must not exist, the folder of a coordinator that is alone in a new group and stands where the tar stream
// of a backup does. change may change the rows. All of it is there at the end, or nothing.
func Restore(fs vfs.FS, dir string, tar io.Reader, o kv.Options, change func(*kv.DB) error) (at Checkpointed, err error) {
	const op = "consensus.Restore"
	if _, err := fs.Stat(dir); !vfs.IsNotExist(err) {
		return at, errs.E(op, errs.Conflict, "%s is there already; a backup is restored where there is no coordinator", dir)
	}
	tmp := dir + tmpSuffix
	if err := fs.RemoveAll(tmp); err != nil {
		return at, errs.Wrap(op, err)
	}
	if at, err = restoreInto(fs, tmp, tar, o, change); err != nil {
		fs.RemoveAll(tmp)
		return at, errs.Wrap(op, err)
	}
	if err := fs.Rename(tmp, dir); err != nil {
		return at, errs.Wrap(op, err)
	}
	return at, errs.Wrap(op, vfs.SyncDir(fs, fs.PathDir(dir)))
}

func restoreInto(fs vfs.FS, dir string, tar io.Reader, o kv.Options, change func(*kv.DB) error) (at Checkpointed, err error) {
	id, err := openIncarnation(fs, dir)
	if err != nil {
		return at, err
	}
	in := fs.PathJoin(dir, backupDir)
	if err := readTar(fs, in, tar); err != nil {
		return at, err
	}
	at, err = inspect(fs, in, o, func(db *kv.DB) error {
		if change != nil {
			if err := change(db); err != nil {
				return err
			}
		}
		return forgetSnapshot(db)
	})
	if err != nil {
		return at, err
	}
	if at.Index == 0 {
		return at, errs.E("consensus.Restore", errs.Corrupt, "the backup holds nothing")
	}
	snaps, err := openSnapshots(fs, fs.PathJoin(dir, snapshotDir))
	if err != nil {
		return at, err
	}
	if err := restoredSnapshot(snaps, in, o, at, raft.Server{Suffrage: raft.Voter, ID: id, Address: raft.ServerAddress(id)}); err != nil {
		return at, err
	}
	if err := fs.RemoveAll(in); err != nil {
		return at, err
	}
	if err := restoredTerm(fs, fs.PathJoin(dir, logDir), at.Term); err != nil {
		return at, err
	}
	return at, writeSealed(fs, fs.PathJoin(dir, restoredName), restoredMagic, nil)
}

// forgetSnapshot takes out which snapshot the rows cover, of the group that the backup was made in. That may be above the last entry that
// changed a row, where the new group's log begins: its first entries would be taken for known ones.
func forgetSnapshot(db *kv.DB) error {
	b := db.NewBatch()
	if err := b.SetLocal(snapshotRow, nil); err != nil {
		b.Close()
		return err
	}
	return b.Commit()
}

// restoredSnapshot makes the store in dir the first snapshot of a group of one.
func restoredSnapshot(snaps *snapshotStore, dir string, o kv.Options, at Checkpointed, self raft.Server) error {
	db, err := kv.Open(markerFS{snaps.fs}, dir, o)
	if err != nil {
		return err
	}
	sk, err := snaps.Create(1, at.Index, at.Term, raft.Configuration{Servers: []raft.Server{self}}, at.Index, nil)
	if err == nil {
		k := sk.(*sink)
		if err = k.checkpoint(db.Checkpoint); err == nil {
			err = k.Close()
		} else {
			k.Cancel()
		}
	}
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	return err
}

// restoredTerm makes a log that is empty and in a term, so that nothing that follows has a lower one.
func restoredTerm(fs vfs.FS, dir string, term uint64) error {
	var failed error
	log, err := openLog(logOptions{
		fs: fs, dir: dir, logger: newRaftLogger(zap.NewNop(), true), fatal: func(err error) { failed = err },
		segmentBytes: walSegmentBytes, cacheBytes: logCacheBytesMax, hangMax: appendHangMax,
	})
	if err != nil {
		return err
	}
	err = log.SetUint64(keyCurrentTerm, term)
	if cerr := log.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = failed
	}
	return err
}

// rehome gives the only member of a restored group the address that it has now. Without the file it does nothing; a crash in
// between is repeated.
func (n *Node) rehome(addr raft.ServerAddress) error {
	const op = "consensus.rehome"
	name := n.opts.FS.PathJoin(n.opts.Dir, restoredName)
	if _, err := readSealed(n.opts.FS, name, restoredMagic); vfs.IsNotExist(err) {
		return nil
	} else if err != nil {
		return errs.Wrap(op, err)
	}
	last, err := n.log.LastIndex()
	if err != nil {
		return errs.Wrap(op, err)
	}
	ids, err := n.snaps.ids()
	if err != nil {
		return errs.Wrap(op, err)
	}
	if last == 0 && len(ids) == 1 { // else Raft has begun, and the file is what a crash left
		server := raft.Server{Suffrage: raft.Voter, ID: n.id, Address: addr}
		if err := n.snaps.setMembers(ids[0], server); err != nil {
			return errs.Wrap(op, err)
		}
	}
	if err := n.opts.FS.Remove(name); err != nil {
		return errs.Wrap(op, err)
	}
	return errs.Wrap(op, vfs.SyncDir(n.opts.FS, n.opts.Dir))
}

// removeBackup removes what a crash left of a backup.
func (n *Node) removeBackup() error {
	names, err := n.opts.FS.List(n.opts.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, backupDir) {
			return n.opts.FS.RemoveAll(n.opts.FS.PathJoin(n.opts.Dir, name))
		}
	}
	return nil
}
