package e2e

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// upload is a multipart upload in progress.
type upload struct {
	t      *testing.T
	c      *s3.Client
	bucket *string
	key    string
	id     *string
	parts  []types.CompletedPart
}

func newUpload(t *testing.T, c *s3.Client, bucket *string, key string, change ...func(*s3.CreateMultipartUploadInput)) *upload {
	t.Helper()
	in := &s3.CreateMultipartUploadInput{Bucket: bucket, Key: &key}
	for _, f := range change {
		f(in)
	}
	out, err := c.CreateMultipartUpload(t.Context(), in)
	require.NoError(t, err)
	return &upload{t: t, c: c, bucket: bucket, key: key, id: out.UploadId}
}

func (u *upload) put(number int32, body []byte, change ...func(*s3.UploadPartInput)) (*s3.UploadPartOutput, error) {
	in := &s3.UploadPartInput{Bucket: u.bucket, Key: &u.key, UploadId: u.id, PartNumber: &number, Body: bytes.NewReader(body)}
	for _, f := range change {
		f(in)
	}
	out, err := u.c.UploadPart(u.t.Context(), in)
	if err == nil {
		u.parts = append(u.parts, types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32,
			ChecksumCRC32C: out.ChecksumCRC32C, ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256, ChecksumCRC64NVME: out.ChecksumCRC64NVME})
	}
	return out, err
}

func (u *upload) must(number int32, body []byte) *s3.UploadPartOutput {
	u.t.Helper()
	out, err := u.put(number, body)
	require.NoError(u.t, err)
	return out
}

func (u *upload) complete(change ...func(*s3.CompleteMultipartUploadInput)) (*s3.CompleteMultipartUploadOutput, error) {
	in := &s3.CompleteMultipartUploadInput{Bucket: u.bucket, Key: &u.key, UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts}}
	for _, f := range change {
		f(in)
	}
	return u.c.CompleteMultipartUpload(u.t.Context(), in)
}

const partMin = 5 << 20

func TestS3APIMultipartErrors(t *testing.T) {
	p := startInproc(t)
	c, b := p.bucket()
	big := noise(1, partMin)
	u := newUpload(t, c, b, "k")
	u.must(1, big)
	u.must(2, []byte("small"))
	u.must(3, []byte("last"))
	with := func(parts ...types.CompletedPart) func(*s3.CompleteMultipartUploadInput) {
		return func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts = parts }
	}
	_, err := u.complete()
	requireStatus(t, err, 400, "EntityTooSmall")
	_, err = u.complete(with(u.parts[2], u.parts[0]))
	requireStatus(t, err, 400, "InvalidPartOrder")
	_, err = u.complete(with(u.parts[0], u.parts[0]))
	requireStatus(t, err, 400, "InvalidPartOrder")
	wrong := u.parts[0]
	wrong.ETag = aws.String(`"00000000000000000000000000000000"`)
	_, err = u.complete(with(wrong))
	requireStatus(t, err, 400, "InvalidPart")
	absent := u.parts[0]
	absent.PartNumber = aws.Int32(9)
	_, err = u.complete(with(absent))
	requireStatus(t, err, 400, "InvalidPart")
	_, err = u.complete(with())
	requireStatus(t, err, 400, "MalformedXML")
	_, err = u.complete(with(u.parts[0], u.parts[2]), func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(7) })
	requireStatus(t, err, 400, "InvalidRequest")
	_, err = u.complete(with(u.parts[0], u.parts[2]), func(in *s3.CompleteMultipartUploadInput) { in.IfMatch = aws.String(`"x"`) })
	requireStatus(t, err, 404, "NoSuchKey")
	_, err = u.complete(with(u.parts[0], u.parts[2]), func(in *s3.CompleteMultipartUploadInput) { in.ChecksumCRC64NVME = aws.String("AAAAAAAAAAA=") })
	requireStatus(t, err, 400, "BadDigest")
	_, err = c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: aws.String("k"), Body: strings.NewReader("old")})
	require.NoError(t, err)
	_, err = u.complete(with(u.parts[0], u.parts[2]), func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") })
	requireStatus(t, err, 412, "PreconditionFailed")
	// Nothing of that closed the upload.
	out, err := u.complete(with(u.parts[0], u.parts[2]))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(*out.ETag, `-2"`))
	require.Equal(t, p.URL+"/bucket/k", *out.Location)
	require.True(t, bytes.Equal(append(bytes.Clone(big), "last"...), get(t, c, *b, "k")))
	_, err = u.put(1, big)
	requireStatus(t, err, 404, "NoSuchUpload")
	_, err = c.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: b, Key: &u.key, UploadId: u.id})
	requireStatus(t, err, 404, "NoSuchUpload")

	gone := newUpload(t, c, b, "gone")
	gone.must(1, []byte("x"))
	_, err = c.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: b, Key: &gone.key, UploadId: gone.id})
	require.NoError(t, err)
	_, err = gone.complete()
	requireStatus(t, err, 404, "NoSuchUpload")
	_, err = c.ListParts(t.Context(), &s3.ListPartsInput{Bucket: b, Key: &gone.key, UploadId: gone.id})
	requireStatus(t, err, 404, "NoSuchUpload")
	other := p.client(otherKey, otherSecret)
	_, err = other.ListParts(t.Context(), &s3.ListPartsInput{Bucket: b, Key: &gone.key, UploadId: gone.id})
	requireStatus(t, err, 403, "AccessDenied")
}

func TestS3APIPartsAndUploadsLists(t *testing.T) {
	p := startInproc(t)
	c, b := p.bucket()
	u := newUpload(t, c, b, "dir/k")
	for _, n := range []int32{7, 1, 3, 10000, 3} { // in any order, overwritten
		u.must(n, []byte(fmt.Sprint("part ", n)))
	}
	var numbers []int32
	pages := s3.NewListPartsPaginator(c, &s3.ListPartsInput{Bucket: b, Key: &u.key, UploadId: u.id, MaxParts: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, part := range page.Parts {
			numbers = append(numbers, *part.PartNumber)
			require.EqualValues(t, len(fmt.Sprint("part ", *part.PartNumber)), *part.Size)
		}
		require.Equal(t, "inproc-id", *page.Owner.ID)
	}
	require.Equal(t, []int32{1, 3, 7, 10000}, numbers)

	keys := []string{"a", "dir/k", "dir/z", "e/1", "e/2", "f"}
	for _, k := range keys {
		if k != "dir/k" {
			newUpload(t, c, b, k)
		}
	}
	newUpload(t, c, b, "f")
	var seen []string
	in := &s3.ListMultipartUploadsInput{Bucket: b, MaxUploads: aws.Int32(1)}
	for range 20 {
		page, err := c.ListMultipartUploads(t.Context(), in)
		require.NoError(t, err)
		for _, up := range page.Uploads {
			seen = append(seen, *up.Key)
		}
		if !*page.IsTruncated {
			break
		}
		in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
	require.Equal(t, append(keys, "f"), seen)
	page, err := c.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: b, Delimiter: aws.String("/")})
	require.NoError(t, err)
	require.Len(t, page.Uploads, 3)
	require.Len(t, page.CommonPrefixes, 2)
	page, err = c.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: b, Prefix: aws.String("e/")})
	require.NoError(t, err)
	require.Len(t, page.Uploads, 2)
}

func crc32Base64(b []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)))
}

func TestS3APIMultipartChecksums(t *testing.T) {
	p := startInproc(t)
	c, b := p.bucket()
	first, last := noise(1, partMin), noise(2, 1000)
	whole := append(bytes.Clone(first), last...)

	// Without an algorithm: CRC64NVME of the whole, equal to that of a single PUT.
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: aws.String("single"), Body: bytes.NewReader(whole), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme})
	require.NoError(t, err)
	single, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: b, Key: aws.String("single"), ChecksumMode: types.ChecksumModeEnabled})
	require.NoError(t, err)
	for _, alg := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
		key := "multi-" + string(alg)
		u := newUpload(t, c, b, key, func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = alg })
		for i, body := range [][]byte{first, last} {
			_, err := u.put(int32(i+1), body, func(in *s3.UploadPartInput) { in.ChecksumAlgorithm = alg })
			require.NoError(t, err, alg)
		}
		out, err := u.complete()
		require.NoError(t, err, alg)
		head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: b, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		require.NoError(t, err)
		if alg == types.ChecksumAlgorithmCrc64nvme {
			require.Equal(t, types.ChecksumTypeFullObject, head.ChecksumType)
			require.Equal(t, *single.ChecksumCRC64NVME, *head.ChecksumCRC64NVME)
			continue
		}
		require.Equal(t, types.ChecksumTypeComposite, head.ChecksumType, alg)
		require.Equal(t, types.ChecksumTypeComposite, out.ChecksumType)
		if alg == types.ChecksumAlgorithmCrc32 {
			require.True(t, strings.HasSuffix(*head.ChecksumCRC32, "-2"))
		}
		attrs, err := c.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: b, Key: &key, MaxParts: aws.Int32(1),
			ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesChecksum, types.ObjectAttributesObjectParts, types.ObjectAttributesObjectSize, types.ObjectAttributesEtag}})
		require.NoError(t, err)
		require.EqualValues(t, len(whole), *attrs.ObjectSize)
		require.EqualValues(t, 2, *attrs.ObjectParts.TotalPartsCount)
		require.Len(t, attrs.ObjectParts.Parts, 1)
		require.True(t, *attrs.ObjectParts.IsTruncated)
		require.False(t, strings.Contains(*attrs.ETag, `"`))
		part, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: b, Key: &key, PartNumber: aws.Int32(2), ChecksumMode: types.ChecksumModeEnabled})
		require.NoError(t, err)
		require.EqualValues(t, 2, *part.PartsCount)
		if alg == types.ChecksumAlgorithmCrc32 {
			require.Equal(t, crc32Base64(last), *part.ChecksumCRC32)
		}
	}

	// FULL_OBJECT CRC32, given and computed.
	u := newUpload(t, c, b, "full", func(in *s3.CreateMultipartUploadInput) {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32, types.ChecksumTypeFullObject
	})
	u.must(1, first)
	u.must(2, last)
	for i := range u.parts { // the SDK's default algorithm may not be the upload's
		u.parts[i].ChecksumCRC64NVME = nil
	}
	_, err = u.complete(func(in *s3.CompleteMultipartUploadInput) {
		in.ChecksumType, in.ChecksumCRC32 = types.ChecksumTypeFullObject, aws.String("AAAAAA==")
	})
	requireStatus(t, err, 400, "BadDigest")
	_, err = u.complete(func(in *s3.CompleteMultipartUploadInput) {
		in.ChecksumType, in.ChecksumCRC32, in.MpuObjectSize = types.ChecksumTypeFullObject, aws.String(crc32Base64(whole)), aws.Int64(int64(len(whole)))
	})
	require.NoError(t, err)
	full, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: b, Key: aws.String("full"), ChecksumMode: types.ChecksumModeEnabled})
	require.NoError(t, err)
	require.Equal(t, crc32Base64(whole), *full.ChecksumCRC32)

	// Its parts have theirs too: those that came with them are the upload's algorithm's.
	attrs, err := c.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: b, Key: aws.String("full"),
		ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesChecksum, types.ObjectAttributesObjectParts}})
	require.NoError(t, err)
	require.Equal(t, types.ChecksumTypeFullObject, attrs.Checksum.ChecksumType)
	require.Len(t, attrs.ObjectParts.Parts, 2)
	for i, body := range [][]byte{first, last} {
		require.Equal(t, crc32Base64(body), *attrs.ObjectParts.Parts[i].ChecksumCRC32)
	}
	// A part without a checksum: fine for FULL_OBJECT, where it is computed, but not where the object's is made of the parts'.
	for typ, algorithm := range map[types.ChecksumType]types.ChecksumAlgorithm{types.ChecksumTypeFullObject: types.ChecksumAlgorithmCrc32, types.ChecksumTypeComposite: types.ChecksumAlgorithmSha256} {
		u := newUpload(t, c, b, "bare", func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm, in.ChecksumType = algorithm, typ })
		_, err := c.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: b, Key: &u.key, UploadId: u.id, PartNumber: aws.Int32(1), Body: bytes.NewReader(last)},
			func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
		if typ == types.ChecksumTypeComposite {
			requireStatus(t, err, 400, "InvalidRequest")
			require.ErrorContains(t, err, "expected checksum Type: sha256, actual checksum Type: null")
			continue
		}
		require.NoError(t, err)
		list, err := c.ListParts(t.Context(), &s3.ListPartsInput{Bucket: b, Key: &u.key, UploadId: u.id})
		require.NoError(t, err)
		require.Equal(t, types.ChecksumTypeFullObject, list.ChecksumType)
		require.Equal(t, crc32Base64(last), *list.Parts[0].ChecksumCRC32)
	}

	// Pairs that cannot be, and a part of another algorithm.
	_, err = c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: b, Key: aws.String("x"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumType: types.ChecksumTypeFullObject})
	requireStatus(t, err, 400, "InvalidRequest")
	_, err = c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: b, Key: aws.String("x"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeComposite})
	requireStatus(t, err, 400, "InvalidRequest")
	u = newUpload(t, c, b, "sha", func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 })
	_, err = u.put(1, last, func(in *s3.UploadPartInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha1 })
	requireStatus(t, err, 400, "InvalidRequest")
	_, err = u.put(1, last, func(in *s3.UploadPartInput) {
		in.ChecksumSHA256 = aws.String("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	})
	requireStatus(t, err, 400, "BadDigest")
}

func TestS3APIUploadPartCopy(t *testing.T) {
	p := startInproc(t)
	c, b := p.bucket()
	body := noise(5, 3*partMin+100)
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: aws.String("src"), Body: bytes.NewReader(body)})
	require.NoError(t, err)
	blobs := p.volume.prepared.Load()
	u := newUpload(t, c, b, "dst")
	source := aws.String("bucket/src")
	cp := func(number int32, rng string) (*s3.UploadPartCopyOutput, error) {
		in := &s3.UploadPartCopyInput{Bucket: b, Key: &u.key, UploadId: u.id, PartNumber: &number, CopySource: source}
		if rng != "" {
			in.CopySourceRange = &rng
		}
		out, err := c.UploadPartCopy(t.Context(), in)
		if err == nil {
			u.parts = append(u.parts, types.CompletedPart{PartNumber: &number, ETag: out.CopyPartResult.ETag})
		}
		return out, err
	}
	out, err := cp(1, fmt.Sprintf("bytes=100-%d", 100+partMin-1))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf(`"%x"`, md5.Sum(body[100:100+partMin])), *out.CopyPartResult.ETag)
	_, err = cp(2, "")
	require.NoError(t, err)
	for _, bad := range []string{fmt.Sprintf("bytes=0-%d", len(body)), "bytes=5-2", "bytes=-5", "bytes=5-", "5-9"} {
		_, err = cp(3, bad)
		requireStatus(t, err, 400, "InvalidArgument")
	}
	source = aws.String("bucket/none")
	_, err = cp(3, "")
	requireStatus(t, err, 404, "NoSuchKey")
	source = aws.String("bucket/src")
	_, err = c.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: b, Key: &u.key, UploadId: u.id, PartNumber: aws.Int32(3), CopySource: source, CopySourceIfMatch: aws.String(`"x"`)})
	requireStatus(t, err, 412, "PreconditionFailed")
	_, err = u.complete()
	require.NoError(t, err)
	require.Equal(t, blobs, p.volume.prepared.Load(), "a copy writes no bytes")
	_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: b, Key: aws.String("src")})
	require.NoError(t, err)
	want := append(bytes.Clone(body[100:100+partMin]), body...)
	require.True(t, bytes.Equal(want, get(t, c, *b, "dst")))
}

// A part whose checksum is of another algorithm than its upload's is refused; an upload that named none takes what SDKs send of their own
// accord.
func TestS3APIChecksumOfAPart(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c, bucket := n.AWS(), n.Bucket(t)
	algorithm := func(a types.ChecksumAlgorithm) func(*s3.UploadPartInput) {
		return func(in *s3.UploadPartInput) { in.ChecksumAlgorithm = a }
	}
	named := newUpload(t, c, &bucket, "named", func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 })
	_, err := named.put(1, []byte("x"), algorithm(types.ChecksumAlgorithmCrc32c))
	requireStatus(t, err, 400, "InvalidRequest")
	require.ErrorContains(t, err, "expected checksum Type: sha256, actual checksum Type: crc32c")
	_, err = named.put(1, []byte("x"), algorithm(types.ChecksumAlgorithmSha256))
	require.NoError(t, err)
	_, err = named.complete()
	require.NoError(t, err)
	for _, a := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmSha1} {
		open := newUpload(t, c, &bucket, "open"+string(a))
		_, err := open.put(1, []byte("x"), algorithm(a))
		require.NoError(t, err)
		_, err = open.complete()
		require.NoError(t, err)
	}
}
