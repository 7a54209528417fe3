package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

var killRounds = flag.Int("kill.rounds", 5, "how often the kill test kills the server")

const (
	killWriters     = 6
	killKeysPerGoer = 8 // every writer rewrites its own keys
)

// history is what one writer knows of one key: the last acknowledged value and what may have come after it.
type history struct {
	mu      sync.Mutex
	acked   map[string]uint64          // key -> seed of the value, 0: absent
	unknown map[string]map[uint64]bool // key -> seeds that may have taken effect since
}

func (h *history) begin(key string, seed uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unknown[key] == nil {
		h.unknown[key] = map[uint64]bool{}
	}
	h.unknown[key][seed] = true
}

func (h *history) acknowledge(key string, seed uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked[key] = seed
	h.unknown[key] = map[uint64]bool{}
}

// TestKill: several writers, kill -9 at random moments, restart; every acknowledged object is byte-identical (I1), an
// unanswered write took effect whole or not at all (I3), every listing is complete (I4).
func TestKill(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	bucket := n.Bucket(t)
	h := &history{acked: map[string]uint64{}, unknown: map[string]map[uint64]bool{}}
	var seed uint64
	for round := range *killRounds {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var writes sync.Map
		for w := range killWriters {
			start := seed + uint64(w)*1_000_000 + 1
			wg.Go(func() { writes.Store(w, killWriter(ctx, n, bucket, h, w, start)) })
		}
		seed += killWriters * 1_000_000
		timer := time.NewTimer(time.Duration(100+rand.IntN(500)) * time.Millisecond)
		<-timer.C
		n.Kill()
		cancel()
		wg.Wait()
		n.Run()
		total := 0
		writes.Range(func(_, v any) bool { total += v.(int); return true })
		checkHistory(t, n, bucket, h)
		t.Logf("round %d: %d acknowledged operations, %d keys", round, total, len(h.acked))
	}
}

// killWriter writes, overwrites, copies, completes and deletes its own keys until the server is gone. It gives the number of
// acknowledged operations.
func killWriter(ctx context.Context, n *harness.Node, bucket string, h *history, w int, seed uint64) int {
	c := n.AWS()
	acked := 0
	for ctx.Err() == nil {
		seed++
		key := fmt.Sprintf("w%d/%d", w, rand.IntN(killKeysPerGoer))
		var err error
		switch p := rand.IntN(100); {
		case p < 15:
			h.begin(key, 0)
			_, err = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
			if err == nil {
				h.acknowledge(key, 0)
			}
		case p < 22:
			h.begin(key, seed)
			if err = multipartPut(ctx, c, bucket, key, killValue(seed)); err == nil {
				h.acknowledge(key, seed)
			}
		default:
			h.begin(key, seed)
			_, err = c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(killValue(seed))})
			if err == nil {
				h.acknowledge(key, seed)
			}
		}
		if err != nil {
			return acked
		}
		acked++
	}
	return acked
}

// killValue has a size that depends on the seed: mostly small, sometimes several blobs.
func killValue(seed uint64) []byte {
	size := int(seed % 5000)
	if seed%37 == 0 {
		size = 300_000 + int(seed%7)*900_000
	}
	return noise(seed, size)
}

func multipartPut(ctx context.Context, c *s3.Client, bucket, key string, body []byte) error {
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	part, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(body)})
	if err != nil {
		return err
	}
	_, err = c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}}})
	return err
}

func checkHistory(t *testing.T, n *harness.Node, bucket string, h *history) {
	t.Helper()
	c := n.AWS()
	h.mu.Lock()
	defer h.mu.Unlock()
	listed := map[string]bool{}
	pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: &bucket, MaxKeys: aws.Int32(7)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, o := range page.Contents {
			listed[aws.ToString(o.Key)] = true
		}
	}
	keys := map[string]bool{}
	for k := range h.acked {
		keys[k] = true
	}
	for k := range h.unknown {
		keys[k] = true
	}
	for key := range keys {
		body, found := readIfThere(t, c, bucket, key)
		if found != listed[key] {
			t.Fatalf("%s: found %v, listed %v", key, found, listed[key])
		}
		candidates := map[uint64]bool{h.acked[key]: true}
		for s := range h.unknown[key] {
			candidates[s] = true
		}
		now, ok := uint64(0), false
		for s := range candidates {
			if s == 0 && !found || s != 0 && found && bytes.Equal(body, killValue(s)) {
				now, ok = s, true
			}
		}
		if !ok {
			t.Fatalf("%s: found %v, %d bytes, which is no acknowledged or pending value (acknowledged %d, pending %v)",
				key, found, len(body), h.acked[key], h.unknown[key])
		}
		h.acked[key], h.unknown[key] = now, map[uint64]bool{}
	}
}

func readIfThere(t *testing.T, c *s3.Client, bucket, key string) ([]byte, bool) {
	t.Helper()
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		if st, _ := status(err); st == 404 {
			return nil, false
		}
		t.Fatalf("get %s: %v", key, err)
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(out.Body)
	require.NoError(t, err, key)
	return b, true
}

func TestRestartKeepsUploadsAndTags(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	c, bucket := n.AWS(), n.Bucket(t)
	key := "open"
	up, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	require.NoError(t, err)
	part, err := c.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("kept")})
	require.NoError(t, err)
	_, err = c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("tagged"), Body: strings.NewReader("x"), Tagging: aws.String("a=b")})
	require.NoError(t, err)
	n.Restart()
	_, err = c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}}})
	require.NoError(t, err)
	require.NoError(t, n.Stop())
	n.Run()
	require.Equal(t, "kept", string(get(t, c, bucket, key)))
	tags, err := c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &bucket, Key: aws.String("tagged")})
	require.NoError(t, err)
	require.Equal(t, "b", aws.ToString(tags.TagSet[0].Value))
}
