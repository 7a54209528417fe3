package s3

import "net/http"

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

// ParseMetadata collects the system headers and user metadata of PutObject, CreateMultipartUpload or CopyObject. Repeated
// x-amz-meta-* headers are joined by comma, RFC 2047 encoded words decoded. Over 2 KiB of names and values: 400
// MetadataTooLarge.
func ParseMetadata(h http.Header) (Metadata, error) { panic("todo") }

// SetHeader writes the metadata into response headers, x-amz-meta-* with lower-case names.
func (m *Metadata) SetHeader(h http.Header) { panic("todo") }

// Overrides are the response-* parameters of GetObject and HeadObject.
type Overrides struct{ fields []Field }

// ParseOverrides reads them; signed says that the request has a verified signature. Unsigned with an override: 400
// InvalidRequest. A value with a control character: 400 InvalidArgument.
func ParseOverrides(q Query, signed bool) (Overrides, error) { panic("todo") }

// Apply sets the overridden headers.
func (o Overrides) Apply(h http.Header) { panic("todo") }
