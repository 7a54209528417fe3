package s3

import (
	"net/http"
	"time"
)

// ParseHTTPTime reads an HTTP date in the three formats of RFC 9110: whole seconds since 1970. Dates in ISO 8601 are read too:
// some clients send them in S3's own condition headers.
func ParseHTTPTime(s string) (seconds int64, ok bool) {
	if t, err := http.ParseTime(s); err == nil {
		return t.Unix(), true
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.Unix(), true
	}
	return 0, false
}

// FormatHTTPTime is the instant in the preferred HTTP format, whole seconds, GMT.
func FormatHTTPTime(ms int64) string {
	return time.Unix(floorSeconds(ms), 0).UTC().Format(http.TimeFormat)
}

// AppendTime appends the instant as S3 XML has it: "2006-01-02T15:04:05.000Z", the same whole second as FormatHTTPTime.
func AppendTime(dst []byte, ms int64) []byte {
	sec := floorSeconds(ms)
	days := sec / 86400
	rest := int(sec - days*86400)
	if rest < 0 || days > 2932896 { // before 1970, after 9999: never in a listing
		return time.Unix(sec, 0).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	}
	y, m, d := civil(int(days))
	dst = append2(dst, y/100)
	dst = append(append2(dst, y%100), '-')
	dst = append(append2(dst, m), '-')
	dst = append(append2(dst, d), 'T')
	dst = append(append2(dst, rest/3600), ':')
	dst = append(append2(dst, rest/60%60), ':')
	return append(append2(dst, rest%60), ".000Z"...)
}

// civil turns days since 1970-01-01 (not negative) into year, month and day of the Gregorian calendar.
//
// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
func civil(days int) (y, m, d int) {
	days += 719468 // since 0000-03-01
	era := days / 146097
	doe := days - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = doy - (153*mp+2)/5 + 1
	m = mp + 3
	y = yoe + era*400
	if m > 12 {
		m -= 12
		y++
	}
	return y, m, d
}

func append2(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10%10), byte('0'+n%10))
}

// floorSeconds is the whole second that ms falls into.
func floorSeconds(ms int64) int64 {
	s := ms / 1000
	if ms%1000 < 0 {
		s--
	}
	return s
}
