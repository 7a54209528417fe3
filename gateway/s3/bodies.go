package s3

import (
	"bytes"
	"io"

	"minikv/internal/digest"
)

// Caps of request bodies, in bytes.
const (
	DeleteBodyMax   = 8 << 20   // 1,000 keys of 1,024 bytes, each byte an entity
	CompleteBodyMax = 8 << 20   // 10,000 parts with checksums
	SmallBodyMax    = 256 << 10 // all other XML
)

// Bounds of request bodies.
const (
	DeleteObjectsMax = 1000
	CompletePartsMax = 10000
)

// ReadBody reads a body of at most limit bytes; a longer one is 400 MaxMessageLengthExceeded. Errors of r are returned as they are.
func ReadBody(r io.Reader, limit int) ([]byte, error) {
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if n > int64(limit) {
		return nil, NewError(CodeMaxMessageLengthExceeded, "").With("MaxMessageLengthBytes", utoa(uint64(limit)))
	}
	return b.Bytes(), nil
}

// ParseCreateBucket reads the body of CreateBucket and gives its location constraint; an empty body gives "". Elements of directory
// buckets and tags are 501 NotImplemented.
func ParseCreateBucket(body []byte) (location string, err error) {
	if blank(body) {
		return "", nil
	}
	seen := false
	err = parseXML(body, "CreateBucketConfiguration", func(x *xmlReader) error {
		return x.children(func(name string) (err error) {
			switch {
			case name == "LocationConstraint" && !seen:
				seen = true
				location, err = x.trimmed()
				return err
			case name == "Location" || name == "Bucket" || name == "Tags":
				return notImplemented("CreateBucketConfiguration/" + name)
			}
			return malformedXML()
		})
	})
	if err != nil {
		return "", err
	}
	return location, nil
}

// DeleteRequest is the body of DeleteObjects.
type DeleteRequest struct {
	Quiet   bool
	Objects []DeleteItem
}

// DeleteItem is one key of DeleteObjects.
type DeleteItem struct {
	Key        string // not checked: an error of a key belongs to its entry of the answer
	VersionID  string
	Conditions WriteConditions // ETag, Size, LastModifiedTime
}

// ParseDelete reads the body of DeleteObjects: 1 to 1,000 keys, else 400 MalformedXML.
func ParseDelete(body []byte) (DeleteRequest, error) {
	var r DeleteRequest
	err := parseXML(body, "Delete", func(x *xmlReader) error {
		return x.children(func(name string) error {
			switch name {
			case "Quiet":
				s, err := x.trimmed()
				r.Quiet = s == "true" || s == "1" || s == "True" || s == "TRUE"
				return err
			case "Object":
				if len(r.Objects) == DeleteObjectsMax {
					return malformedXML()
				}
				it, err := x.deleteItem()
				r.Objects = append(r.Objects, it)
				return err
			}
			return malformedXML()
		})
	})
	if err == nil && len(r.Objects) == 0 {
		err = malformedXML()
	}
	if err != nil {
		return DeleteRequest{}, err
	}
	return r, nil
}

func (x *xmlReader) deleteItem() (DeleteItem, error) {
	var it DeleteItem
	var seen onlyOnce
	err := x.children(func(name string) (err error) {
		if !seen.first(name) {
			return malformedXML()
		}
		var s string
		if name == "Key" {
			it.Key, err = x.text()
			return err
		}
		if s, err = x.trimmed(); err != nil {
			return err
		}
		return it.set(name, s)
	})
	if err == nil && it.Key == "" {
		err = malformedXML()
	}
	return it, err
}

// onlyOnce finds elements that come twice; there are few, so a list does.
type onlyOnce struct {
	names [12]string
	n     int
}

func (o *onlyOnce) first(name string) bool {
	for _, s := range o.names[:o.n] {
		if s == name {
			return false
		}
	}
	if o.n == len(o.names) {
		return false
	}
	o.names[o.n] = name
	o.n++
	return true
}

func (it *DeleteItem) set(name, s string) error {
	switch name {
	case "VersionId":
		it.VersionID = s
	case "ETag":
		it.Conditions.IfMatch = parseMatch([]string{s}, false)
		if len(it.Conditions.IfMatch.ETags) > 1 {
			return malformedXML()
		}
	case "Size":
		n, ok := parseUint(s)
		if !ok {
			return malformedXML()
		}
		it.Conditions.Size = &n
	case "LastModifiedTime":
		sec, ok := ParseHTTPTime(s)
		if !ok {
			return malformedXML()
		}
		it.Conditions.ModifiedSeconds = &sec
	default:
		return malformedXML()
	}
	return nil
}

// CompletePart is one part of CompleteMultipartUpload.
type CompletePart struct {
	Number   uint32
	ETag     digest.ETag
	Checksum digest.Checksum // zero: none given
}

// ParseComplete reads the body of CompleteMultipartUpload. 400 MalformedXML (no parts, too many, a number outside 1 to 10,000),
// InvalidPartOrder, InvalidPart (an ETag or a checksum that is none), InvalidRequest (two checksums for a part).
func ParseComplete(body []byte) ([]CompletePart, error) {
	var parts []CompletePart
	err := parseXML(body, "CompleteMultipartUpload", func(x *xmlReader) error {
		return x.children(func(name string) error {
			if name != "Part" || len(parts) == CompletePartsMax {
				return malformedXML()
			}
			p, err := x.completePart()
			if err != nil {
				return err
			}
			if n := len(parts); n > 0 && p.Number <= parts[n-1].Number {
				return NewError(CodeInvalidPartOrder, "")
			}
			parts = append(parts, p)
			return nil
		})
	})
	if err == nil && len(parts) == 0 {
		err = malformedXML()
	}
	if err != nil {
		return nil, err
	}
	return parts, nil
}

func (x *xmlReader) completePart() (CompletePart, error) {
	var p CompletePart
	var etag string
	var seen onlyOnce
	err := x.children(func(name string) error {
		if !seen.first(name) {
			return malformedXML()
		}
		s, err := x.trimmed()
		if err != nil {
			return err
		}
		switch name {
		case "PartNumber":
			n, ok := parseUint(s)
			if !ok || n < 1 || n > CompletePartsMax {
				return malformedXML()
			}
			p.Number = uint32(n)
			return nil
		case "ETag":
			etag = s
			return nil
		}
		return p.setChecksum(name, s)
	})
	if err != nil {
		return p, err
	}
	if p.Number == 0 || etag == "" {
		return p, malformedXML()
	}
	e, ok := digest.ParseETag(etag)
	if !ok || e.Parts != 0 {
		return p, NewError(CodeInvalidPart, "").With("PartNumber", utoa(uint64(p.Number))).With("ETag", etag)
	}
	p.ETag = e
	return p, nil
}

// setChecksum takes a checksum element of a part; other elements are not part of the schema.
func (p *CompletePart) setChecksum(name, s string) error {
	for _, a := range digest.All() {
		if name != a.Element() {
			continue
		}
		c, err := digest.Parse(a, s)
		if err != nil || c.Type == digest.Composite { // no part has it
			return NewError(CodeInvalidPart, "").With(name, s)
		}
		if !p.Checksum.IsZero() {
			return NewError(CodeInvalidRequest, "A part has more than one checksum.")
		}
		p.Checksum = c
		return nil
	}
	if len(name) > 8 && name[:8] == "Checksum" {
		return notImplemented(name)
	}
	return malformedXML()
}
