package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
	"minikv/sigv4"
)

// memoryCgroup makes a cgroup limited to bytes and gives its folder; "" when this machine has none to give.
func memoryCgroup(t *testing.T, limit int64) string {
	t.Helper()
	v1, v2 := "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
	name := fmt.Sprintf("minikv-test-%d", os.Getpid())
	for _, c := range []struct{ dir, file string }{{v1, "memory.limit_in_bytes"}, {v2, "memory.max"}} {
		dir := filepath.Join(c.dir, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if os.WriteFile(filepath.Join(dir, c.file), []byte(strconv.FormatInt(limit, 10)), 0o644) == nil {
			t.Cleanup(func() {
				harness.Eventually(t, time.Minute, "remove the cgroup", func() error { return os.Remove(dir) })
			})
			return dir
		}
		_ = os.Remove(dir)
	}
	return ""
}

// residentPeak is VmHWM of a process in bytes.
func residentPeak(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			require.NoError(t, err)
			return kb << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

var memoryMiB = flag.Int("memory.mib", 16, "size of each of the 64 uploads of the memory test in MiB; CI takes 128")

// TestMemoryOf64Uploads: 64 uploads of 128 MiB at once stay under 1 GiB resident. A cgroup enforces it where there is one.
func TestMemoryOf64Uploads(t *testing.T) {
	const uploads, limit = 64, 1 << 30
	size := int64(*memoryMiB) << 20
	opts := harness.Options{}
	// Page cache counts in a cgroup but is reclaimed; resident memory is what the limit bites on.
	if dir := memoryCgroup(t, limit); dir != "" {
		opts.Wrap = func(cmd *exec.Cmd) {
			script := fmt.Sprintf("echo $$ > %s/cgroup.procs && exec \"$0\" \"$@\"", dir)
			cmd.Args = append([]string{"sh", "-c", script, cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/bin/sh"
		}
	}
	n := harness.Start(t, opts)
	bucket := n.Bucket(t)
	block := noise(5, 1<<20)
	type answer struct {
		i   int
		err error
	}
	answers := make(chan answer, uploads)
	for i := range uploads {
		go func() {
			// Where the disk is slow, an upload may be told SlowDown after a long wait for memory: clients try again then.
			c := n.AWS(func(o *s3.Options) {
				o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 5 })
			})
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String(fmt.Sprintf("u/%02d", i)),
				ContentLength: aws.Int64(size), Body: &repeatReader{block: block, n: size}})
			answers <- answer{i, err}
		}()
	}
	for range uploads {
		a := <-answers
		require.NoError(t, a.err, "upload %d", a.i)
	}
	peak := residentPeak(t, n.Pid())
	t.Logf("peak resident: %d MiB", peak>>20)
	require.Less(t, peak, int64(limit))
	want := sha256.New()
	_, _ = io.Copy(want, &repeatReader{block: block, n: size})
	out, err := n.AWS().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("u/63")})
	require.NoError(t, err)
	defer func() { _ = out.Body.Close() }()
	got := sha256.New()
	_, err = io.Copy(got, out.Body)
	require.NoError(t, err)
	require.Equal(t, want.Sum(nil), got.Sum(nil))
}

// repeatReader is n bytes made of one block again and again, seekable so that the SDK can sign it.
type repeatReader struct {
	block  []byte
	n, off int64
}

func (r *repeatReader) Read(p []byte) (int, error) {
	if r.off >= r.n {
		return 0, io.EOF
	}
	at := r.off % int64(len(r.block))
	m := copy(p[:min(int64(len(p)), r.n-r.off)], r.block[at:])
	r.off += int64(m)
	return m, nil
}

func (r *repeatReader) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		r.off = off
	case io.SeekCurrent:
		r.off += off
	case io.SeekEnd:
		r.off = r.n + off
	}
	return r.off, nil
}

// mountSmall mounts an ext4 file system of the size, backed by a file; skips where that is not allowed.
func mountSmall(t *testing.T, bytes int64) string {
	t.Helper()
	dir := t.TempDir()
	img, mnt := filepath.Join(dir, "fs.img"), filepath.Join(dir, "mnt")
	require.NoError(t, os.Mkdir(mnt, 0o755))
	f, err := os.Create(img)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(bytes))
	require.NoError(t, f.Close())
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", img).CombinedOutput(); err != nil {
		t.Skipf("no mkfs.ext4 here: %v %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", img, mnt).CombinedOutput(); err != nil {
		t.Skipf("mounting needs root and loop devices: %v %s", err, out)
	}
	t.Cleanup(func() {
		harness.Eventually(t, time.Minute, "unmount", func() error { return syscall.Unmount(mnt, 0) })
	})
	return mnt
}

// TestFullDisk: I11 on a real small file system, through both ports, with a restart while full.
func TestFullDisk(t *testing.T) {
	mnt := mountSmall(t, 640<<20)
	n := harness.Start(t, harness.Options{Data: filepath.Join(mnt, "data"),
		Env: map[string]string{"MINIKV_VOLUME_RESERVE": "64MiB", "MINIKV_BALLAST_SIZE": "32MiB"}})
	c, bucket := n.AWS(), n.Bucket(t)
	var kept []string
	var full error
	for i := 0; i < 400 && full == nil; i++ {
		key := fmt.Sprintf("fill/%03d", i)
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(noise(uint64(i), 4<<20))})
		if err == nil {
			kept = append(kept, key)
		}
		full = err
	}
	requireStatus(t, full, 507, "InsufficientStorage")
	require.Greater(t, len(kept), 10)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, n.REST+"/rest-key", bytes.NewReader(noise(1, 1<<20)))
	require.NoError(t, err)
	req.SetBasicAuth(harness.RootUser, harness.RootPassword)
	resp, err := n.HTTPClient().Do(req)
	require.NoError(t, err)
	var body struct{ Code, Message string }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 507, resp.StatusCode)
	require.NotEmpty(t, body.Message)

	check := func() {
		list, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
		require.NoError(t, err)
		require.Len(t, list.Contents, len(kept))
		for i, key := range kept {
			require.True(t, bytes.Equal(noise(uint64(i), 4<<20), get(t, c, bucket, key)), key)
		}
	}
	check()
	n.Restart()
	check()
	for _, key := range kept {
		_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
		require.NoError(t, err, "deletes go on when the disk is full")
	}
}

// TestFirstStartWithoutRoom: the error says where the room lacks and what helps, and the folder is not half made: with room it starts.
func TestFirstStartWithoutRoom(t *testing.T) {
	mnt := mountSmall(t, 640<<20)
	filler := filepath.Join(mnt, "filler")
	f, err := os.Create(filler)
	require.NoError(t, err)
	err = nil
	for block := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(block)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	_ = f.Close() // it could not be written either
	data := filepath.Join(mnt, "data")
	out := serveFails(t, nil, "--data", data, "--s3", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--volume.reserve", "1MiB", "--ballast.size", "32MiB")
	for _, part := range []string{"no room on the disk of " + data, "--data", "ballast.size", "32 MiB"} {
		require.Contains(t, out, part)
	}
	require.NoError(t, os.Remove(filler))
	n := harness.Start(t, harness.Options{Data: data, Args: []string{"--volume.reserve", "1MiB", "--ballast.size", "32MiB"}})
	require.NoError(t, putKey(t.Context(), n.AWS(), n.Bucket(t), "k", []byte("v")))
}

// TestOrphansAreCollected: bytes of clients that went away are collected once the horizon passes, committed ones stay, also
// across restarts.
func TestOrphansAreCollected(t *testing.T) {
	n := harness.Start(t, harness.Options{Env: map[string]string{
		"MINIKV_EPOCH_INTERVAL": "200ms", "MINIKV_QUEUE_DELAY": "100ms", "MINIKV_COLLECT_INTERVAL": "200ms"}})
	c, bucket := n.AWS(), n.Bucket(t)
	kept := noise(1, 9<<20)
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("kept"), Body: bytes.NewReader(kept)})
	require.NoError(t, err)
	before := liveBytes(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := putStream(ctx, n, bucket, "aborted", pr, 64<<20)
		_ = pr.CloseWithError(io.ErrClosedPipe)
		done <- err
	}()
	if _, err = pw.Write(noise(2, 20<<20)); err != nil {
		t.Fatalf("the upload ended early: %v", <-done)
	}
	harness.Eventually(t, time.Minute, "the aborted upload has prepared blobs", func() error {
		if liveBytes(t, n) <= before {
			return fmt.Errorf("%d live bytes, as before", before)
		}
		return nil
	})
	n.Kill() // no abort is sent: only the horizon can collect
	cancel()
	_ = pw.CloseWithError(io.ErrClosedPipe)
	require.Error(t, <-done)
	n.Run()
	harness.Eventually(t, 2*time.Minute, "the orphans are gone", func() error {
		if got := liveBytes(t, n); got > before {
			return fmt.Errorf("%d live bytes, %d before", got, before)
		}
		return nil
	})
	require.True(t, bytes.Equal(kept, get(t, c, bucket, "kept")))
	n.Restart()
	require.True(t, bytes.Equal(kept, get(t, c, bucket, "kept")))

	// Deleted objects and aborted uploads free their bytes as well.
	up, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("mp")})
	require.NoError(t, err)
	_, err = c.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &bucket, Key: aws.String("mp"), UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(kept)})
	require.NoError(t, err)
	_, err = c.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: aws.String("mp"), UploadId: up.UploadId})
	require.NoError(t, err)
	_, err = c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("kept")}}}})
	require.NoError(t, err)
	harness.Eventually(t, 2*time.Minute, "deleted bytes are gone", func() error {
		if got := liveBytes(t, n); got != 0 {
			return fmt.Errorf("%d live bytes", got)
		}
		return nil
	})
}

// liveBytes reads the volume's gauge of bytes that live blobs hold.
func liveBytes(t *testing.T, n *harness.Node) int64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.REST+"/metrics", nil)
	require.NoError(t, err)
	req.SetBasicAuth(harness.RootUser, harness.RootPassword)
	resp, err := n.HTTPClient().Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && strings.HasPrefix(f[0], "minikv_volume_bytes") {
			v, err := strconv.ParseFloat(f[1], 64)
			require.NoError(t, err)
			return int64(v)
		}
	}
	t.Fatalf("no minikv_volume_bytes in the metrics (status %d)", resp.StatusCode)
	return 0
}

// putStream sends a body that cannot be read twice, which the SDK refuses over http.
func putStream(ctx context.Context, n *harness.Node, bucket, key string, body io.Reader, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, n.S3+"/"+bucket+"/"+key, body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	signer := sigv4.Signer{AccessKey: harness.RootUser, SecretKey: harness.RootPassword, Region: "us-east-1"}
	if _, err := signer.Sign(req, sigv4.UnsignedPayload, time.Now()); err != nil {
		return err
	}
	resp, err := n.HTTPClient().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
