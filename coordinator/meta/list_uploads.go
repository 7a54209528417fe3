package meta

import (
	"bytes"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// listUploads reads a page of open uploads, by key and then initiation, in one scan that seeks past each common prefix.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
func (v *view) listUploads(q *metapb.ListUploadsQuery) (*metapb.ListUploadsAnswer, error) {
	b, err := v.bucket(q.Bucket)
	if err != nil {
		return nil, err
	}
	r := &metapb.ListUploadsAnswer{Bucket: b}
	lower, upper, err := uploadBounds(b.Id, q)
	if err != nil || q.Limit == 0 || !less(lower, upper) {
		return r, err
	}
	it, err := v.s.Iter(lower, upper)
	if err != nil {
		return nil, err
	}
	err = uploadPage(it, b.Id, q, r)
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return r, err
}

func uploadBounds(bucket []byte, q *metapb.ListUploadsQuery) (lower, upper []byte, err error) {
	table := tableKey(tableUploads, bucket)
	lower = appendEscapedOpen(bytes.Clone(table), q.Prefix)
	upper = prefixEnd(lower)
	if q.KeyMarker == "" {
		return lower, upper, nil
	}
	var after []byte
	switch cp := commonPrefix([]byte(q.KeyMarker), q.Prefix, q.Delimiter); {
	case cp != nil:
		after = prefixEnd(appendEscapedOpen(bytes.Clone(table), string(cp)))
	case len(q.UploadIdMarker) > 0:
		if len(q.UploadIdMarker) != idLen {
			return nil, nil, refuse(errs.Invalid, "an upload id has %d bytes", idLen)
		}
		after = append(uploadKey(bucket, q.KeyMarker, q.UploadIdMarker), 0)
	default:
		after = prefixEnd(uploadKey(bucket, q.KeyMarker, nil))
	}
	if less(lower, after) {
		lower = after
	}
	return lower, upper, nil
}

func uploadPage(it *kv.Iter, bucket []byte, q *metapb.ListUploadsQuery, r *metapb.ListUploadsAnswer) error {
	limit := int(min(q.Limit, listLimitMax))
	table := tableKey(tableUploads, bucket)
	ok := it.First()
	for ok {
		if len(r.Entries) == limit {
			r.Truncated = true
			return nil
		}
		key, _, err := cutEscaped(it.Key()[len(table):])
		if err != nil {
			return err
		}
		if cp := commonPrefix([]byte(key), q.Prefix, q.Delimiter); cp != nil {
			r.Entries = append(r.Entries, &metapb.UploadEntry{CommonPrefix: string(cp)})
			past := prefixEnd(appendEscapedOpen(bytes.Clone(table), string(cp)))
			ok = past != nil && it.SeekGE(past)
			continue
		}
		v, err := it.Value()
		if err != nil {
			return err
		}
		e := &metapb.UploadEntry{Upload: new(metapb.UploadRow)}
		if err := decodeRow(v, e.Upload); err != nil {
			return err
		}
		r.Entries = append(r.Entries, e)
		ok = it.Next()
	}
	return it.Err()
}
