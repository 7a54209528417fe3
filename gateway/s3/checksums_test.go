package s3

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/digest"
)

func TestParseChecksums(t *testing.T) {
	const md5 = "CY9rzUYh03PK3k6DJie09g==" // of "test"
	crc := digest.Of(digest.CRC32, []byte("test"))
	crcS, sha := crc.String(), digest.Of(digest.SHA256, []byte("test"))
	for _, c := range []struct {
		op     string
		h      http.Header
		code   Code
		status int
		want   func(c Checksums) bool
	}{
		{"PutObject", header(), "", 0, func(c Checksums) bool { return c == Checksums{} }},
		{"PutObject", header("Content-MD5", md5), "", 0, func(c Checksums) bool { return c.HasMD5 && c.MD5[0] == 0x09 }},
		{"PutObject", header("Content-MD5", "AAAA"), CodeInvalidDigest, 400, nil},
		{"PutObject", header("Content-MD5", ""), CodeInvalidDigest, 400, nil},
		{"PutObject", header("Content-MD5", "!"), CodeInvalidDigest, 400, nil},
		{"PutObject", header("x-amz-checksum-crc32", crcS), "", 0, func(c Checksums) bool { return c.Value == crc && c.Algorithm == digest.CRC32 }},
		{"PutObject", header("X-Amz-Checksum-Sha256", sha.String(), "Content-MD5", md5), "", 0, func(c Checksums) bool { return c.Value == sha && c.HasMD5 }},
		{"PutObject", header("x-amz-checksum-crc32", "AAA="), CodeInvalidRequest, 400, nil},
		{"PutObject", header("x-amz-checksum-crc32", crcS+"-2"), CodeInvalidRequest, 400, nil},
		{"PutObject", header("x-amz-checksum-crc32", crcS, "x-amz-checksum-sha256", sha.String()), CodeInvalidRequest, 400, nil},
		{"PutObject", header("x-amz-checksum-crc32", crcS, "x-amz-checksum-crc32", crcS), CodeInvalidRequest, 400, nil},
		{"PutObject", header("x-amz-checksum-xxhash3", crcS), CodeNotImplemented, 501, nil},
		{"PutObject", header("x-amz-sdk-checksum-algorithm", "CRC32", "x-amz-checksum-crc32", crcS), "", 0, func(c Checksums) bool { return c.Value == crc }},
		{"PutObject", header("x-amz-sdk-checksum-algorithm", "CRC32"), CodeInvalidRequest, 400, nil},
		{"UploadPart", header("x-amz-checksum-algorithm", "CRC32"), CodeInvalidRequest, 400, nil},
		{"UploadPart", header("x-amz-checksum-algorithm", "CRC32", "x-amz-checksum-type", "FULL_OBJECT", "x-amz-checksum-crc32", crcS), "", 0, func(c Checksums) bool { return c.Value == crc }},
		{"PutObject", header("x-amz-sdk-checksum-algorithm", "SHA1", "x-amz-checksum-crc32", crcS), CodeInvalidRequest, 400, nil},
		{"PutObject", header("x-amz-sdk-checksum-algorithm", "MD4"), CodeInvalidRequest, 400, nil},
		{"PutObject", header("x-amz-trailer", "x-amz-checksum-crc64nvme", "x-amz-sdk-checksum-algorithm", "CRC64NVME"), "", 0, func(c Checksums) bool {
			return c.Trailer == digest.CRC64NVME && c.Algorithm == digest.CRC64NVME && c.Value.IsZero()
		}},
		{"PutObject", header("x-amz-trailer", "x-amz-checksum-crc32", "x-amz-checksum-crc32", crcS), CodeInvalidRequest, 400, nil},
		{"PutObject", header("x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-sha1"), CodeInvalidRequest, 400, nil},
		{"PutObject", header("x-amz-trailer", "x-amz-meta-foo"), CodeInvalidRequest, 400, nil},
		{"PutObject", header("x-amz-trailer", "x-amz-checksum-sha512"), CodeNotImplemented, 501, nil},
		{"PutObject", header("x-amz-checksum-type", "COMPOSITE"), CodeInvalidRequest, 400, nil},
		{"GetObject", header("x-amz-checksum-mode", "ENABLED"), "", 0, func(c Checksums) bool { return c == Checksums{} }},
		{"CopyObject", header("x-amz-checksum-algorithm", "sha1"), "", 0, func(c Checksums) bool { return c.Algorithm == digest.SHA1 }},
		{"CreateMultipartUpload", header("x-amz-checksum-algorithm", "CRC32"), "", 0, func(c Checksums) bool { return c.Type == digest.Composite }},
		{"CreateMultipartUpload", header("x-amz-checksum-algorithm", "CRC64NVME"), "", 0, func(c Checksums) bool { return c.Type == digest.FullObject }},
		{"CreateMultipartUpload", header("x-amz-checksum-algorithm", "CRC32C", "x-amz-checksum-type", "FULL_OBJECT"), "", 0, func(c Checksums) bool { return c.Type == digest.FullObject }},
		{"CreateMultipartUpload", header("x-amz-checksum-algorithm", "SHA256", "x-amz-checksum-type", "FULL_OBJECT"), CodeInvalidRequest, 400, nil},
		{"CreateMultipartUpload", header("x-amz-checksum-algorithm", "CRC64NVME", "x-amz-checksum-type", "COMPOSITE"), CodeInvalidRequest, 400, nil},
		{"CreateMultipartUpload", header("x-amz-checksum-type", "FULL_OBJECT"), CodeInvalidRequest, 400, nil},
		{"CreateMultipartUpload", header("x-amz-checksum-algorithm", "CRC32", "x-amz-checksum-type", "HALF"), CodeInvalidRequest, 400, nil},
		{"CompleteMultipartUpload", header("x-amz-checksum-crc32", crcS+"-2", "x-amz-mp-object-size", "12"), "", 0, func(c Checksums) bool {
			return c.Value.Parts == 2 && *c.ObjectSize == 12
		}},
		{"CompleteMultipartUpload", header("x-amz-checksum-crc64nvme", digest.Of(digest.CRC64NVME, nil).String(), "x-amz-checksum-type", "COMPOSITE"), CodeInvalidRequest, 400, nil},
		{"CompleteMultipartUpload", header("x-amz-mp-object-size", "-1"), CodeInvalidRequest, 400, nil},
	} {
		got, err := ParseChecksums(&Operation{Name: c.op}, c.h)
		if c.code != "" {
			requireCode(t, err, c.code, c.status, "%s %v", c.op, c.h)
			continue
		}
		require.NoError(t, err, "%s %v", c.op, c.h)
		require.True(t, c.want(got), "%s %v: %+v", c.op, c.h, got)
	}
}

func TestNeedDigest(t *testing.T) {
	requireCode(t, (&Checksums{}).NeedDigest(), CodeInvalidRequest, 400)
	require.NoError(t, (&Checksums{HasMD5: true}).NeedDigest())
	require.NoError(t, (&Checksums{Trailer: digest.CRC32}).NeedDigest())
	require.NoError(t, (&Checksums{Value: digest.Of(digest.SHA1, nil)}).NeedDigest())
}

func TestChecksumResponseHeaders(t *testing.T) {
	h := make(http.Header)
	SetChecksumHeader(h, digest.Checksum{})
	SetChecksumKind(h, digest.None, digest.NoType)
	require.Empty(t, h)
	SetChecksumHeader(h, digest.Of(digest.CRC32, []byte("test")))
	require.Equal(t, http.Header{"x-amz-checksum-crc32": {"2H9+DA=="}, "x-amz-checksum-type": {"FULL_OBJECT"}}, h)

	on, err := ChecksumMode(header("x-amz-checksum-mode", "ENABLED"))
	require.NoError(t, err)
	require.True(t, on)
	_, err = ChecksumMode(header("x-amz-checksum-mode", "MAYBE"))
	requireCode(t, err, CodeInvalidArgument, 400)
}
