package objects

import (
	"minikv/internal/digest"
	"minikv/proto/metapb"
)

// ProtoChecksum is a checksum as rows hold it; nil for none.
func ProtoChecksum(c digest.Checksum) *metapb.Checksum {
	if c.IsZero() {
		return nil
	}
	return &metapb.Checksum{Algorithm: uint32(c.Algorithm), Type: uint32(c.Type), Value: append([]byte(nil), c.Bytes()...), Parts: c.Parts}
}

// DigestChecksum is the checksum of a row; zero for none, and for what this version does not know.
func DigestChecksum(p *metapb.Checksum) digest.Checksum {
	a := digest.Algorithm(p.GetAlgorithm())
	if !a.Valid() || len(p.GetValue()) != a.Size() {
		return digest.Checksum{}
	}
	c := digest.Checksum{Algorithm: a, Type: digest.Type(p.GetType()), Parts: p.GetParts()}
	copy(c.Sum[:], p.GetValue())
	return c
}

// RowETag is the entity tag of a row.
func RowETag(row *metapb.ObjectRow) digest.ETag {
	e := digest.ETag{Parts: row.GetEtagParts()}
	copy(e.Sum[:], row.GetEtag())
	return e
}

// orDefault is the algorithm that is computed when none was asked for.
func orDefault(a digest.Algorithm) digest.Algorithm {
	if a == digest.None {
		return digest.CRC64NVME
	}
	return a
}

// wanted is the set of algorithms to compute: the recorded one and those the body asks for.
func wanted(recorded digest.Algorithm, want []uint32) digest.Set {
	s := digest.SetOf(recorded)
	for _, a := range want {
		s = s.With(digest.Algorithm(a))
	}
	return s
}

// digestsOf is what Body.Check sees.
func digestsOf(sums *digest.Sums, want []uint32) Digests {
	d := Digests{Size: sums.Size, MD5: sums.MD5}
	for _, a := range want {
		if c := ProtoChecksum(sums.Checksum(digest.Algorithm(a))); c != nil {
			d.Checksums = append(d.Checksums, c)
		}
	}
	return d
}

// recordedChecksums are those kept with a part: the upload's own first, then the others that were computed.
func recordedChecksums(sums *digest.Sums, own digest.Algorithm, want []uint32) []*metapb.Checksum {
	out := []*metapb.Checksum{ProtoChecksum(sums.Checksum(own))}
	done := digest.SetOf(own)
	for _, n := range want {
		if a := digest.Algorithm(n); a.Valid() && !done.Has(a) {
			done = done.With(a)
			out = append(out, ProtoChecksum(sums.Checksum(a)))
		}
	}
	return out
}
