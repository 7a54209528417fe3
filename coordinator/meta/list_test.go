package meta

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"minikv/internal/errs"
	"minikv/internal/listrow"
	"minikv/proto/metapb"
)

// oracle lists by the definition: every key in order, rolled up one by one.
func oracle(keys []string, q *metapb.ListObjectsQuery) (out []string, truncated bool) {
	keys = slices.Clone(keys)
	sort.Strings(keys)
	if q.Reverse {
		slices.Reverse(keys)
	}
	rolled := func(k string) (string, bool) {
		if q.Delimiter != "" && strings.HasPrefix(k, q.Prefix) {
			if i := strings.Index(k[len(q.Prefix):], q.Delimiter); i >= 0 {
				return k[:len(q.Prefix)+i+len(q.Delimiter)], true
			}
		}
		return k, false
	}
	for _, k := range keys {
		name, common := rolled(k)
		behind := q.After != "" && k <= q.After
		if q.Reverse {
			behind = q.After != "" && k >= q.After
		} else if cp, is := rolled(q.After); is && common && name == cp {
			behind = true
		}
		if behind || !strings.HasPrefix(k, q.Prefix) || k < q.Start || q.End != "" && k >= q.End {
			continue
		}
		if common {
			name += "|"
		}
		if len(out) > 0 && out[len(out)-1] == name {
			continue
		}
		if len(out) == int(q.Limit) {
			return out, q.Limit > 0
		}
		out = append(out, name)
	}
	return out, false
}

func names(a *metapb.ListObjectsAnswer) (out []string) {
	for _, e := range a.Entries {
		if len(e.Row) == 0 {
			e.Key += "|"
		}
		out = append(out, e.Key)
	}
	return out
}

func TestListAgainstOracle(t *testing.T) {
	h := newHarness(t, 1)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		b := h.bucket(fmt.Sprintf("bucket-%d", n))
		keys := rapid.SliceOfNDistinct(rapid.StringOfN(rapid.SampledFrom([]rune("ab//-\x00\U0010FFFF")), 1, 6, -1), 1, 30, rapid.ID).Draw(t, "keys")
		word := rapid.Custom(func(t *rapid.T) string { // nothing, a key or its beginning
			k := rapid.SampledFrom(keys).Draw(t, "like")
			return k[:rapid.SampledFrom([]int{0, 0, 1, len(k) / 2, len(k)}).Draw(t, "cut")]
		}).Filter(utf8.ValidString)
		var cmds []*metapb.Command
		for _, k := range keys {
			cmds = append(cmds, h.stamped(putCommand(b, k, newObject(k, 0), nil, nil)))
		}
		h.apply(cmds...)
		q := &metapb.ListObjectsQuery{
			Bucket: b.Name, Prefix: word.Draw(t, "prefix"), Limit: rapid.Uint32Range(0, 7).Draw(t, "limit"), After: word.Draw(t, "after"),
		}
		if rapid.Bool().Draw(t, "bounded") {
			q.Start, q.End = word.Draw(t, "start"), word.Draw(t, "end")
		}
		q.Reverse = rapid.Bool().Draw(t, "reverse")
		if !q.Reverse {
			q.Delimiter = rapid.SampledFrom([]string{"", "/", "a", "-/", "//", "ab"}).Draw(t, "delimiter")
		}
		a := h.list(q)
		want, more := oracle(keys, q)
		if got := names(a); !slices.Equal(got, want) || a.Truncated != more {
			t.Fatalf("%v of %q:\n got %q %v\nwant %q %v", q, keys, got, a.Truncated, want, more)
		}
	})
}

// Pages of random sizes visit every entry once, in order.
func TestListPagesVisitAll(t *testing.T) {
	h := newHarness(t, 1)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		b := h.bucket(fmt.Sprintf("bucket-%d", n))
		keys := rapid.SliceOfNDistinct(keyGen(), 1, 40, rapid.ID).Draw(t, "keys")
		for _, k := range keys {
			h.put(b, k, 0)
		}
		whole := &metapb.ListObjectsQuery{Bucket: b.Name, Delimiter: rapid.SampledFrom([]string{"", "/", "b/"}).Draw(t, "delimiter"), Limit: 1000}
		want, _ := oracle(keys, whole)
		var got []string
		q := proto.Clone(whole).(*metapb.ListObjectsQuery)
		for page := 0; ; page++ {
			q.Limit = rapid.Uint32Range(1, 5).Draw(t, "page")
			a := h.list(q)
			if len(a.Entries) > 0 {
				q.After = a.Entries[len(a.Entries)-1].Key
			}
			got = append(got, names(a)...)
			if !a.Truncated {
				break
			}
			if page > 100 {
				t.Fatal("paging does not end")
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("of %q by %q:\n got %q\nwant %q", keys, q.Delimiter, got, want)
		}
	})
}

func TestListRowsAreTheStoredOnes(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	h.put(b, "k", 7)
	e := h.list(&metapb.ListObjectsQuery{Bucket: b.Name, Limit: 1}).Entries[0]
	row := new(metapb.ObjectRow)
	require.NoError(t, proto.Unmarshal(e.Row, row))
	equal(t, h.get(b, "k"), row)
	short, err := listrow.DecodeListRow(e.Row)
	require.NoError(t, err)
	require.Equal(t, uint64(7), short.Size)
	require.Equal(t, row.Etag, short.ETag[:])
	require.Equal(t, "alice", string(short.Owner))
	_, err = h.m.Read(&metapb.Query{Q: &metapb.Query_ListObjects{ListObjects: &metapb.ListObjectsQuery{Bucket: "nix", Limit: 1}}})
	require.Equal(t, errs.NoSuchBucket, errs.KindOf(err))
}

func createUpload(b *metapb.BucketRef, key string) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_CreateUpload{CreateUpload: &metapb.CreateUpload{Bucket: b, Key: key, Owner: "alice"}}}
}

func TestListUploads(t *testing.T) {
	h := newHarness(t, 1)
	b := h.bucket("photos")
	var first []byte
	for _, k := range []string{"z", "a/1", "k", "a/2", "k", "b\x00", "b"} {
		if id := h.do(createUpload(b, k)).GetUpload().Id; k == "k" && first == nil {
			first = id
		}
	}
	page := func(q *metapb.ListUploadsQuery) (out []string, more bool) {
		q.Bucket = b.Name
		a := h.read(&metapb.Query{Q: &metapb.Query_ListUploads{ListUploads: q}}).GetListUploads()
		for _, e := range a.Entries {
			out = append(out, e.CommonPrefix+"|"+e.GetUpload().GetKey())
		}
		return out, a.Truncated
	}
	for _, c := range []struct {
		q    *metapb.ListUploadsQuery
		want string
		more bool
	}{
		{&metapb.ListUploadsQuery{Limit: 10}, "|a/1 |a/2 |b |b\x00 |k |k |z", false},
		{&metapb.ListUploadsQuery{Limit: 10, Delimiter: "/"}, "a/| |b |b\x00 |k |k |z", false},
		{&metapb.ListUploadsQuery{Limit: 10, Prefix: "a/", Delimiter: "/"}, "|a/1 |a/2", false},
		{&metapb.ListUploadsQuery{Limit: 2}, "|a/1 |a/2", true},
		{&metapb.ListUploadsQuery{Limit: 2, KeyMarker: "b", Delimiter: "/"}, "|b\x00 |k", true},
		{&metapb.ListUploadsQuery{Limit: 9, KeyMarker: "a/1", Delimiter: "/"}, "|b |b\x00 |k |k |z", false},
		{&metapb.ListUploadsQuery{Limit: 9, KeyMarker: "k"}, "|z", false},
		{&metapb.ListUploadsQuery{Limit: 9, KeyMarker: "k", UploadIdMarker: first}, "|k |z", false},
		{&metapb.ListUploadsQuery{Limit: 0}, "", false},
		{&metapb.ListUploadsQuery{Limit: 9, KeyMarker: "zz"}, "", false},
	} {
		got, more := page(c.q)
		require.Equal(t, c.want, strings.Join(got, " "), "%v", c.q)
		require.Equal(t, c.more, more, "%v", c.q)
	}
}
