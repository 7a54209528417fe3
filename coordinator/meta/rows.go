package meta

import (
	"google.golang.org/protobuf/proto"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
)

// getter is what a row is loaded from: a transaction, a snapshot, a batch.
type getter interface {
	Get(dst, key []byte) (value []byte, found bool, err error)
}

var marshal = proto.MarshalOptions{Deterministic: true}

// load reads the row at key into m.
func load(r getter, key []byte, m proto.Message) (found bool, err error) {
	v, found, err := r.Get(nil, key)
	if err != nil || !found {
		return false, err
	}
	return true, decodeRow(v, m)
}

func decodeRow(v []byte, m proto.Message) error {
	if err := proto.Unmarshal(v, m); err != nil {
		return errs.WrapKind("meta.decodeRow", errs.Corrupt, err)
	}
	return nil
}

// scan calls f for the rows with lower <= key < upper until it says stop.
func scan(r kv.Reader, lower, upper []byte, f func(key, value []byte) (more bool, err error)) (err error) {
	it, err := r.Iter(lower, upper)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		if more, err := f(it.Key(), v); err != nil || !more {
			return err
		}
	}
	return nil
}

// scanTable scans all keys that begin with prefix.
func scanTable(r kv.Reader, prefix []byte, f func(key, value []byte) (more bool, err error)) error {
	return scan(r, prefix, prefixEnd(prefix), f)
}
