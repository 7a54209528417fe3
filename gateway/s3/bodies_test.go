package s3

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"minikv/internal/digest"
)

const ns = ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`

func TestReadBody(t *testing.T) {
	b, err := ReadBody(strings.NewReader("abcd"), 4)
	require.NoError(t, err)
	require.Equal(t, "abcd", string(b))
	_, err = ReadBody(strings.NewReader("abcde"), 4)
	requireCode(t, err, CodeMaxMessageLengthExceeded, 400)
	broken := errors.New("broken")
	_, err = ReadBody(iotest.ErrReader(broken), 4)
	require.ErrorIs(t, err, broken)
}

func TestParseCreateBucket(t *testing.T) {
	for body, want := range map[string]string{
		"":    "",
		" \n": "",
		"<CreateBucketConfiguration" + ns + "><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>": "eu-west-1",
		"<CreateBucketConfiguration/>": "",
		"<CreateBucketConfiguration><LocationConstraint/></CreateBucketConfiguration>": "",
	} {
		got, err := ParseCreateBucket([]byte(body))
		require.NoError(t, err, body)
		require.Equal(t, want, got)
	}
	_, err := ParseCreateBucket([]byte("<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>"))
	requireCode(t, err, CodeNotImplemented, 501)
	_, err = ParseCreateBucket([]byte("<CreateBucketConfiguration><Other/></CreateBucketConfiguration>"))
	requireCode(t, err, CodeMalformedXML, 400)
}

// What no XML body may be, tried on a body that is else right.
func TestHostileXML(t *testing.T) {
	const good = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"
	for _, body := range []string{
		good,
		"\uFEFF" + good,
		"<?xml version='1.0' encoding='utf8'?>\n" + good, // as Python's ElementTree writes it
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c -->" + good + "\n<!-- c -->",
		strings.Replace(good, "<Tagging>", "<Tagging"+ns+">", 1),
		`<s3:Tagging xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/"><s3:TagSet><s3:Tag><s3:Key>k</s3:Key><s3:Value>v</s3:Value></s3:Tag></s3:TagSet></s3:Tagging>`,
		"<Tagging> <TagSet>\n<Tag>\t<Key>k<!-- c --></Key><Value><![CDATA[v]]></Value></Tag></TagSet></Tagging>",
	} {
		tags, err := ParseTagging([]byte(body))
		require.NoError(t, err, body)
		require.Equal(t, []Tag{{"k", "v"}}, tags)
	}
	for _, body := range []string{
		"", "x", "<", "<Tagging>", good + "x", good + good, "x" + good, good[:len(good)-1],
		"<!DOCTYPE Tagging>" + good,
		`<!DOCTYPE t [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>` + strings.Replace(good, "v<", "&b;<", 1),
		strings.Replace(good, ">v<", ">&unknown;<", 1),
		strings.Replace(good, ">v<", "><b>v</b><", 1),
		strings.Replace(good, "<TagSet>", "<TagSet>stray", 1),
		strings.Replace(good, "<TagSet>", "<TagSet><?pi x?>", 1),
		strings.Replace(good, "</Tag>", "<More/></Tag>", 1),
		strings.Replace(good, "<Value>v</Value>", "", 1),
		strings.ReplaceAll(good, "Tagging", "Other"),
		`<?xml version="1.0" encoding="UTF-16"?>` + good,
		strings.Replace(good, ">v<", ">\xff<", 1),
		strings.Repeat("<a>", 100000),
		"<Tagging>" + strings.Repeat("<TagSet>", 40) + strings.Repeat("</TagSet>", 40) + "</Tagging>",
		"<Tagging><TagSet/><TagSet/></Tagging>",
		"<Tagging/>",
	} {
		_, err := ParseTagging([]byte(body))
		requireCode(t, err, CodeMalformedXML, 400, "%.80q", body)
	}
}

func TestDepthIsBounded(t *testing.T) {
	nested := func(n int) []byte {
		return []byte("<r>" + strings.Repeat("<a>", n) + strings.Repeat("</a>", n) + "</r>")
	}
	read := func(n int) error {
		return parseXML(nested(n), "r", func(x *xmlReader) error { return x.skip() })
	}
	require.NoError(t, read(31))
	requireCode(t, read(32), CodeMalformedXML, 400)
}

// A tag with very many attributes is refused before it is taken apart; quotes hide nothing.
func TestTagsAreBounded(t *testing.T) {
	attrs := strings.Repeat(` a=">"`, 1<<20)
	for _, body := range []string{
		"<Delete" + attrs + "/>", "<Delete" + attrs, "<Delete><Object" + attrs + "><Key>k</Key></Object></Delete>",
		"<?xml " + attrs + "?><Delete/>", "<Delete><!-- c --><Key" + attrs + ">", "<Delete a='" + strings.Repeat("x", 5000) + "'/>",
	} {
		b := []byte(body)
		require.False(t, boundedTags(b))
		n := testing.AllocsPerRun(1, func() {
			_, err := ParseDelete(b)
			requireCode(t, err, CodeMalformedXML, 400)
		})
		require.Less(t, n, 100.0)
	}
	for _, body := range []string{"", "<", "<a b='>'>", "<!-- <" + attrs + "--><a/>", "<![CDATA[<" + attrs + "]]>", "<!--", "x"} {
		require.True(t, boundedTags([]byte(body)), "%.20s", body)
	}
}

func TestParseTaggingLimits(t *testing.T) {
	body := func(n int) []byte {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "<Tag><Key>k%d</Key><Value></Value></Tag>", i)
		}
		return []byte("<Tagging><TagSet>" + b.String() + "</TagSet></Tagging>")
	}
	tags, err := ParseTagging(body(10))
	require.NoError(t, err)
	require.Len(t, tags, 10)
	tags, err = ParseTagging(body(0))
	require.NoError(t, err)
	require.Empty(t, tags)
	for _, n := range []int{11, 64, 65, 5000} {
		_, err = ParseTagging(body(n))
		requireCode(t, err, CodeBadRequest, 400)
	}
}

func TestParseDelete(t *testing.T) {
	r, err := ParseDelete([]byte("<Delete" + ns + "><Object><Key> a&amp;b&#13; </Key><VersionId>null</VersionId></Object>" +
		"<Object><Key>k</Key><ETag>\"" + tagA + "\"</ETag><Size>5</Size><LastModifiedTime>" + exact + "</LastModifiedTime></Object><Quiet>true</Quiet></Delete>"))
	require.NoError(t, err)
	require.True(t, r.Quiet)
	require.Len(t, r.Objects, 2)
	require.Equal(t, " a&b\r ", r.Objects[0].Key)
	require.Equal(t, "null", r.Objects[0].VersionID)
	require.False(t, r.Objects[0].Conditions.Any())
	c := r.Objects[1].Conditions
	require.NoError(t, c.Check(true, etag(t, tagA), modified, 5))
	requireStatus(t, c.Check(true, etag(t, tagB), modified, 5), 412)
	requireStatus(t, c.Check(true, etag(t, tagA), modified+1000, 5), 412)
	requireStatus(t, c.Check(true, etag(t, tagA), modified, 6), 412)

	many := func(n int) []byte {
		return []byte("<Delete>" + strings.Repeat("<Object><Key>k</Key></Object>", n) + "</Delete>")
	}
	r, err = ParseDelete(many(1000))
	require.NoError(t, err)
	require.Len(t, r.Objects, 1000)
	_, err = ParseDelete(append([]byte("<?xml version='1.0' encoding='us-ascii'?>"), many(1)...))
	require.NoError(t, err)
	for _, body := range [][]byte{
		many(0), many(1001), []byte("<Delete><Object/></Delete>"), []byte("<Delete><Object><Key/></Object></Delete>"),
		[]byte("<Delete><Object><Key>k</Key><Size>x</Size></Object></Delete>"),
		[]byte("<Delete><Object><Key>k</Key><LastModifiedTime>x</LastModifiedTime></Object></Delete>"),
		[]byte("<Delete><Object><Key>k</Key><Key>j</Key></Object></Delete>"),
		[]byte("<Delete><Object><Key>k</Key><ETag>" + tagA + "," + tagB + "</ETag></Object></Delete>"),
		[]byte("<Delete><Object><Key>k</Key><Unknown/></Object></Delete>"), []byte("<Delete><Other/></Delete>"),
	} {
		_, err = ParseDelete(body)
		requireCode(t, err, CodeMalformedXML, 400, "%.60s", body)
	}
}

func completeBody(inner ...string) []byte {
	return []byte("<CompleteMultipartUpload" + ns + "><Part>" + strings.Join(inner, "</Part><Part>") + "</Part></CompleteMultipartUpload>")
}

func TestParseComplete(t *testing.T) {
	sum := digest.Of(digest.CRC32C, []byte("x"))
	parts, err := ParseComplete(completeBody(
		"<PartNumber>1</PartNumber><ETag>"+tagA+"</ETag>",
		"<ETag>&quot;"+tagB+"&quot;</ETag><ChecksumCRC32C>"+sum.String()+"</ChecksumCRC32C><PartNumber>10000</PartNumber>"))
	require.NoError(t, err)
	require.Equal(t, []CompletePart{{Number: 1, ETag: etag(t, tagA)}, {Number: 10000, ETag: etag(t, tagB), Checksum: sum}}, parts)

	const e = "<ETag>" + tagA + "</ETag>"
	for _, c := range []struct {
		body   []byte
		code   Code
		status int
	}{
		{[]byte("<CompleteMultipartUpload/>"), CodeMalformedXML, 400},
		{completeBody(e), CodeMalformedXML, 400},
		{completeBody("<PartNumber>1</PartNumber>"), CodeMalformedXML, 400},
		{completeBody("<PartNumber>0</PartNumber>" + e), CodeMalformedXML, 400},
		{completeBody("<PartNumber>10001</PartNumber>" + e), CodeMalformedXML, 400},
		{completeBody("<PartNumber>1</PartNumber>" + e + e), CodeMalformedXML, 400},
		{completeBody("<PartNumber>1</PartNumber><PartNumber>1</PartNumber>" + e), CodeMalformedXML, 400},
		{completeBody("<PartNumber>1</PartNumber><Other>1</Other>" + e), CodeMalformedXML, 400},
		{completeBody("<PartNumber>2</PartNumber>"+e, "<PartNumber>1</PartNumber>"+e), CodeInvalidPartOrder, 400},
		{completeBody("<PartNumber>2</PartNumber>"+e, "<PartNumber>2</PartNumber>"+e), CodeInvalidPartOrder, 400},
		{completeBody("<PartNumber>1</PartNumber><ETag>nonsense</ETag>"), CodeInvalidPart, 400},
		{completeBody("<PartNumber>1</PartNumber><ETag>" + tagA + "-2</ETag>"), CodeInvalidPart, 400},
		{completeBody("<PartNumber>1</PartNumber><ChecksumCRC32>x</ChecksumCRC32>" + e), CodeInvalidPart, 400},
		{completeBody("<PartNumber>1</PartNumber><ChecksumCRC32C>" + sum.String() + "</ChecksumCRC32C><ChecksumCRC32>" + sum.String() + "</ChecksumCRC32>" + e), CodeInvalidRequest, 400},
		{completeBody("<PartNumber>1</PartNumber><ChecksumSHA512>x</ChecksumSHA512>" + e), CodeNotImplemented, 501},
	} {
		_, err := ParseComplete(c.body)
		requireCode(t, err, c.code, c.status, string(c.body))
	}

	inner := make([]string, 10001)
	for i := range inner {
		inner[i] = fmt.Sprintf("<PartNumber>%d</PartNumber>%s", i+1, e)
	}
	parts, err = ParseComplete(completeBody(inner[:10000]...))
	require.NoError(t, err)
	require.Len(t, parts, 10000)
	_, err = ParseComplete(completeBody(inner...))
	requireCode(t, err, CodeMalformedXML, 400)
}
