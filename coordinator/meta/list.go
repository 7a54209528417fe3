package meta

import (
	"bytes"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// pageBytesGuess is a page's first guess at the bytes of keys and rows per entry.
const pageBytesGuess = 256

func less(a, b []byte) bool { return b == nil || bytes.Compare(a, b) < 0 }

// listObjects reads a page in one scan that seeks past each common prefix.
//
// A marker (after) within a common prefix, or equal to it, has that prefix behind it: all its keys belong to an entry that an
// earlier page showed.
func (v *view) listObjects(q *metapb.ListObjectsQuery) (*metapb.ListObjectsAnswer, error) {
	b, err := v.bucket(q.Bucket)
	if err != nil {
		return nil, err
	}
	r := &metapb.ListObjectsAnswer{Bucket: b}
	if q.Reverse && q.Delimiter != "" {
		return nil, refuse(errs.Invalid, "a reverse listing has no delimiter")
	}
	lower, upper := listBounds(b.Id, q)
	if q.Limit == 0 || !less(lower, upper) {
		return r, nil
	}
	it, err := v.s.Iter(lower, upper)
	if err != nil {
		return nil, err
	}
	p := newPage(int(min(q.Limit, listLimitMax)))
	if q.Reverse {
		err = p.backward(it)
	} else {
		err = p.forward(it, q.Prefix, q.Delimiter)
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	r.Entries, r.Truncated = p.entries(), p.truncated
	return r, err
}

// listBounds are the first key a page may show and the first it may not.
func listBounds(bucket []byte, q *metapb.ListObjectsQuery) (lower, upper []byte) {
	lower = objectKey(bucket, max(q.Prefix, q.Start))
	upper = prefixEnd(objectKey(bucket, q.Prefix))
	if end := objectKey(bucket, q.End); q.End != "" && less(end, upper) {
		upper = end
	}
	if q.After == "" {
		return lower, upper
	}
	after := objectKey(bucket, q.After)
	if q.Reverse {
		if less(after, upper) {
			upper = after
		}
		return lower, upper
	}
	if cp := commonPrefix([]byte(q.After), q.Prefix, q.Delimiter); cp != nil {
		after = prefixEnd(objectKey(bucket, string(cp)))
	} else {
		after = append(after, 0)
	}
	if less(lower, after) {
		lower = after
	}
	return lower, upper
}

// commonPrefix is the part of a key up to and with the first delimiter after the prefix; nil when the key is an entry itself.
func commonPrefix(key []byte, prefix, delimiter string) []byte {
	if delimiter == "" || len(key) < len(prefix) || string(key[:len(prefix)]) != prefix {
		return nil
	}
	i := bytes.Index(key[len(prefix):], []byte(delimiter))
	if i < 0 {
		return nil
	}
	return key[:len(prefix)+i+len(delimiter)]
}

// page gathers keys and rows in one buffer, which the entries share.
type page struct {
	limit     int
	truncated bool
	buf       []byte
	ends      [][2]int // end of key and of row of each entry; equal: a common prefix
}

func newPage(limit int) *page {
	n := min(limit, 1000)
	return &page{limit: limit, buf: make([]byte, 0, n*pageBytesGuess), ends: make([][2]int, 0, n)}
}

// add says whether there was room.
func (p *page) add(key, row []byte) bool {
	if len(p.ends) == p.limit {
		p.truncated = true
		return false
	}
	p.buf = append(p.buf, key...)
	k := len(p.buf)
	p.buf = append(p.buf, row...)
	p.ends = append(p.ends, [2]int{k, len(p.buf)})
	return true
}

const objectKeyAt = 1 + bucketIDLen

func (p *page) forward(it *kv.Iter, prefix, delimiter string) error {
	ok := it.First()
	for ok {
		key := it.Key()[objectKeyAt:]
		if cp := commonPrefix(key, prefix, delimiter); cp != nil {
			if !p.add(cp, nil) {
				return nil
			}
			past := prefixEnd(it.Key()[:objectKeyAt+len(cp)])
			ok = past != nil && it.SeekGE(past)
			continue
		}
		row, err := it.Value()
		if err != nil {
			return err
		}
		if !p.add(key, row) {
			return nil
		}
		ok = it.Next()
	}
	return it.Err()
}

func (p *page) backward(it *kv.Iter) error {
	for ok := it.Last(); ok; ok = it.Prev() {
		row, err := it.Value()
		if err != nil {
			return err
		}
		if !p.add(it.Key()[objectKeyAt:], row) {
			return nil
		}
	}
	return it.Err()
}

func (p *page) entries() []*metapb.ListEntry {
	text := string(p.buf)
	entries := make([]metapb.ListEntry, len(p.ends))
	out := make([]*metapb.ListEntry, len(p.ends))
	at := 0
	for i, e := range p.ends {
		entries[i].Key = text[at:e[0]]
		if e[1] > e[0] {
			entries[i].Row = p.buf[e[0]:e[1]:e[1]]
		}
		at, out[i] = e[1], &entries[i]
	}
	return out
}
