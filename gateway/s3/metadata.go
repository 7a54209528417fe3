package s3

import (
	"mime"
	"net/http"
	"sort"
	"strings"
	"unicode/utf8"

	"minikv/internal/object"
)

// Metadata is what a client stores beside an object's bytes.
type Metadata struct {
	ContentType        string // DefaultContentType unless given
	ContentEncoding    string // without aws-chunked
	CacheControl       string
	ContentDisposition string
	ContentLanguage    string
	Expires            string
	User               []Field // names in lower case without "x-amz-meta-", sorted; values UTF-8
}

// DefaultContentType is the type of an object whose writer named none.
const DefaultContentType = "binary/octet-stream"

const metaPrefix = "x-amz-meta-"

// ParseMetadata collects the system headers and user metadata of PutObject, CreateMultipartUpload or CopyObject. Repeated
// x-amz-meta-* headers are joined by comma, RFC 2047 encoded words decoded, bytes that are not UTF-8 taken as Latin-1. Over 2 KiB
// of names (without prefix) and values: 400 MetadataTooLarge. A control character: 400 InvalidArgument.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
func ParseMetadata(h http.Header) (Metadata, error) {
	m := Metadata{ContentType: DefaultContentType}
	for _, s := range m.system() {
		v := headerValues(h, s.name)
		if len(v) == 0 {
			continue
		}
		value := validUTF8(strings.Join(v, ","))
		if s.name == "Content-Encoding" {
			value = withoutChunked(value)
		}
		if hasControl(value) {
			return Metadata{}, InvalidArgument(s.name, "", "A header value has a control character")
		}
		if value != "" || s.name != "Content-Type" {
			*s.value = value
		}
	}
	err := m.parseUser(h)
	return m, err
}

type systemHeader struct {
	name  string
	value *string
}

func (m *Metadata) system() [6]systemHeader {
	return [...]systemHeader{
		{"Content-Type", &m.ContentType}, {"Content-Encoding", &m.ContentEncoding}, {"Cache-Control", &m.CacheControl},
		{"Content-Disposition", &m.ContentDisposition}, {"Content-Language", &m.ContentLanguage}, {"Expires", &m.Expires},
	}
}

// withoutChunked takes aws-chunked out of a Content-Encoding: it is framing of the transfer, not of the object.
func withoutChunked(v string) string {
	if !strings.Contains(strings.ToLower(v), "aws-chunked") {
		return v
	}
	var kept []string
	for _, c := range strings.Split(v, ",") {
		c = strings.Trim(c, " \t")
		if c != "" && !strings.EqualFold(c, "aws-chunked") {
			kept = append(kept, c)
		}
	}
	return strings.Join(kept, ",")
}

func (m *Metadata) parseUser(h http.Header) error {
	total := 0
	for name, values := range h {
		if len(name) < len(metaPrefix) || !strings.EqualFold(name[:len(metaPrefix)], metaPrefix) {
			continue
		}
		name = strings.ToLower(name[len(metaPrefix):])
		if name == "" {
			return InvalidArgument(metaPrefix, "", "A metadata name is empty")
		}
		value := decodeMeta(strings.Join(values, ","))
		if total += len(name) + len(value); total > object.UserMetadataMax {
			return NewError(CodeMetadataTooLarge, "").With("Size", utoa(uint64(total))).With("MaxSizeAllowed", utoa(object.UserMetadataMax))
		}
		m.User = append(m.User, Field{name, value})
	}
	sort.Slice(m.User, func(i, j int) bool { return m.User[i].Name < m.User[j].Name })
	return nil
}

// decodeMeta decodes the value of user metadata.
func decodeMeta(v string) string {
	v = validUTF8(v)
	if strings.Contains(v, "=?") {
		var d mime.WordDecoder
		if dec, err := d.DecodeHeader(v); err == nil && utf8.ValidString(dec) {
			return dec
		}
	}
	return v
}

// validUTF8 takes what is not UTF-8 as Latin-1, in which older HTTP clients send header values.
func validUTF8(v string) string {
	if utf8.ValidString(v) {
		return v
	}
	r := make([]rune, len(v))
	for i := range r {
		r[i] = rune(v[i])
	}
	return string(r)
}

// SetHeader writes the metadata into response headers, x-amz-meta-* with lower-case names. User values that are not printable
// ASCII are RFC 2047 encoded, as AWS does.
func (m *Metadata) SetHeader(h http.Header) {
	for _, s := range m.system() {
		if *s.value != "" && !hasControl(*s.value) {
			h[s.name] = []string{*s.value}
		}
	}
	if m.ContentType == "" {
		h["Content-Type"] = []string{DefaultContentType}
	}
	for _, f := range m.User {
		if !hasControl(f.Name) {
			h[metaPrefix+f.Name] = []string{encodeMeta(f.Value)}
		}
	}
}

// encodeMeta writes the encoding's letter as AWS does; readers take either.
func encodeMeta(v string) string {
	encoded := mime.BEncoding.Encode("UTF-8", v)
	if encoded == v {
		return v
	}
	return strings.ReplaceAll(encoded, "=?UTF-8?b?", "=?UTF-8?B?")
}

// Overrides are the response-* parameters of GetObject and HeadObject.
type Overrides struct{ fields []Field }

var overrideHeaders = map[string]string{
	"response-content-type":        "Content-Type",
	"response-content-language":    "Content-Language",
	"response-expires":             "Expires",
	"response-cache-control":       "Cache-Control",
	"response-content-disposition": "Content-Disposition",
	"response-content-encoding":    "Content-Encoding",
}

// ParseOverrides reads them; signed says that the request has a verified signature. Unsigned with an override: 400
// InvalidRequest. A value with a control character: 400 InvalidArgument.
func ParseOverrides(q Query, signed bool) (Overrides, error) {
	var o Overrides
	for _, p := range q {
		header, ok := overrideHeaders[p.Name]
		if !ok || p.Value == "" {
			continue
		}
		if !signed {
			return Overrides{}, NewError(CodeInvalidRequest, "Request specific response headers cannot be used for anonymous GET requests.")
		}
		if hasControl(p.Value) {
			return Overrides{}, InvalidArgument(p.Name, "", "A response header has a control character")
		}
		o.fields = append(o.fields, Field{header, p.Value})
	}
	return o, nil
}

// Apply sets the overridden headers.
func (o Overrides) Apply(h http.Header) {
	for _, f := range o.fields {
		h[f.Name] = []string{f.Value}
	}
}
