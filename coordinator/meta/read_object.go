package meta

import (
	"encoding/binary"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

func (v *view) getObject(q *metapb.GetObjectQuery) (*metapb.GetObjectAnswer, error) {
	b, err := v.bucket(q.Bucket)
	if err != nil {
		return nil, err
	}
	r := &metapb.GetObjectAnswer{Bucket: b}
	r.Row, err = v.version(b, q.Key, q.Version)
	if err != nil || r.Row == nil || !q.WantParts || len(r.Row.BodyId) == 0 {
		return r, err
	}
	from := q.PartNumber
	if from == 0 {
		offset := q.Offset
		if q.OffsetFromEnd {
			offset = r.Row.Size - min(q.Offset, r.Row.Size)
		}
		if from, err = partAt(v.s, r.Row.BodyId, offset); err != nil {
			return nil, err
		}
	}
	r.Parts, r.MoreParts, err = partsFrom(v.s, r.Row.BodyId, from, q.PartsLimit)
	return r, err
}

// version finds a version of a key among current and other ones; nil when there is none.
func (v *view) version(b *metapb.BucketRow, key, version string) (*metapb.ObjectRow, error) {
	row, err := findObject(v.s, b, key, version)
	if row != nil || err != nil || version == "" {
		return row, err
	}
	id, null, err := object.ParseVersion(version)
	if err != nil || null {
		return nil, err
	}
	row = new(metapb.ObjectRow)
	found, err := load(v.s, versionKey(b.Id, key, id), row)
	if !found {
		return nil, err
	}
	return row, err
}

// partAt is the number of the part of a complete body that holds the byte at offset: of those that begin at or before it, the
// last. Offsets ascend with numbers, so that some 14 seeks find it among 10,000.
func partAt(r kv.Reader, body []byte, offset uint64) (number uint32, err error) {
	prefix := tableKey(tableParts, body)
	it, err := r.Iter(prefix, prefixEnd(prefix))
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	p := new(metapb.PartRow)
	for lo, hi := uint32(1), uint32(object.PartsMax); lo <= hi; {
		mid := lo + (hi-lo)/2
		if !it.SeekGE(partKey(body, mid)) {
			hi = mid - 1
			continue
		}
		v, err := it.Value()
		if err != nil {
			return 0, err
		}
		p.Reset()
		if err := decodeRow(v, p); err != nil {
			return 0, err
		}
		if p.Offset > offset {
			hi = mid - 1
			continue
		}
		number, lo = p.Number, p.Number+1
	}
	return number, it.Err()
}

// partsFrom are the parts from a number on: at most limit of them, and few enough that their slices stay bounded.
func partsFrom(r kv.Reader, body []byte, from, limit uint32) (parts []*metapb.PartRow, more bool, err error) {
	most, slices := int(limited(limit, partsLimitDefault, partsLimitMax)), 0
	err = scan(r, partKey(body, from), prefixEnd(tableKey(tableParts, body)), func(_, v []byte) (bool, error) {
		if len(parts) == most || slices >= slicesMax {
			more = true
			return false, nil
		}
		p := new(metapb.PartRow)
		if err := decodeRow(v, p); err != nil {
			return false, err
		}
		slices += len(p.Slices)
		parts = append(parts, p)
		return true, nil
	})
	return parts, more, err
}

func (v *view) bodyParts(q *metapb.BodyPartsQuery) (*metapb.BodyPartsAnswer, error) {
	if len(q.BodyId) != idLen {
		return nil, refuse(errs.Invalid, "a body id has %d bytes", idLen)
	}
	body := new(metapb.BodyRow)
	found, err := load(v.s, bodyKey(q.BodyId), body)
	if err != nil || !found {
		return new(metapb.BodyPartsAnswer), err
	}
	r := &metapb.BodyPartsAnswer{Body: body}
	from := q.After + 1
	if q.Offset > 0 {
		if from, err = partAt(v.s, q.BodyId, q.Offset); err != nil {
			return nil, err
		}
	}
	r.Parts, r.More, err = partsFrom(v.s, q.BodyId, from, q.Limit)
	return r, err
}

func (v *view) getUpload(q *metapb.GetUploadQuery) (*metapb.GetUploadAnswer, error) {
	b, err := v.bucket(q.Bucket)
	if err != nil {
		return nil, err
	}
	r := &metapb.GetUploadAnswer{Bucket: b}
	if r.Upload, err = v.upload(b, q.Key, q.UploadId); err != nil || r.Upload != nil || len(q.UploadId) != idLen {
		return r, err
	}
	done := new(metapb.CompletedRow)
	found, err := load(v.s, completedKey(q.UploadId), done)
	if found && string(done.BucketId) == string(b.Id) && done.Key == q.Key {
		r.Completed = done
	}
	return r, err
}

// upload is nil when there is none open.
func (v *view) upload(b *metapb.BucketRow, key string, id []byte) (*metapb.UploadRow, error) {
	if len(id) != idLen {
		return nil, nil
	}
	row := new(metapb.UploadRow)
	found, err := load(v.s, uploadKey(b.Id, key, id), row)
	if !found {
		return nil, err
	}
	return row, err
}

func (v *view) listParts(q *metapb.ListPartsQuery) (*metapb.ListPartsAnswer, error) {
	b, err := v.bucket(q.Bucket)
	if err != nil {
		return nil, err
	}
	r := &metapb.ListPartsAnswer{Bucket: b}
	if r.Upload, err = v.upload(b, q.Key, q.UploadId); err != nil || r.Upload == nil || q.Limit == 0 {
		return r, err
	}
	limit := int(min(q.Limit, listLimitMax))
	prefix := tableKey(tableParts, q.UploadId)
	lower := append(binary.BigEndian.AppendUint32(append([]byte(nil), prefix...), q.After), 0)
	err = scan(v.s, lower, prefixEnd(prefix), func(_, value []byte) (bool, error) {
		if len(r.Parts) == limit {
			r.Truncated = true
			return false, nil
		}
		p := new(metapb.PartRow)
		if err := decodeRow(value, p); err != nil {
			return false, err
		}
		p.Slices = nil // a listing shows none
		r.Parts = append(r.Parts, p)
		return true, nil
	})
	return r, err
}
