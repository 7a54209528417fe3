package meta

import (
	"bytes"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// slicesMax bounds the slices of one part, and so what a command does to reference or release them.
const slicesMax = 4096

// source resolves what a copy reads: the version it names, refused when it is not the one the gateway read.
func (t *txn) source(s *metapb.Source) (*metapb.ObjectRow, error) {
	b, err := t.bucket(s.GetBucket())
	if err != nil {
		return nil, err
	}
	row, err := t.object(b, s.Key, s.Version)
	if err != nil {
		return nil, err
	}
	if len(s.Expect) > 0 && !bytes.Equal(s.Expect, row.Version) {
		return nil, refuse(errs.SourceChanged, "the source was replaced since it was read")
	}
	return row, checkSource(s.Conditions, row)
}

// object finds a version of a key: errs.NoSuchKey, errs.NoSuchVersion, errs.DeleteMarker for a named marker.
func (t *txn) object(b *metapb.BucketRow, key, version string) (*metapb.ObjectRow, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	row, err := findObject(t, b, key, version)
	switch {
	case err != nil:
		return nil, err
	case row == nil && version == "":
		return nil, refuse(errs.NoSuchKey, "the key does not exist")
	case row == nil:
		return nil, refuse(errs.NoSuchVersion, "the version does not exist")
	case row.DeleteMarker:
		return nil, refuse(errs.DeleteMarker, "the version is a delete marker")
	}
	return row, nil
}

// findObject looks a version up; nil when there is none. A malformed id is a refusal of kind errs.Invalid.
func findObject(r getter, b *metapb.BucketRow, key, version string) (*metapb.ObjectRow, error) {
	row := new(metapb.ObjectRow)
	found, err := load(r, objectKey(b.Id, key), row)
	if err != nil {
		return nil, err
	}
	if !found {
		row = nil
	}
	mine, err := addresses(version, row)
	if err != nil || mine {
		return row, err
	}
	return nil, nil
}

// slicesOf are the pieces of runs that hold length bytes of an object from offset on; errs.LimitExceeded when a part cannot
// hold that many.
func (t *txn) slicesOf(o *metapb.ObjectRow, offset, length uint64) ([]*metapb.Slice, error) {
	if offset > o.Size || length > o.Size-offset {
		return nil, refuse(errs.Invalid, "the range ends past the source's %d bytes", o.Size)
	}
	if length == 0 {
		return nil, nil
	}
	if o.Run != nil {
		return []*metapb.Slice{{Run: o.Run, Offset: offset, Length: length}}, nil
	}
	var out []*metapb.Slice
	first, err := partAt(t.b, o.BodyId, offset)
	if err != nil {
		return nil, err
	}
	end := offset + length
	err = scan(t.b, partKey(o.BodyId, first), prefixEnd(tableKey(tableParts, o.BodyId)), func(_, v []byte) (bool, error) {
		p := new(metapb.PartRow)
		if err := decodeRow(v, p); err != nil {
			return false, err
		}
		at := p.Offset
		for _, s := range p.Slices {
			if from, to := max(at, offset), min(at+s.Length, end); from < to {
				out = append(out, &metapb.Slice{Run: s.Run, Offset: s.Offset + from - at, Length: to - from})
			}
			at += s.Length
		}
		if len(out) > slicesMax {
			return false, refuse(errs.LimitExceeded, "the range is in more than %d pieces", slicesMax)
		}
		return at < end, nil
	})
	return out, err
}
