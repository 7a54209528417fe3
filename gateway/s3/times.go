package s3

// ParseHTTPTime reads an HTTP date in the three formats of RFC 9110: whole seconds since 1970.
func ParseHTTPTime(s string) (seconds int64, ok bool) { panic("todo") }

// FormatHTTPTime is the instant in the preferred HTTP format, whole seconds, GMT.
func FormatHTTPTime(ms int64) string { panic("todo") }

// AppendTime appends the instant as S3 XML has it: "2006-01-02T15:04:05.000Z", the same whole second as FormatHTTPTime.
func AppendTime(dst []byte, ms int64) []byte { panic("todo") }
