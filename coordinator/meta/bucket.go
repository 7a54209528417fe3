package meta

import (
	"bytes"
	"encoding/binary"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

const bucketNameBytesMax = 255 // the name's rules are the gateway's

// bucket finds the bucket that a command was authorized for. Another incarnation of the name is errs.StaleBucket: authorize
// again. The row must not be changed.
func (t *txn) bucket(ref *metapb.BucketRef) (*metapb.BucketRow, error) {
	b, err := t.bucketNamed(ref.GetName())
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, refuse(errs.NoSuchBucket, "there is no bucket %q", ref.GetName())
	}
	if !bytes.Equal(b.Id, ref.GetId()) {
		return nil, refuse(errs.StaleBucket, "bucket %q was created anew", ref.GetName())
	}
	return b, nil
}

// bucketNamed is nil when there is none.
func (t *txn) bucketNamed(name string) (*metapb.BucketRow, error) {
	if b := t.m.buckets[name]; b != nil {
		return b, nil
	}
	b := new(metapb.BucketRow)
	found, err := t.load(bucketKey(name), b)
	if err != nil || !found {
		return nil, err
	}
	if len(t.m.buckets) >= bucketsCachedMax {
		clear(t.m.buckets)
	}
	t.m.buckets[name] = b
	return b, nil
}

// createBucket makes a bucket whose id is its commit index and command number: never that of another incarnation.
func (t *txn) createBucket(op *metapb.CreateBucket, res *metapb.Result) error {
	if op.Name == "" || len(op.Name) > bucketNameBytesMax {
		return refuse(errs.Invalid, "a bucket name has 1 to %d bytes", bucketNameBytesMax)
	}
	old, err := t.bucketNamed(op.Name)
	if err != nil {
		return err
	}
	if old != nil {
		if old.Owner == op.Owner {
			return refuse(errs.BucketOwned, "you own bucket %q already", op.Name)
		}
		return refuse(errs.BucketExists, "bucket %q is another's", op.Name)
	}
	b := &metapb.BucketRow{
		Id: bucketID(t.index, t.number), Name: op.Name, Owner: op.Owner, CreatedMs: t.c.TimeMs, Region: op.Region,
		System: op.System, Ownership: op.Ownership,
	}
	t.buckets = append(t.buckets, op.Name)
	t.stats.buckets++
	res.Value = &metapb.Result_Bucket{Bucket: b}
	return t.store(bucketKey(op.Name), b)
}

// bucketID:
//
//	0              6         8
//	| commit index | command |
func bucketID(index uint64, command uint16) []byte {
	return binary.BigEndian.AppendUint64(nil, index<<16|uint64(command))
}

// deleteBucket removes an empty bucket. Open uploads do not keep it: nobody can address them any more, and the queue aborts
// them in bounded commands (M6).
func (t *txn) deleteBucket(op *metapb.DeleteBucket) error {
	b, err := t.bucket(op.Bucket)
	if err != nil {
		return err
	}
	if b.System {
		return refuse(errs.InvalidRequest, "bucket %q is bound to the native API", b.Name)
	}
	for _, table := range []byte{tableObjects, tableVersions} {
		if some, err := t.any(tableKey(table, b.Id)); err != nil {
			return err
		} else if some {
			return refuse(errs.BucketNotEmpty, "bucket %q is not empty", b.Name)
		}
	}
	uploads, err := t.any(tableKey(tableUploads, b.Id))
	if err != nil {
		return err
	}
	if uploads {
		if err := t.enqueue(&metapb.QueueRow{BucketId: b.Id}); err != nil {
			return err
		}
	}
	t.buckets = append(t.buckets, b.Name)
	t.stats.buckets--
	t.remove(bucketKey(b.Name))
	return nil
}

// any says whether a row begins with prefix. It does not see changes of this transaction.
func (t *txn) any(prefix []byte) (some bool, err error) {
	err = scanTable(t.b, prefix, func(_, _ []byte) (bool, error) {
		some = true
		return false, nil
	})
	return some, err
}

func checkKey(key string) error {
	if key == "" || len(key) > object.KeyBytesMax {
		return refuse(errs.Invalid, "a key has 1 to %d bytes", object.KeyBytesMax)
	}
	return nil
}
