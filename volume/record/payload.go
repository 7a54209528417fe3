package record

import (
	"encoding/binary"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// IDsMax is the number of ids one record carries; more take several records. It keeps control records within one block.
const IDsMax = BlockLen / object.BlobIDLen

// AppendIDs writes ids one after the other, 16 bytes each.
func AppendIDs(b []byte, ids []object.BlobID) []byte {
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}

// ParseIDs reads what AppendIDs wrote.
func ParseIDs(b []byte) ([]object.BlobID, error) {
	if len(b)%object.BlobIDLen != 0 {
		return nil, errs.E("record.ParseIDs", errs.Corrupt, "%d bytes are no list of ids", len(b))
	}
	ids := make([]object.BlobID, len(b)/object.BlobIDLen)
	for i := range ids {
		ids[i] = object.BlobID(b[i*object.BlobIDLen:])
	}
	return ids, nil
}

// Reason says why a segment ends where it does.
type Reason uint8

// The reasons. Append only.
const (
	Full      Reason = 1 // the next group did not fit
	Failed    Reason = 2 // a write or fsync failed: what follows the last good fsync was never acknowledged
	Recovered Reason = 3 // found after a crash; what may not have been on disk was copied on
)

func (r Reason) String() string {
	switch r {
	case Full:
		return "full"
	case Failed:
		return "failed"
	case Recovered:
		return "recovered"
	}
	return "unknown"
}

// End is where a segment ends: everything below was on disk, nothing from there on counts.
//
//	0 u64 segment | 8 u64 offset | 16 u8 reason | 17 7B zero
type End struct {
	Segment uint64
	Offset  uint64
	Reason  Reason
}

const endLen = 24

// AppendEnds writes ends one after the other, 24 bytes each.
func AppendEnds(b []byte, ends []End) []byte {
	for _, e := range ends {
		b = binary.LittleEndian.AppendUint64(b, e.Segment)
		b = binary.LittleEndian.AppendUint64(b, e.Offset)
		b = append(b, byte(e.Reason), 0, 0, 0, 0, 0, 0, 0)
	}
	return b
}

// ParseEnds reads what AppendEnds wrote.
func ParseEnds(b []byte) ([]End, error) {
	if len(b)%endLen != 0 {
		return nil, errs.E("record.ParseEnds", errs.Corrupt, "%d bytes are no list of ends", len(b))
	}
	ends := make([]End, len(b)/endLen)
	for i := range ends {
		e := b[i*endLen:]
		ends[i] = End{Segment: binary.LittleEndian.Uint64(e), Offset: binary.LittleEndian.Uint64(e[8:]), Reason: Reason(e[16])}
	}
	return ends, nil
}
