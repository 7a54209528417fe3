package gateway

import (
	"encoding/hex"

	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// neverETag matches no ETag: it stands for an If-Match whose value is not one.
const neverETag = "-"

func writeConditions(c *s3.WriteConditions) *metapb.Conditions {
	if !c.Any() {
		return nil
	}
	out := &metapb.Conditions{IfNoneMatchAny: c.IfNoneMatchAny, IfMatchModifiedS: c.ModifiedSeconds, IfMatchSize: c.Size}
	out.IfMatchAny, out.IfMatch = matchPB(c.IfMatch)
	return out
}

func copyConditions(c *s3.ReadConditions) *metapb.Conditions {
	if !c.Any() {
		return nil
	}
	out := &metapb.Conditions{IfModifiedSinceS: c.IfModifiedSince, IfUnmodifiedSinceS: c.IfUnmodifiedSince}
	out.IfMatchAny, out.IfMatch = matchPB(c.IfMatch)
	if c.IfNoneMatch.Set {
		out.IfNoneMatchAny, out.IfNoneMatch = matchPB(c.IfNoneMatch)
	}
	return out
}

func matchPB(m s3.Match) (any bool, etags []string) {
	if !m.Set {
		return false, nil
	}
	for _, e := range m.ETags {
		etags = append(etags, e.String())
	}
	if !m.Any && len(etags) == 0 {
		etags = []string{neverETag}
	}
	return m.Any, etags
}

func attributesPB(m *s3.Metadata) *metapb.Attributes {
	a := &metapb.Attributes{
		ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, ContentLanguage: m.ContentLanguage,
		ContentDisposition: m.ContentDisposition, CacheControl: m.CacheControl, Expires: m.Expires,
	}
	for _, f := range m.User {
		a.UserMetadata = append(a.UserMetadata, &metapb.Pair{Name: f.Name, Value: f.Value})
	}
	return a
}

func metadataOf(a *metapb.Attributes) s3.Metadata {
	m := s3.Metadata{
		ContentType: a.GetContentType(), ContentEncoding: a.GetContentEncoding(), ContentLanguage: a.GetContentLanguage(),
		ContentDisposition: a.GetContentDisposition(), CacheControl: a.GetCacheControl(), Expires: a.GetExpires(),
	}
	if m.ContentType == "" {
		m.ContentType = s3.DefaultContentType
	}
	if n := len(a.GetUserMetadata()); n > 0 {
		m.User = make([]s3.Field, n)
		for i, p := range a.UserMetadata {
			m.User[i] = s3.Field{Name: p.Name, Value: p.Value}
		}
	}
	return m
}

func tagsPB(tags []s3.Tag) []*metapb.Pair {
	var out []*metapb.Pair
	for _, t := range tags {
		out = append(out, &metapb.Pair{Name: t.Key, Value: t.Value})
	}
	return out
}

func tagsOf(pairs []*metapb.Pair) []s3.Tag {
	out := make([]s3.Tag, 0, len(pairs))
	for _, p := range pairs {
		out = append(out, s3.Tag{Key: p.Name, Value: p.Value})
	}
	return out
}

// checksumOf is the zero checksum for nil and for what is not one.
func checksumOf(c *metapb.Checksum) digest.Checksum {
	a := digest.Algorithm(c.GetAlgorithm())
	if c == nil || !a.Valid() || len(c.Value) != a.Size() {
		return digest.Checksum{}
	}
	out := digest.Checksum{Algorithm: a, Type: digest.Type(c.Type), Parts: c.Parts}
	copy(out.Sum[:], c.Value)
	return out
}

// checksumPB is nil for the zero checksum.
func checksumPB(c digest.Checksum) *metapb.Checksum {
	if c.IsZero() {
		return nil
	}
	return &metapb.Checksum{Algorithm: uint32(c.Algorithm), Type: uint32(c.Type), Value: append([]byte(nil), c.Bytes()...), Parts: c.Parts}
}

// pickChecksum is the checksum of an algorithm among several; zero if it is not there.
func pickChecksum(sums []*metapb.Checksum, a digest.Algorithm) digest.Checksum {
	for _, s := range sums {
		if digest.Algorithm(s.GetAlgorithm()) == a {
			return checksumOf(s)
		}
	}
	return digest.Checksum{}
}

func etagOf(sum []byte, parts uint32) digest.ETag {
	e := digest.ETag{Parts: parts}
	copy(e.Sum[:], sum)
	return e
}

// uploadIDText is an upload id on the wire: 32 hexadecimal digits.
func uploadIDText(id []byte) string { return hex.EncodeToString(id) }

// parseUploadID reads one; what is none names no upload: 404 NoSuchUpload.
func parseUploadID(s string) (id objects.UploadID, err error) {
	if n, err := hex.Decode(id[:], []byte(s[:min(len(s), 2*len(id))])); err != nil || n != len(id) || len(s) != 2*len(id) {
		return id, errs.E("gateway.parseUploadID", errs.NoSuchUpload, "")
	}
	return id, nil
}
