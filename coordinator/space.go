package coordinator

import (
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

const (
	ballastName = "BALLAST"
	// spaceEvery bounds how old the knowledge of free space may be.
	spaceEvery = time.Second
)

// space watches the coordinator's file system (I11): it refuses writes before they are proposed, and holds a ballast that is
// given up when space is short, so that deletes and Raft go on.
type space struct {
	cfg *Config

	mu      sync.Mutex // guards all below
	checked time.Time
	short   bool
	ballast bool // the file is there in full
}

func newSpace(cfg *Config) *space {
	s := &space{cfg: cfg}
	s.check()
	return s
}

func (s *space) name() string { return s.cfg.FS.PathJoin(s.cfg.Dir, ballastName) }

// admit refuses commands that need space while it is short.
func (s *space) admit(c *metapb.Command) error {
	if freesSpace(c) {
		return nil
	}
	s.mu.Lock()
	if s.cfg.Clock.Now().Sub(s.checked) >= spaceEvery {
		s.checkLocked()
	}
	short := s.short
	s.mu.Unlock()
	if short {
		return errs.E("coordinator.Propose", errs.StorageFull, "the coordinator's disk is almost full; only deletes are taken")
	}
	return nil
}

func (s *space) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkLocked()
}

// checkLocked compares the free space with the bound. The ballast is rebuilt before writes resume, so there must be room for it
// above the bound.
func (s *space) checkLocked() {
	s.checked = s.cfg.Clock.Now()
	free, total, err := s.cfg.Space()
	if err != nil {
		s.cfg.Log.Warn("the free space is unknown", zap.Error(err))
		return
	}
	need := s.cfg.MinFree(total)
	if free < need {
		if !s.short {
			s.cfg.Log.Error("the coordinator's disk is almost full; writes are refused", zap.Uint64("free", free), zap.Uint64("needed", need))
		}
		s.short = true
		s.release()
		return
	}
	if s.cfg.BallastBytes > 0 && !s.ballast && !s.found() {
		if free < need+uint64(s.cfg.BallastBytes) || s.build() != nil {
			s.short = true
			return
		}
	}
	if s.short {
		s.cfg.Log.Info("the coordinator's disk has room again", zap.Uint64("free", free))
	}
	s.short = false
}

// found looks for the ballast of an earlier process.
func (s *space) found() bool {
	st, err := s.cfg.FS.Stat(s.name())
	s.ballast = err == nil && st.Size() == s.cfg.BallastBytes
	return s.ballast
}

// build makes the ballast.
func (s *space) build() error {
	fs, name := s.cfg.FS, s.name()
	f, err := vfs.OpenFile(fs, name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = vfs.Preallocate(f, s.cfg.BallastBytes)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		fs.Remove(name)
		s.cfg.Log.Warn("the ballast could not be made", zap.Error(err))
		return err
	}
	s.ballast = true
	return nil
}

func (s *space) release() {
	if err := s.cfg.FS.Remove(s.name()); err == nil || vfs.IsNotExist(err) {
		s.ballast = false
	}
}

// freesSpace says whether a command is taken even when space is short: deletes, delete markers, aborts, sessions (deletes need
// them) and internal ones.
func freesSpace(c *metapb.Command) bool {
	switch op := c.Op.(type) {
	case *metapb.Command_DeleteObjects, *metapb.Command_DeleteBucket, *metapb.Command_AbortUpload,
		*metapb.Command_OpenSession, *metapb.Command_RenewSession, *metapb.Command_CreateCluster, *metapb.Command_TickEpoch,
		*metapb.Command_ReleaseParts, *metapb.Command_CollectRuns, *metapb.Command_ClearMissing, *metapb.Command_ReportMissing,
		*metapb.Command_PruneCompleted,
		*metapb.Command_RegisterVolume, *metapb.Command_SetVolumeState, *metapb.Command_JoinShard, *metapb.Command_FlipShard,
		*metapb.Command_CancelJoin, *metapb.Command_ReleaseShard, *metapb.Command_SetRebalance, *metapb.Command_SetReplication,
		*metapb.Command_SetVolumeWeight:
		return true
	case *metapb.Command_Batch:
		for _, o := range op.Batch.GetOps() {
			if o.GetPut() != nil {
				return false
			}
		}
		return true
	}
	return false
}
