package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// row is a line of a listing: a key, or a common prefix in parentheses.
type row string

// naiveList is the oracle: keys rolled up to common prefixes, then what comes after the marker. So a marker inside of a common prefix
// has that prefix behind it, as it has a prefix that is the last row of a page.
func naiveList(keys []string, prefix, delimiter, after string) (out []row) {
	sorted := slices.Clone(keys)
	slices.Sort(sorted)
	for _, k := range sorted {
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		name, shown := k, row(k)
		if i := strings.Index(k[len(prefix):], delimiter); delimiter != "" && i >= 0 {
			name = k[:len(prefix)+i+len(delimiter)]
			shown = row("(" + name + ")")
		}
		if name > after && (len(out) == 0 || out[len(out)-1] != shown) {
			out = append(out, shown)
		}
	}
	return out
}

func rowsOf(contents []types.Object, prefixes []types.CommonPrefix) (out []row) {
	for _, o := range contents {
		out = append(out, row(aws.ToString(o.Key)))
	}
	for _, p := range prefixes {
		out = append(out, row("("+aws.ToString(p.Prefix)+")"))
	}
	slices.SortFunc(out, func(a, b row) int {
		return strings.Compare(strings.Trim(string(a), "()"), strings.Trim(string(b), "()"))
	})
	return out
}

func TestS3APIListOracle(t *testing.T) {
	p := startInproc(t)
	c, b := p.bucket()
	letters := []string{"a", "b", "/", "/", "ü", "z", "--"}
	stored := map[string]bool{}
	key := rapid.Custom(func(r *rapid.T) string {
		var sb strings.Builder
		for range rapid.IntRange(1, 5).Draw(r, "n") {
			sb.WriteString(rapid.SampledFrom(letters).Draw(r, "letter"))
		}
		return sb.String()
	})
	for _, k := range rapid.SliceOfN(key, 120, 120).Example(7) {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: &k, Body: strings.NewReader("x")})
		require.NoError(t, err)
		stored[k] = true
	}
	var keys []string
	for k := range stored {
		keys = append(keys, k)
	}
	rapid.Check(t, func(r *rapid.T) {
		prefix := rapid.SampledFrom([]string{"", "a", "a/", "/", "//", "ü", "b/a", "none"}).Draw(r, "prefix")
		delimiter := rapid.SampledFrom([]string{"", "/", "--", "a", "/a"}).Draw(r, "delimiter")
		size := int32(rapid.SampledFrom([]int{1, 2, 3, 7, 1000}).Draw(r, "page"))
		after := rapid.SampledFrom(append([]string{"", "a", "a/", "zzz"}, keys[:10]...)).Draw(r, "after")
		want := naiveList(keys, prefix, delimiter, after)

		var got []row
		in := &s3.ListObjectsV2Input{Bucket: b, Prefix: &prefix, Delimiter: &delimiter, MaxKeys: &size, StartAfter: &after}
		for {
			page, err := c.ListObjectsV2(t.Context(), in)
			if err != nil {
				r.Fatal(err)
			}
			rows := rowsOf(page.Contents, page.CommonPrefixes)
			if int(aws.ToInt32(page.KeyCount)) != len(rows) || len(rows) > int(size) {
				r.Fatalf("KeyCount %d of %d rows, page %d", aws.ToInt32(page.KeyCount), len(rows), size)
			}
			got = append(got, rows...)
			if !aws.ToBool(page.IsTruncated) {
				break
			}
			in.ContinuationToken = page.NextContinuationToken
		}
		if !slices.Equal(want, got) {
			r.Fatalf("v2 prefix %q delimiter %q after %q by %d:\n got %q\nwant %q", prefix, delimiter, after, size, got, want)
		}

		got = nil
		v1 := &s3.ListObjectsInput{Bucket: b, Prefix: &prefix, Delimiter: &delimiter, MaxKeys: &size, Marker: &after}
		for {
			page, err := c.ListObjects(t.Context(), v1)
			if err != nil {
				r.Fatal(err)
			}
			rows := rowsOf(page.Contents, page.CommonPrefixes)
			got = append(got, rows...)
			if !aws.ToBool(page.IsTruncated) {
				break
			}
			if (page.NextMarker != nil) != (delimiter != "") {
				r.Fatalf("NextMarker only with delimiter")
			}
			v1.Marker = page.NextMarker
			if v1.Marker == nil {
				v1.Marker = page.Contents[len(page.Contents)-1].Key
			}
		}
		if !slices.Equal(want, got) {
			r.Fatalf("v1 prefix %q delimiter %q marker %q by %d:\n got %q\nwant %q", prefix, delimiter, after, size, got, want)
		}
	})
}

func TestS3APIListDetails(t *testing.T) {
	p := startInproc(t)
	c, b := p.bucket()
	for _, k := range []string{"dir/", "dir/x", "a", "a/b", "sp ace", "new\nline", "amp&<>"} {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: &k, Body: strings.NewReader("")})
		require.NoError(t, err)
	}
	page, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: b, MaxKeys: aws.Int32(0)})
	require.NoError(t, err)
	require.Empty(t, page.Contents)
	require.False(t, *page.IsTruncated)
	page, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: b, MaxKeys: aws.Int32(5000), FetchOwner: aws.Bool(true)})
	require.NoError(t, err)
	require.EqualValues(t, 1000, *page.MaxKeys)
	require.Len(t, page.Contents, 7)
	require.Equal(t, "inproc-id", *page.Contents[0].Owner.ID)
	require.Equal(t, types.ObjectStorageClassStandard, page.Contents[0].StorageClass)
	page, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: b})
	require.NoError(t, err)
	require.Nil(t, page.Contents[0].Owner)
	v1, err := c.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: b})
	require.NoError(t, err)
	require.Equal(t, "inproc", *v1.Contents[0].Owner.DisplayName)
	page, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: b, EncodingType: types.EncodingTypeUrl, Prefix: aws.String("s"), Delimiter: aws.String(" ")})
	require.NoError(t, err)
	require.Equal(t, "sp%20", *page.CommonPrefixes[0].Prefix)
	require.Equal(t, "%20", *page.Delimiter)

	// Times in headers and in listings are the same instant.
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: b, Key: aws.String("a")})
	require.NoError(t, err)
	for _, o := range v1.Contents {
		if *o.Key == "a" {
			require.True(t, head.LastModified.Equal(*o.LastModified))
			require.Equal(t, *head.ETag, *o.ETag)
		}
	}
}

func TestS3APIListBuckets(t *testing.T) {
	p := startInproc(t)
	c := p.client(inprocKey, inprocSecret)
	for i := range 5 {
		_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(fmt.Sprintf("bucket-%d", i))})
		require.NoError(t, err)
	}
	_, err := p.client(otherKey, otherSecret).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket-not-mine")})
	require.NoError(t, err)
	var names []string
	pages := s3.NewListBucketsPaginator(c, &s3.ListBucketsInput{MaxBuckets: aws.Int32(2), Prefix: aws.String("bucket-")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, b := range page.Buckets {
			names = append(names, *b.Name)
			require.Equal(t, "us-east-1", *b.BucketRegion)
		}
	}
	require.Equal(t, []string{"bucket-0", "bucket-1", "bucket-2", "bucket-3", "bucket-4"}, names)
	none, err := c.ListBuckets(t.Context(), &s3.ListBucketsInput{BucketRegion: aws.String("eu-west-1")})
	require.NoError(t, err)
	require.Empty(t, none.Buckets)
}
