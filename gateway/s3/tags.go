package s3

// Tag is a key and value of an object's or bucket's tag set.
type Tag struct{ Key, Value string }

// ParseTagHeader reads x-amz-tagging ("k=v&k2=v2", URL-encoded) and checks it like ParseTagging.
func ParseTagHeader(s string) ([]Tag, error) { panic("todo") }

// ParseTagging reads the body of PutObjectTagging. 400 MalformedXML; InvalidTag (key 1 to 128 characters, value to 256, allowed
// characters, no duplicates, not "aws:"); BadRequest (over 10).
func ParseTagging(body []byte) ([]Tag, error) { panic("todo") }

// AppendTagging appends the answer of GetObjectTagging.
func AppendTagging(dst []byte, tags []Tag) []byte { panic("todo") }
