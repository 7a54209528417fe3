package meta

import (
	"google.golang.org/protobuf/proto"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// RebaseEpochs is how far a restored cluster's epochs begin ahead of its backup's: further than any volume or gateway can have seen
// meanwhile (seven years of hours), so that they take the restored layout for the newer one and its blobs for new.
const RebaseEpochs = 1 << 16

// Rebase makes the rows of db those of another cluster that begins where this one stood. A backup is the state of then, and what came
// after it is another history: coordinators, requests on their way and shard tables of the old one must never be taken for the
// restored one's. So it has a new id, no sessions, and epochs above all that were ever used. The applied index stays.
func Rebase(db *kv.DB, id []byte) error {
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
	c.Id, c.Epoch = id, c.Epoch+RebaseEpochs
	if err = putRow(b, clusterKey, c); err == nil {
		err = rebaseShards(db, b)
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

func rebaseShards(db *kv.DB, b *kv.Batch) error {
	return scanTable(db, []byte{tableShards}, func(k, v []byte) (bool, error) {
		row := new(metapb.ShardRow)
		if err := decodeRow(v, row); err != nil {
			return false, err
		}
		row.Epoch += RebaseEpochs
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
