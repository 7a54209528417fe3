package s3

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"
)

func readVersions(t testing.TB, r *ListResult) *s3.ListObjectVersionsOutput {
	return read(t, func(c *s3.Client) func(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
		return c.ListObjectVersions
	}, &s3.ListObjectVersionsInput{Bucket: bkt}, AppendVersions(nil, r))
}

func sampleVersions(t testing.TB, p *ListParams) *ListResult {
	r := sampleList(t, p)
	for i := range r.Entries {
		r.Entries[i].VersionID = "null"
	}
	return r
}

func TestVersionsReadBySDK(t *testing.T) {
	p := &ListParams{Prefix: "p<", Delimiter: "&", MaxKeys: 3, FetchOwner: true, Marker: "m>", VersionMarker: "null"}
	out := readVersions(t, sampleVersions(t, p))
	require.Equal(t, "bkt", *out.Name)
	require.Equal(t, "p<", *out.Prefix)
	require.Equal(t, "&", *out.Delimiter)
	require.Equal(t, int32(3), *out.MaxKeys)
	require.Equal(t, "m>", *out.KeyMarker)
	require.Equal(t, "null", *out.VersionIdMarker)
	require.True(t, *out.IsTruncated)
	require.Equal(t, awkward+"/", *out.NextKeyMarker) // a common prefix, which has no version
	require.Nil(t, out.NextVersionIdMarker)
	require.Equal(t, awkward+"/", *out.CommonPrefixes[0].Prefix)
	require.Empty(t, out.DeleteMarkers)
	require.Empty(t, out.EncodingType)
	require.Len(t, out.Versions, 2)
	v := out.Versions[0]
	require.Equal(t, awkward, *v.Key)
	require.Equal(t, "null", *v.VersionId)
	require.True(t, *v.IsLatest)
	require.Equal(t, when, *v.LastModified)
	require.Equal(t, `"`+tagA+`-3"`, *v.ETag)
	require.Equal(t, []types.ChecksumAlgorithm{"CRC32C"}, v.ChecksumAlgorithm)
	require.Equal(t, types.ChecksumTypeComposite, v.ChecksumType)
	require.Equal(t, int64(1<<40), *v.Size)
	require.Equal(t, types.ObjectVersionStorageClassStandard, v.StorageClass)
	require.Equal(t, "id", *v.Owner.ID)
	require.Equal(t, "na&me", *v.Owner.DisplayName)
	require.Empty(t, out.Versions[1].ChecksumAlgorithm)
}

func TestVersionsMarkers(t *testing.T) {
	r := sampleVersions(t, &ListParams{MaxKeys: 2, EncodingURL: true, Prefix: "a b", Delimiter: "/+", Marker: "m n"})
	r.Next, r.NextPrefix, r.Entries[1].Key = "k l", false, "k l"
	out := readVersions(t, r)
	require.Equal(t, types.EncodingTypeUrl, out.EncodingType)
	require.Equal(t, "a%20b", *out.Prefix)
	require.Equal(t, "/%2B", *out.Delimiter)
	require.Equal(t, "m%20n", *out.KeyMarker)
	require.Equal(t, "k%20l", *out.NextKeyMarker)
	require.Equal(t, "null", *out.NextVersionIdMarker)
	require.Equal(t, "k%20l", *out.Versions[1].Key)
	require.Equal(t, *out.Versions[0].Key+"/", *out.CommonPrefixes[0].Prefix)

	r = sampleVersions(t, &ListParams{MaxKeys: 1000})
	r.Truncated, r.Next, r.NextPrefix = false, "", false
	out = readVersions(t, r)
	require.False(t, *out.IsTruncated)
	require.Empty(t, *out.KeyMarker) // there, and empty
	require.Empty(t, *out.VersionIdMarker)
	require.Nil(t, out.NextKeyMarker)
	require.Nil(t, out.NextVersionIdMarker)
	require.Nil(t, out.Delimiter)
}

func TestParseVersions(t *testing.T) {
	p, err := ParseVersions(query(t, "versions&prefix=a/&delimiter=/&key-marker=a/b/&version-id-marker=null&max-keys=5000&encoding-type=url"))
	require.NoError(t, err)
	require.Equal(t, ListParams{Prefix: "a/", Delimiter: "/", MaxKeys: 1000, EncodingURL: true, FetchOwner: true, Marker: "a/b/",
		VersionMarker: "null", After: "a/b/", AfterPrefix: true}, p)

	p, err = ParseVersions(query(t, "versions&max-keys=0&key-marker=k&version-id-marker=0102030405060708090a0b0c"))
	require.NoError(t, err)
	require.Equal(t, ListParams{FetchOwner: true, Marker: "k", After: "k", VersionMarker: "0102030405060708090a0b0c"}, p)

	p, err = ParseVersions(query(t, "versions&key-marker="))
	require.NoError(t, err)
	require.Equal(t, ListParams{MaxKeys: 1000, FetchOwner: true}, p)

	for _, raw := range []string{"max-keys=-1", "max-keys=x", "max-keys=2147483648", "encoding-type=base64", "version-id-marker=null",
		"key-marker=&version-id-marker=null", "key-marker=k&version-id-marker=", "key-marker=k&version-id-marker=NULL",
		"key-marker=k&version-id-marker=0102"} {
		_, err := ParseVersions(query(t, "versions&"+raw))
		requireCode(t, err, CodeInvalidArgument, 400, raw)
	}
}

func TestAppendVersionsDoesNotAllocate(t *testing.T) {
	r := sampleVersions(t, &ListParams{Prefix: "p", Delimiter: "/", Marker: "m", MaxKeys: 2, EncodingURL: true})
	buf := AppendVersions(nil, r)
	require.Zero(t, testing.AllocsPerRun(10, func() { buf = AppendVersions(buf[:0], r) }))
}
