package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"minikv/internal/digest"
)

// canned is an HTTP client that answers every request alike.
type canned struct {
	status int
	body   []byte
}

func (c canned) Do(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {"application/xml"}}, Request: r,
		Body: io.NopCloser(bytes.NewReader(c.body)), ContentLength: int64(len(c.body))}, nil
}

// read runs an operation of the SDK against a canned answer.
func read[I, O any](t testing.TB, op func(*s3.Client) func(context.Context, *I, ...func(*s3.Options)) (*O, error), in *I, body []byte) *O {
	t.Helper()
	out, err := op(sdkClient(canned{200, body}))(context.Background(), in)
	require.NoError(t, err, string(body))
	return out
}

var (
	bkt, key = aws.String("bkt"), aws.String("k")
	when     = time.Unix(modified/1000, 0).UTC()
)

const awkward = "a b+c%<&>\"'ü/日本#?;"

func sampleList(t testing.TB, p *ListParams) *ListResult {
	return &ListResult{Bucket: "bkt", Params: p, Truncated: true, Next: awkward + "/", NextPrefix: true,
		Prefixes: []string{awkward + "/"},
		Entries: []Entry{
			{Key: awkward, ModifiedMS: modified, ETag: etag(t, tagA+"-3"), Size: 1 << 40, OwnerID: "id", OwnerName: "na&me",
				ChecksumAlgorithm: digest.CRC32C, ChecksumType: digest.Composite},
			{Key: "plain", ModifiedMS: modified, ETag: etag(t, tagB)},
		}}
}

func TestListV2ReadBySDK(t *testing.T) {
	p := &ListParams{V2: true, Prefix: "p<", Delimiter: "&", MaxKeys: 3, FetchOwner: true, StartAfter: "s>", Token: "tok"}
	out := read(t, func(c *s3.Client) func(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
		return c.ListObjectsV2
	}, &s3.ListObjectsV2Input{Bucket: bkt}, AppendList(nil, sampleList(t, p)))
	require.Equal(t, "bkt", *out.Name)
	require.Equal(t, "p<", *out.Prefix)
	require.Equal(t, "&", *out.Delimiter)
	require.Equal(t, int32(3), *out.MaxKeys)
	require.Equal(t, int32(3), *out.KeyCount)
	require.True(t, *out.IsTruncated)
	require.Equal(t, "tok", *out.ContinuationToken)
	require.Equal(t, "s>", *out.StartAfter)
	last, prefix, err := parseToken(*out.NextContinuationToken)
	require.NoError(t, err)
	require.Equal(t, awkward+"/", last)
	require.True(t, prefix)
	require.Equal(t, awkward+"/", *out.CommonPrefixes[0].Prefix)
	o := out.Contents[0]
	require.Equal(t, awkward, *o.Key)
	require.Equal(t, `"`+tagA+`-3"`, *o.ETag)
	require.Equal(t, int64(1<<40), *o.Size)
	require.Equal(t, when, *o.LastModified)
	require.Equal(t, []types.ChecksumAlgorithm{"CRC32C"}, o.ChecksumAlgorithm)
	require.Equal(t, types.ChecksumTypeComposite, o.ChecksumType)
	require.Equal(t, "na&me", *o.Owner.DisplayName)
	require.Equal(t, types.ObjectStorageClassStandard, o.StorageClass)
	require.Empty(t, out.Contents[1].ChecksumAlgorithm)
}

func TestListV1ReadBySDK(t *testing.T) {
	get := func(p *ListParams) *s3.ListObjectsOutput {
		return read(t, func(c *s3.Client) func(context.Context, *s3.ListObjectsInput, ...func(*s3.Options)) (*s3.ListObjectsOutput, error) {
			return c.ListObjects
		}, &s3.ListObjectsInput{Bucket: bkt}, AppendList(nil, sampleList(t, p)))
	}
	out := get(&ListParams{Marker: "m", Delimiter: "/", MaxKeys: 3, FetchOwner: true})
	require.Equal(t, "m", *out.Marker)
	require.Equal(t, awkward+"/", *out.NextMarker)
	require.Equal(t, "id", *out.Contents[0].Owner.ID)
	out = get(&ListParams{MaxKeys: 3})
	require.Nil(t, out.NextMarker) // only with a delimiter
	require.Nil(t, out.Contents[0].Owner)

	out = get(&ListParams{Marker: "m n", Prefix: "a b", Delimiter: "/+", MaxKeys: 3, EncodingURL: true})
	require.Equal(t, types.EncodingTypeUrl, out.EncodingType)
	require.Equal(t, "m%20n", *out.Marker)
	require.Equal(t, "a%20b", *out.Prefix)
	require.Equal(t, "/%2B", *out.Delimiter)
	require.Equal(t, "a%20b%2Bc%25%3C%26%3E%22%27%C3%BC/%E6%97%A5%E6%9C%AC%23%3F%3B", *out.Contents[0].Key)
	require.Equal(t, *out.Contents[0].Key+"/", *out.CommonPrefixes[0].Prefix)
	require.Equal(t, *out.Contents[0].Key+"/", *out.NextMarker)
}

func TestControlCharactersStayApart(t *testing.T) {
	var b []byte
	for c := byte(0); c < 0x20; c++ {
		b = appendElement(b, "K", string(rune(c)))
	}
	require.Contains(t, string(b), "<K>&#x0;</K><K>&#x1;</K>")
	require.Contains(t, string(b), "<K>&#x9;</K><K>&#xA;</K>")
	require.Contains(t, string(b), "<K>&#x1F;</K>")
	require.Equal(t, "&#x7F;\uFFFDü", string(appendText(nil, "\x7f\xffü")))
}

// Where a key only repeats the request, a parser must not fail of it: XML 1.0 has no control characters, escaped or not.
func TestEchoedKeysAreParsed(t *testing.T) {
	const key = "a\x01\x00\uFFFE\r\n\t<ü"
	for _, body := range [][]byte{
		AppendInitiate(nil, "bkt", key, "id"), AppendComplete(nil, "http://h/bkt/k", "bkt", key, etag(t, tagA+"-2"), digest.Checksum{}),
		AppendParts(nil, &PartsResult{Bucket: "bkt", Key: key, Params: &PartsParams{}}),
		AppendError(nil, NewError(CodeNoSuchKey, "no \x02").With("Key", key), "/", "r", "h"),
	} {
		var parsed struct{ Key string }
		require.NoError(t, xml.Unmarshal(body, &parsed), "%s", body)
		require.Equal(t, "a\uFFFD\uFFFD\uFFFD\r\n\t<ü", parsed.Key)
	}
}

func TestBucketsReadBySDK(t *testing.T) {
	body := AppendBuckets(nil, &BucketsResult{Params: &BucketsParams{Prefix: "b"}, OwnerID: "id", OwnerName: "me", Next: "b2",
		Buckets: []BucketEntry{{"b1", modified, "us-east-1"}, {"b2", modified, ""}}})
	out := read(t, func(c *s3.Client) func(context.Context, *s3.ListBucketsInput, ...func(*s3.Options)) (*s3.ListBucketsOutput, error) {
		return c.ListBuckets
	}, &s3.ListBucketsInput{}, body)
	require.Equal(t, "me", *out.Owner.DisplayName)
	require.Len(t, out.Buckets, 2)
	require.Equal(t, when, *out.Buckets[0].CreationDate)
	require.Equal(t, "us-east-1", *out.Buckets[0].BucketRegion)
	require.Equal(t, "b", *out.Prefix)
	p, err := ParseBuckets(Query{{"continuation-token", *out.ContinuationToken}})
	require.NoError(t, err)
	require.Equal(t, "b2", p.After)
}

func TestLocationReadBySDK(t *testing.T) {
	for region, want := range map[string]types.BucketLocationConstraint{"us-east-1": "", "eu-west-1": "eu-west-1"} {
		out := read(t, func(c *s3.Client) func(context.Context, *s3.GetBucketLocationInput, ...func(*s3.Options)) (*s3.GetBucketLocationOutput, error) {
			return c.GetBucketLocation
		}, &s3.GetBucketLocationInput{Bucket: bkt}, AppendLocation(nil, region))
		require.Equal(t, want, out.LocationConstraint)
	}
}

func TestACLReadBySDK(t *testing.T) {
	out := read(t, func(c *s3.Client) func(context.Context, *s3.GetBucketAclInput, ...func(*s3.Options)) (*s3.GetBucketAclOutput, error) {
		return c.GetBucketAcl
	}, &s3.GetBucketAclInput{Bucket: bkt}, AppendACL(nil, "id", "me"))
	require.Equal(t, "id", *out.Owner.ID)
	require.Len(t, out.Grants, 1)
	require.Equal(t, types.TypeCanonicalUser, out.Grants[0].Grantee.Type)
	require.Equal(t, types.PermissionFullControl, out.Grants[0].Permission)
}

func TestDeleteResultsReadBySDK(t *testing.T) {
	results := []DeleteResult{
		{Key: awkward}, {Key: "v", VersionID: "null"}, {Key: "m", DeleteMarker: true, MarkerVersionID: "7"},
		{Key: "bad", Err: NewError(CodeAccessDenied, "no & no")},
	}
	get := func(quiet bool) *s3.DeleteObjectsOutput {
		return read(t, func(c *s3.Client) func(context.Context, *s3.DeleteObjectsInput, ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error) {
			return c.DeleteObjects
		}, &s3.DeleteObjectsInput{Bucket: bkt, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: key}}}},
			AppendDeleteResults(nil, results, quiet))
	}
	out := get(false)
	require.Len(t, out.Deleted, 3)
	require.Equal(t, awkward, *out.Deleted[0].Key)
	require.Equal(t, "null", *out.Deleted[1].VersionId)
	require.Equal(t, "7", *out.Deleted[2].DeleteMarkerVersionId)
	require.Equal(t, "AccessDenied", *out.Errors[0].Code)
	require.Equal(t, "no & no", *out.Errors[0].Message)
	out = get(true)
	require.Empty(t, out.Deleted)
	require.Len(t, out.Errors, 1)
}

func TestErrorReadBySDK(t *testing.T) {
	body := AppendError(nil, NewError(CodeNoSuchKey, "").With("Key", "k"), "/bkt/k", "req", "host")
	_, err := sdkClient(canned{404, body}).GetObject(context.Background(), &s3.GetObjectInput{Bucket: bkt, Key: key})
	var missing *types.NoSuchKey
	require.ErrorAs(t, err, &missing)
}

func TestCopyResultsReadBySDK(t *testing.T) {
	sum := digest.Of(digest.SHA256, []byte("x"))
	out := read(t, func(c *s3.Client) func(context.Context, *s3.CopyObjectInput, ...func(*s3.Options)) (*s3.CopyObjectOutput, error) {
		return c.CopyObject
	}, &s3.CopyObjectInput{Bucket: bkt, Key: key, CopySource: aws.String("bkt/k")}, AppendCopyObject(nil, etag(t, tagA+"-2"), modified, sum))
	require.Equal(t, `"`+tagA+`-2"`, *out.CopyObjectResult.ETag)
	require.Equal(t, when, *out.CopyObjectResult.LastModified)
	require.Equal(t, sum.String(), *out.CopyObjectResult.ChecksumSHA256)
	require.Equal(t, types.ChecksumTypeFullObject, out.CopyObjectResult.ChecksumType)

	part := read(t, func(c *s3.Client) func(context.Context, *s3.UploadPartCopyInput, ...func(*s3.Options)) (*s3.UploadPartCopyOutput, error) {
		return c.UploadPartCopy
	}, &s3.UploadPartCopyInput{Bucket: bkt, Key: key, CopySource: aws.String("bkt/k"), UploadId: key, PartNumber: aws.Int32(1)},
		AppendCopyPart(nil, etag(t, tagA), modified, sum))
	require.Equal(t, `"`+tagA+`"`, *part.CopyPartResult.ETag)
	require.Equal(t, sum.String(), *part.CopyPartResult.ChecksumSHA256)
}

func TestMultipartReadBySDK(t *testing.T) {
	init := read(t, func(c *s3.Client) func(context.Context, *s3.CreateMultipartUploadInput, ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
		return c.CreateMultipartUpload
	}, &s3.CreateMultipartUploadInput{Bucket: bkt, Key: key}, AppendInitiate(nil, "bkt", awkward, "up<1>"))
	require.Equal(t, []string{"bkt", awkward, "up<1>"}, []string{*init.Bucket, *init.Key, *init.UploadId})

	sum := digest.Checksum{Algorithm: digest.CRC32, Type: digest.Composite, Parts: 2}
	done := read(t, func(c *s3.Client) func(context.Context, *s3.CompleteMultipartUploadInput, ...func(*s3.Options)) (*s3.CompleteMultipartUploadOutput, error) {
		return c.CompleteMultipartUpload
	}, &s3.CompleteMultipartUploadInput{Bucket: bkt, Key: key, UploadId: key}, AppendComplete(nil, "http://h/bkt/k", "bkt", awkward, etag(t, tagA+"-2"), sum))
	require.Equal(t, `"`+tagA+`-2"`, *done.ETag)
	require.Equal(t, "AAAAAA==-2", *done.ChecksumCRC32)
	require.Equal(t, types.ChecksumTypeComposite, done.ChecksumType)
	require.Equal(t, "http://h/bkt/k", *done.Location)

	parts := read(t, func(c *s3.Client) func(context.Context, *s3.ListPartsInput, ...func(*s3.Options)) (*s3.ListPartsOutput, error) {
		return c.ListParts
	}, &s3.ListPartsInput{Bucket: bkt, Key: key, UploadId: key}, AppendParts(nil, &PartsResult{Bucket: "bkt", Key: awkward,
		Params: &PartsParams{UploadID: "u", MaxParts: 2, Marker: 3}, OwnerID: "id", OwnerName: "me", Truncated: true,
		ChecksumAlgorithm: digest.CRC32, ChecksumType: digest.FullObject,
		Parts: []Part{{4, modified, etag(t, tagA), 5, digest.Of(digest.CRC32, nil)}, {7, modified, etag(t, tagB), 6, digest.Checksum{}}}}))
	require.Equal(t, awkward, *parts.Key)
	require.Equal(t, []string{"3", "7"}, []string{*parts.PartNumberMarker, *parts.NextPartNumberMarker})
	require.Equal(t, int32(2), *parts.MaxParts)
	require.True(t, *parts.IsTruncated)
	require.Equal(t, types.ChecksumTypeFullObject, parts.ChecksumType)
	require.Equal(t, int64(6), *parts.Parts[1].Size)
	require.Equal(t, "AAAAAA==", *parts.Parts[0].ChecksumCRC32)
	require.Equal(t, "id", *parts.Initiator.ID)

	ups := read(t, func(c *s3.Client) func(context.Context, *s3.ListMultipartUploadsInput, ...func(*s3.Options)) (*s3.ListMultipartUploadsOutput, error) {
		return c.ListMultipartUploads
	}, &s3.ListMultipartUploadsInput{Bucket: bkt}, AppendUploads(nil, &UploadsResult{Bucket: "bkt",
		Params:  &UploadsParams{Prefix: "p", Delimiter: "/", MaxUploads: 9, KeyMarker: "km", UploadIDMarker: "um"},
		Uploads: []Upload{{Key: awkward, UploadID: "u", InitiatedMS: modified, OwnerID: "id", OwnerName: "me"}}, Prefixes: []string{"p/"},
		Truncated: true, NextKey: "nk", NextUploadID: "nu"}))
	require.Equal(t, []string{"km", "um", "nk", "nu"}, []string{*ups.KeyMarker, *ups.UploadIdMarker, *ups.NextKeyMarker, *ups.NextUploadIdMarker})
	require.Equal(t, awkward, *ups.Uploads[0].Key)
	require.Equal(t, when, *ups.Uploads[0].Initiated)
	require.Equal(t, "p/", *ups.CommonPrefixes[0].Prefix)
}

func TestAttributesReadBySDK(t *testing.T) {
	sum := digest.Checksum{Algorithm: digest.SHA1, Type: digest.Composite, Parts: 2}
	get := func(a *Attributes) *s3.GetObjectAttributesOutput {
		return read(t, func(c *s3.Client) func(context.Context, *s3.GetObjectAttributesInput, ...func(*s3.Options)) (*s3.GetObjectAttributesOutput, error) {
			return c.GetObjectAttributes
		}, &s3.GetObjectAttributesInput{Bucket: bkt, Key: key, ObjectAttributes: []types.ObjectAttributes{"ETag"}}, AppendAttributes(nil, a))
	}
	out := get(&Attributes{Params: &AttributesParams{ETag: true, Checksum: true, Parts: true, StorageClass: true, Size: true, MaxParts: 1, Marker: 1},
		ETag: etag(t, tagA+"-2"), Size: 12, Checksum: sum, PartCount: 2, Truncated: true,
		Parts: []Part{{Number: 2, Size: 6, Checksum: digest.Of(digest.SHA1, nil)}}})
	require.Equal(t, tagA+"-2", *out.ETag) // bare
	require.Equal(t, int64(12), *out.ObjectSize)
	require.Equal(t, types.StorageClassStandard, out.StorageClass)
	require.Equal(t, strings.TrimSuffix(sum.String(), "-2"), *out.Checksum.ChecksumSHA1) // here without the number of parts
	require.Equal(t, types.ChecksumTypeComposite, out.Checksum.ChecksumType)
	require.Equal(t, int32(2), *out.ObjectParts.TotalPartsCount)
	require.Equal(t, "1", *out.ObjectParts.PartNumberMarker)
	require.Equal(t, "2", *out.ObjectParts.NextPartNumberMarker)
	require.Equal(t, int64(6), *out.ObjectParts.Parts[0].Size)

	out = get(&Attributes{Params: &AttributesParams{Size: true}, ETag: etag(t, tagA), Size: 0})
	require.Nil(t, out.ETag)
	require.Nil(t, out.ObjectParts)
	require.Equal(t, int64(0), *out.ObjectSize)
}

func TestTaggingReadBySDK(t *testing.T) {
	body := AppendTagging(nil, []Tag{{"k<", "v&"}, {"e", ""}})
	out := read(t, func(c *s3.Client) func(context.Context, *s3.GetObjectTaggingInput, ...func(*s3.Options)) (*s3.GetObjectTaggingOutput, error) {
		return c.GetObjectTagging
	}, &s3.GetObjectTaggingInput{Bucket: bkt, Key: key}, body)
	require.Equal(t, "v&", *out.TagSet[0].Value)
	require.Equal(t, "", *out.TagSet[1].Value)
	tags, err := ParseTagging(AppendTagging(nil, []Tag{{"k", "v"}, {"e", ""}}))
	require.NoError(t, err)
	require.Equal(t, []Tag{{"k", "v"}, {"e", ""}}, tags)
}

// bigList is a full page.
func bigList(t testing.TB) *ListResult {
	r := &ListResult{Bucket: "bkt", Params: &ListParams{V2: true, MaxKeys: 1000}, Truncated: true, Next: "dir/file-0999"}
	for i := range 1000 {
		r.Entries = append(r.Entries, Entry{Key: fmt.Sprintf("dir/some/where/file-%04d.jpeg", i), ModifiedMS: modified + int64(i)*1000,
			ETag: etag(t, tagA), Size: uint64(i) << 12, ChecksumAlgorithm: digest.CRC64NVME, ChecksumType: digest.FullObject})
	}
	return r
}

// W4.
func TestListXMLAllocatesNothing(t *testing.T) {
	r := bigList(t)
	r.Params.EncodingURL, r.Params.FetchOwner, r.Params.Delimiter = true, true, "/"
	r.Prefixes = []string{"x/", "ü/"}
	buf := AppendList(nil, r)
	require.Zero(t, testing.AllocsPerRun(10, func() { buf = AppendList(buf[:0], r) }))
	r.Params.V2 = false
	require.Zero(t, testing.AllocsPerRun(10, func() { buf = AppendList(buf[:0], r) }))
}

func BenchmarkListXML(b *testing.B) {
	r := bigList(b)
	buf := AppendList(nil, r)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendList(buf[:0], r)
	}
}
