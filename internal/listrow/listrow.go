// Package listrow reads what a listing shows of an encoded ObjectRow, without allocating. A page of 1,000 entries travels as the
// stored bytes and is decoded here, field by field, into one reused ListRow.
//
//	L1  For every row that the coordinator writes, the result equals a full decode (proto/meta.proto, message ObjectRow).
//	L2  Unknown fields are skipped; malformed bytes are errs.Corrupt.
package listrow

import (
	"google.golang.org/protobuf/encoding/protowire"

	"minikv/internal/errs"
)

// ListRow is what listings show of an object. The slices point into the decoded row.
type ListRow struct {
	Size              uint64
	ETag              [16]byte // MD5
	ETagParts         uint32   // N of "-N"; 0: none
	ModifiedMS        int64    // since 1970, UTC
	ChecksumAlgorithm uint8    // number of internal/digest; 0: none
	ChecksumType      uint8
	DeleteMarker      bool
	NullVersion       bool
	Version           []byte // 12 bytes
	Owner             []byte // canonical user id
	StorageClass      []byte // empty: STANDARD
}

// Numbers of the fields of ObjectRow, Checksum and Attributes.
const (
	rowVersion    = 1
	rowNull       = 2
	rowMarker     = 3
	rowSize       = 4
	rowETag       = 5
	rowETagParts  = 6
	rowModified   = 7
	rowChecksum   = 8
	rowOwner      = 9
	rowAttributes = 10
	sumAlgorithm  = 1
	sumType       = 2
	attrClass     = 8

	etagBytes    = 16
	sumNumberMax = 255
)

// DecodeListRow reads an encoded ObjectRow; errs.Corrupt.
func DecodeListRow(row []byte) (ListRow, error) {
	var r ListRow
	if !fields(row, r.number, r.bytes) {
		return ListRow{}, errs.E("listrow.DecodeListRow", errs.Corrupt, "the object row is malformed")
	}
	return r, nil
}

func (r *ListRow) number(n protowire.Number, v uint64) bool {
	switch n {
	case rowNull:
		r.NullVersion = v != 0
	case rowMarker:
		r.DeleteMarker = v != 0
	case rowSize:
		r.Size = v
	case rowETagParts:
		r.ETagParts = uint32(v)
	case rowModified:
		r.ModifiedMS = int64(v)
	}
	return true
}

func (r *ListRow) bytes(n protowire.Number, b []byte) bool {
	switch n {
	case rowVersion:
		r.Version = b
	case rowETag:
		if len(b) != etagBytes && len(b) != 0 {
			return false
		}
		r.ETag = [16]byte{}
		copy(r.ETag[:], b)
	case rowChecksum:
		return fields(b, r.checksum, skip)
	case rowOwner:
		r.Owner = b
	case rowAttributes:
		return fields(b, skipNumber, r.attribute)
	}
	return true
}

func (r *ListRow) checksum(n protowire.Number, v uint64) bool {
	switch n {
	case sumAlgorithm:
		r.ChecksumAlgorithm = uint8(v)
	case sumType:
		r.ChecksumType = uint8(v)
	default:
		return true
	}
	return v <= sumNumberMax
}

func (r *ListRow) attribute(n protowire.Number, b []byte) bool {
	if n == attrClass {
		r.StorageClass = b
	}
	return true
}

func skip(protowire.Number, []byte) bool       { return true }
func skipNumber(protowire.Number, uint64) bool { return true }

// fields calls number for each varint and bytes for each length-delimited field, until one says false.
func fields(b []byte, number func(protowire.Number, uint64) bool, bytes func(protowire.Number, []byte) bool) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		ok := true
		switch typ {
		case protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(b); n >= 0 {
				ok = number(num, v)
			}
		case protowire.BytesType:
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 {
				ok = bytes(num, v)
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 || !ok {
			return false
		}
		b = b[n:]
	}
	return true
}
