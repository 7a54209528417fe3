package meta

import (
	"google.golang.org/protobuf/proto"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// RebaseEpochs is how far, at least, a restored cluster's epochs begin ahead of its backup's: further than any volume or gateway can have
// seen meanwhile (seven years of hours), so that they take the restored layout for the newer one and its blobs for new.
const RebaseEpochs = 1 << 16

// rebaseMax bounds what the clock may say: an index has 32 bits for an epoch.
const rebaseMax = 1 << 30

// firstEpoch is where a restored cluster begins. The same backup, or an older one, may have been restored before, and the volumes have seen
// that cluster's epochs, which began no lower than the minutes since 1970 at that time, and tick each hour. So this one begins no lower
// than the minutes by now. A clock that is wrong leaves RebaseEpochs.
func firstEpoch(backup uint64, minutes int64) uint64 {
	if minutes > 0 && minutes < rebaseMax {
		return max(backup+RebaseEpochs, uint64(minutes))
	}
	return backup + RebaseEpochs
}

// Rebase makes the rows of db those of another cluster that begins where this one stood. A backup is the state of then, and what came
// after it is another history: coordinators, requests on their way and shard tables of the old one must never be taken for the
// restored one's. So it has a new id, no sessions, and epochs above all that were ever used. The applied index stays. minutes are those
// since 1970, now.
func Rebase(db *kv.DB, id []byte, minutes int64) error {
	const op = "meta.Rebase"
	c := new(metapb.ClusterRow)
	found, err := load(db, clusterKey, c)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if !found || len(id) != idLen {
		return errs.E(op, errs.Invalid, "there is no cluster in it")
	}
	b := db.NewBatch()
	ahead := firstEpoch(c.Epoch, minutes) - c.Epoch
	c.Id, c.Epoch = id, c.Epoch+ahead
	if err = putRow(b, clusterKey, c); err == nil {
		err = rebaseShards(db, b, ahead)
	}
	for _, table := range []byte{tableSessions, tableResults} {
		if err == nil {
			err = b.DeleteRange([]byte{table}, prefixEnd([]byte{table}))
		}
	}
	if err == nil {
		err = forgetSessions(db, b)
	}
	if err != nil {
		b.Close()
		return errs.Wrap(op, err)
	}
	return errs.Wrap(op, b.Commit())
}

func rebaseShards(db *kv.DB, b *kv.Batch, ahead uint64) error {
	return scanTable(db, []byte{tableShards}, func(k, v []byte) (bool, error) {
		row := new(metapb.ShardRow)
		if err := decodeRow(v, row); err != nil {
			return false, err
		}
		row.Epoch += ahead
		return true, putRow(b, append([]byte(nil), k...), row)
	})
}

// forgetSessions keeps the count of sessions right.
func forgetSessions(db *kv.DB, b *kv.Batch) error {
	stats := new(metapb.StatsAnswer)
	if found, err := load(db, statsKey, stats); err != nil || !found {
		return err
	}
	stats.Sessions = 0
	return putRow(b, statsKey, stats)
}

func putRow(b *kv.Batch, key []byte, m proto.Message) error {
	v, err := marshal.Marshal(m)
	if err != nil {
		return err
	}
	return b.Set(key, v)
}
