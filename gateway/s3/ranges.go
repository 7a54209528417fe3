package s3

import (
	"strings"
)

// Range is a span of bytes.
type Range struct{ Offset, Length uint64 }

// ContentRange is the value of the Content-Range header for an object of size bytes.
func (r Range) ContentRange(size uint64) string {
	return "bytes " + utoa(r.Offset) + "-" + utoa(r.Offset+r.Length-1) + "/" + utoa(size)
}

// ResolveRange applies a Range header ("" for none) to an object of size bytes. partial says that the answer is 206 with
// Content-Range; else r is the whole object and the answer 200, as it is for malformed and several ranges, "5-2", and a suffix
// of an empty object. Nothing to send is 416 InvalidRange, with Content-Range "bytes */size" among its headers.
func ResolveRange(header string, size uint64) (r Range, partial bool, err error) {
	whole := Range{0, size}
	first, last, ok := parseRange(header)
	if !ok {
		return whole, false, nil
	}
	switch {
	case first < 0: // the last bytes
		if last == 0 {
			return Range{}, false, InvalidRange(header, size)
		}
		if size == 0 {
			return whole, false, nil
		}
		n := min(uint64(last), size)
		return Range{size - n, n}, true, nil
	case uint64(first) >= size:
		return Range{}, false, InvalidRange(header, size)
	case last < 0:
		return Range{uint64(first), size - uint64(first)}, true, nil
	}
	end := min(uint64(last), size-1)
	return Range{uint64(first), end - uint64(first) + 1}, true, nil
}

// InvalidRange is the 416 for a range of an object of size bytes.
func InvalidRange(requested string, size uint64) *Error {
	return NewError(CodeInvalidRange, "").With("RangeRequested", requested).With("ActualObjectSize", utoa(size)).
		WithHeader("Content-Range", "bytes */"+utoa(size))
}

// InvalidPartNumber is the 416 for a part number beyond the last part, of an object of size bytes.
func InvalidPartNumber(requested, parts uint32, size uint64) *Error {
	return NewError(CodeInvalidPartNumber, "").With("PartNumberRequested", utoa(uint64(requested))).
		With("ActualPartCount", utoa(uint64(parts))).With("ActualObjectSize", utoa(size)).
		WithHeader("Content-Range", "bytes */"+utoa(size))
}

// parseRange reads "bytes=a-b", "bytes=a-" or "bytes=-n"; a missing number is -1.
func parseRange(s string) (first, last int64, ok bool) {
	if len(s) < 6 || !strings.EqualFold(s[:6], "bytes=") {
		return 0, 0, false
	}
	a, b, found := strings.Cut(strings.Trim(s[6:], " \t"), "-")
	a, b = strings.Trim(a, " \t"), strings.Trim(b, " \t")
	if !found || (a == "" && b == "") {
		return 0, 0, false
	}
	first, last = -1, -1
	if a != "" {
		if first, ok = digits(a); !ok {
			return 0, 0, false
		}
	}
	if b != "" {
		if last, ok = digits(b); !ok {
			return 0, 0, false
		}
	}
	if first >= 0 && last >= 0 && last < first {
		return 0, 0, false
	}
	return first, last, true
}

// digits reads decimal digits; more than fits saturates.
func digits(s string) (int64, bool) {
	var n int64
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > (1<<62)/10 {
			n = 1 << 62
			continue
		}
		n = n*10 + int64(c-'0')
	}
	return n, s != ""
}
