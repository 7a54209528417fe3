package objects

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

func TestPutAndGet(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	for _, n := range []int{0, 1, 999, 1000, 1001, 123456} {
		b := pattern(n, n)
		res := w.mustPut(t, "k", b)
		sum := md5.Sum(b)
		require.Equal(t, sum[:], res.Etag)
		require.Equal(t, digest.Of(digest.CRC64NVME, b), DigestChecksum(res.Checksum))
		got, err := w.read("k", 0, uint64(n))
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, got))
	}
	_, err := w.read("absent", 0, 0)
	require.Equal(t, errs.NoSuchKey, errs.KindOf(err))
	_, err = w.Stat(context.Background(), GetRequest{Bucket: "other", Key: "k"})
	require.Equal(t, errs.NoSuchBucket, errs.KindOf(err))
	obj, err := w.Stat(context.Background(), GetRequest{Bucket: "b", Key: "k"})
	require.NoError(t, err)
	for _, r := range [][2]uint64{{123457, 0}, {0, 123457}, {123456, 1}, {1, 1<<64 - 1}} {
		_, err = obj.Range(context.Background(), r[0], r[1])
		require.Equal(t, errs.InvalidRange, errs.KindOf(err))
	}
	w.finish()
	require.Empty(t, w.vol.aborted)
	require.Len(t, w.vol.committed, len(w.vol.blobs))
}

// The body is checked with what was computed before anything is proposed; a failing check stores nothing.
func TestCheckComesBeforeTheDecision(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	b := pattern(5000, 1)
	bad := errors.New("the trailer says otherwise")
	body := bodyOf(b)
	body.Want = []uint32{uint32(digest.SHA256), uint32(digest.CRC32C)}
	body.Check = func(d Digests) error {
		require.Empty(t, w.meta.commands)
		require.Equal(t, uint64(5000), d.Size)
		require.Equal(t, md5.Sum(b), d.MD5)
		require.Len(t, d.Checksums, 2)
		require.Equal(t, digest.Of(digest.SHA256, b), DigestChecksum(d.Checksums[0]))
		require.Equal(t, digest.Of(digest.CRC32C, b), DigestChecksum(d.Checksums[1]))
		return bad
	}
	_, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Body: body, Checksum: digest.SHA256})
	require.ErrorIs(t, err, bad)
	require.Empty(t, w.meta.commands)
	w.finish()
	require.Len(t, w.vol.aborted, 5)
}

func TestBodyThatFailsStoresNothing(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	bad := errors.New("bad chunk signature")
	_, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Body: Body{
		Reader: io.MultiReader(bytes.NewReader(pattern(2500, 1)), iotest.ErrReader(bad)), Size: -1,
	}})
	require.ErrorIs(t, err, bad)
	require.Empty(t, w.meta.commands)
	w.finish()
	require.Len(t, w.vol.aborted, len(w.vol.blobs))
	_, err = w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Body: Body{Reader: bytes.NewReader(nil), Size: object.PartBytesMax + 1}})
	require.Equal(t, errs.EntityTooLarge, errs.KindOf(err))
}

func TestRecordedChecksum(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	for _, a := range digest.All() {
		b := pattern(3000, int(a))
		res, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Body: bodyOf(b), Checksum: a})
		require.NoError(t, err)
		require.Equal(t, digest.Of(a, b), DigestChecksum(res.Checksum))
	}
}

// O2: blobs are aborted after a refusal that is certain, and never in doubt.
func TestAbortRules(t *testing.T) {
	certain := map[errs.Kind]bool{
		errs.Precondition: true, errs.NoSuchBucket: true, errs.NoSuchKey: true, errs.StaleBucket: true, errs.StaleIAM: true,
		errs.StaleEpoch: true, errs.NotProposed: true, errs.NotLeader: true, errs.StorageFull: true,
		errs.InvalidTag: true, errs.StaleShardEpoch: true,
	}
	doubt := []errs.Kind{
		errs.Other, errs.IndeterminateResult, errs.UnknownSession, errs.Timeout, errs.Canceled, errs.Unavailable, errs.SlowDown, errs.Corrupt, errs.Conflict,
	}
	for kind := range certain {
		testAbort(t, kind, true)
	}
	for _, kind := range doubt {
		testAbort(t, kind, false)
	}
}

func testAbort(t *testing.T, kind errs.Kind, want bool) {
	t.Run(kind.String(), func(t *testing.T) {
		w := newWorld(t, 1000, Options{})
		w.meta.before = func(int, *metapb.Command) (*metapb.Result, error) { return nil, errs.E("fake.Do", kind, "injected") }
		_, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Body: bodyOf(pattern(2500, 1))})
		require.Equal(t, kind, errs.KindOf(err))
		w.finish()
		require.Empty(t, w.vol.committed)
		if want {
			require.Len(t, w.vol.aborted, 3)
		} else {
			require.Empty(t, w.vol.aborted)
		}
	})
}

// A refusal in the result's own words counts as well.
func TestFailedResult(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.meta.before = func(int, *metapb.Command) (*metapb.Result, error) {
		return &metapb.Result{Failed: true, Kind: uint32(errs.Precondition), Message: "no"}, nil
	}
	_, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Body: bodyOf(pattern(10, 1))})
	require.Equal(t, errs.Precondition, errs.KindOf(err))
	w.finish()
	require.Len(t, w.vol.aborted, 1)
}

// A recreated bucket or changed IAM: authorized again, and the same blobs proposed again.
func TestReauthorize(t *testing.T) {
	for _, kind := range []errs.Kind{errs.StaleBucket, errs.StaleIAM} {
		w := newWorld(t, 1000, Options{})
		w.meta.before = func(n int, _ *metapb.Command) (*metapb.Result, error) {
			if n == 1 {
				return nil, errs.E("fake.Do", kind, "")
			}
			return nil, nil
		}
		sc := scope()
		sc.IAMRevision = 3
		sc.Reauthorize = func(context.Context) (Scope, error) {
			return Scope{Bucket: &metapb.BucketRef{Name: "b", Id: []byte("new")}, IAMRevision: 4}, nil
		}
		_, err := w.Put(context.Background(), PutRequest{Scope: sc, Key: "k", Body: bodyOf(pattern(2500, 1))})
		require.NoError(t, err)
		require.Len(t, w.meta.commands, 2)
		first, second := w.meta.commands[0], w.meta.commands[1]
		require.Equal(t, uint64(3), first.IamRevision)
		require.Equal(t, uint64(4), second.IamRevision)
		require.Equal(t, "new", string(second.GetPutObject().Bucket.Id))
		require.Equal(t, first.GetPutObject().Written.Run.Base, second.GetPutObject().Written.Run.Base)
		w.finish()
		require.Empty(t, w.vol.aborted)
		require.Len(t, w.vol.committed, 3)
	}
}

func TestReauthorizeThatDenies(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.meta.before = func(int, *metapb.Command) (*metapb.Result, error) { return nil, errs.E("fake.Do", errs.StaleIAM, "") }
	sc := scope()
	sc.Reauthorize = func(context.Context) (Scope, error) { return Scope{}, errs.E("iam", errs.AccessDenied, "") }
	_, err := w.Put(context.Background(), PutRequest{Scope: sc, Key: "k", Body: bodyOf(pattern(10, 1))})
	require.Equal(t, errs.AccessDenied, errs.KindOf(err))
	sc.Reauthorize = func(context.Context) (Scope, error) { return scope(), nil } // and stale again, for ever
	_, err = w.Put(context.Background(), PutRequest{Scope: sc, Key: "k", Body: bodyOf(pattern(10, 1))})
	require.Equal(t, errs.StaleIAM, errs.KindOf(err))
	require.Len(t, w.meta.commands, 1+1+staleScopeTriesMax)
	w.finish()
	require.Len(t, w.vol.aborted, 2)
}

// In doubt after a refusal: send nothing, since the last attempt may still take effect.
func TestRefusedThenInDoubt(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.meta.before = func(n int, _ *metapb.Command) (*metapb.Result, error) {
		return nil, errs.E("fake.Do", []errs.Kind{errs.StaleShardEpoch, errs.IndeterminateResult}[n-1], "")
	}
	_, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Body: bodyOf(pattern(10, 1))})
	require.Equal(t, errs.IndeterminateResult, errs.KindOf(err))
	w.finish()
	require.Empty(t, w.vol.aborted)
}

func TestStaleShardEpochProposesAgain(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.meta.before = func(n int, _ *metapb.Command) (*metapb.Result, error) {
		if n == 1 {
			return nil, errs.E("fake.Do", errs.StaleShardEpoch, "")
		}
		return nil, nil
	}
	w.mustPut(t, "k", pattern(2500, 1))
	require.Equal(t, 1, w.meta.refreshes)
	first, second := w.meta.commands[0].GetPutObject().Written, w.meta.commands[1].GetPutObject().Written
	require.Equal(t, first.Run.Base, second.Run.Base)
	require.Equal(t, uint64(1), first.Shards[0].Epoch)
	require.Equal(t, uint64(2), second.Shards[0].Epoch)
	require.Equal(t, first.LowestEpoch, second.LowestEpoch)
}

// A large body whose condition is false already is not read; a small one is left to the decision.
func TestForeseeableRefusal(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.mustPut(t, "k", pattern(10, 1))
	decided := len(w.meta.commands)
	for _, c := range []struct {
		key  string
		cond *metapb.Conditions
		want errs.Kind
	}{
		{"k", &metapb.Conditions{IfNoneMatchAny: true}, errs.Precondition},
		{"k", &metapb.Conditions{IfMatch: []string{"0123"}}, errs.Precondition},
		{"absent", &metapb.Conditions{IfMatch: []string{"0123"}}, errs.NoSuchKey},
	} {
		for _, size := range []int64{earlyCheckBytes, -1} {
			_, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: object.Key(c.key), Conditions: c.cond,
				Body: Body{Reader: iotest.ErrReader(errors.New("was read")), Size: size}})
			require.Equal(t, c.want, errs.KindOf(err), "%v", err)
		}
	}
	require.Len(t, w.meta.commands, decided)
	etag := digest.ETag{Sum: md5.Sum(pattern(10, 1))}.String()
	_, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Conditions: &metapb.Conditions{IfMatch: []string{etag}},
		Body: bodyOf(pattern(earlyCheckBytes, 1))})
	require.NoError(t, err)
	_, err = w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Conditions: &metapb.Conditions{IfNoneMatchAny: true}, Body: bodyOf(nil)})
	require.NoError(t, err, "the fake decides nothing")
}

// A write ends after its limit, before anything is proposed.
func TestWriteLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1000, Options{WriteLimit: time.Hour})
		_, err := w.Put(context.Background(), PutRequest{Scope: scope(), Key: "k", Body: Body{Reader: slow{}, Size: -1}})
		require.Equal(t, errs.Timeout, errs.KindOf(err))
		require.Empty(t, w.meta.commands)
		w.finish()
	})
}

// slow gives a byte every minute of fake time.
type slow struct{}

func (slow) Read(p []byte) (int, error) {
	time.Sleep(time.Minute)
	return 1, nil
}

func TestBatch(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	ops := []BatchOp{{Key: "x", Get: true}}
	for i := range 50 {
		ops = append(ops, BatchOp{Key: object.Key(rune('a' + i)), Put: &BatchPut{Value: pattern(i*100, i)}})
	}
	ops = append(ops, BatchOp{Key: "y", Delete: true})
	res, err := w.Batch(context.Background(), scope(), ops)
	require.NoError(t, err)
	require.Len(t, res.Results, 52)
	cmd := w.meta.commands[0].GetBatch()
	require.True(t, cmd.Ops[0].GetGet())
	require.True(t, cmd.Ops[51].GetDelete())
	bases := map[string]bool{}
	for i := range 50 {
		got, err := w.read(string(rune('a'+i)), 0, uint64(i*100))
		require.NoError(t, err)
		require.True(t, bytes.Equal(pattern(i*100, i), got))
		if i > 0 {
			bases[string(cmd.Ops[i+1].GetPut().Written.Run.Base)] = true
		}
	}
	require.Len(t, bases, 49, "each put is a run of its own")
}

func TestBatchThatIsRefused(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.meta.before = func(int, *metapb.Command) (*metapb.Result, error) {
		return &metapb.Result{Failed: true, Kind: uint32(errs.Precondition), FailedOp: 1}, errs.E("fake", errs.Precondition, "")
	}
	_, err := w.Batch(context.Background(), scope(), []BatchOp{{Key: "a", Put: &BatchPut{Value: []byte("x")}}, {Key: "b", Put: &BatchPut{Value: []byte("y")}}})
	var be *BatchError
	require.ErrorAs(t, err, &be)
	require.Equal(t, 1, be.Op)
	require.Equal(t, errs.Precondition, errs.KindOf(err))
	w.finish()
	require.Len(t, w.vol.aborted, 2)
}

// One value that cannot be stored aborts the others, and nothing is proposed.
func TestBatchThatCannotBeWritten(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	n := 0
	w.vol.onPrepare = func(object.BlobID) error {
		if n++; n > 5 {
			return errs.E("mem", errs.StorageFull, "full")
		}
		return nil
	}
	var ops []BatchOp
	for range 40 {
		ops = append(ops, BatchOp{Key: "a", Put: &BatchPut{Value: []byte("x")}})
	}
	_, err := w.Batch(context.Background(), scope(), ops)
	require.Equal(t, errs.StorageFull, errs.KindOf(err))
	require.Empty(t, w.meta.commands)
	w.finish()
	require.Len(t, w.vol.aborted, 5)
}

func TestList(t *testing.T) {
	w := newWorld(t, 1000, Options{})
	w.mustPut(t, "k", pattern(10, 1))
	page, err := w.List(context.Background(), &metapb.ListObjectsQuery{Bucket: "b"})
	require.NoError(t, err)
	require.Len(t, page.Entries, 2)
	require.Equal(t, uint64(10), page.Entries[0].Row.Size)
	require.Nil(t, page.Entries[1].Row)
	r, err := w.OfRow(page.Bucket, page.Entries[0].Row).Range(context.Background(), 2, 3)
	require.NoError(t, err)
	defer r.Close()
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, pattern(10, 1)[2:5], got)
}
