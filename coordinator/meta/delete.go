package meta

import (
	"bytes"
	"errors"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// deleteKeysMax bounds the keys of one command, like the S3 API.
const deleteKeysMax = 1000

// deleteObjects deletes each key on its own: one refusal does not touch the others.
func (t *txn) deleteObjects(op *metapb.DeleteObjects, res *metapb.Result) error {
	b, err := t.bucket(op.Bucket)
	if err != nil {
		return err
	}
	if len(op.Keys) > deleteKeysMax {
		return refuse(errs.Invalid, "%d keys; at most %d can be deleted at once", len(op.Keys), deleteKeysMax)
	}
	out := &metapb.DeleteResults{Versioning: b.Versioning, Results: make([]*metapb.DeleteResult, len(op.Keys))}
	for i, k := range op.Keys {
		t.op = uint16(i)
		r, err := t.deleteKey(b, k)
		var no *refusal
		if errors.As(err, &no) {
			r, err = &metapb.DeleteResult{Kind: uint32(no.kind), Message: no.msg, Failed: true}, nil
		}
		if err != nil {
			return err
		}
		out.Results[i] = r
	}
	res.Value = &metapb.Result_Deletes{Deletes: out}
	return nil
}

// deleteKey refuses before it changes anything. A version that is not there is deleted already.
func (t *txn) deleteKey(b *metapb.BucketRow, k *metapb.DeleteKey) (*metapb.DeleteResult, error) {
	if err := checkKey(k.Key); err != nil {
		return nil, err
	}
	cur, err := t.current(b.Id, k.Key)
	if err != nil {
		return nil, err
	}
	if err := checkDelete(k.Conditions, k.Strict, cur); err != nil {
		return nil, err
	}
	mine, err := addresses(k.Version, cur)
	if err != nil || cur == nil || !mine {
		return &metapb.DeleteResult{}, err
	}
	return &metapb.DeleteResult{}, t.unpublish(b, k.Key, cur)
}

// addresses says whether a version id, as the client wrote it, means the row; no id means the current one. A malformed id is
// errs.Invalid.
func addresses(version string, row *metapb.ObjectRow) (bool, error) {
	if version == "" {
		return true, nil
	}
	v, null, err := object.ParseVersion(version)
	if err != nil {
		return false, refuse(errs.Invalid, "%s", errs.Message(err))
	}
	if null {
		return row.GetNullVersion(), nil
	}
	return row != nil && !row.NullVersion && bytes.Equal(v, row.Version), nil
}
