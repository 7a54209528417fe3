package volume

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
)

// other is a volume elsewhere.
type other struct {
	data []byte
	err  error
}

func (o other) ReadAt(_ context.Context, _ object.BlobID, dst []byte, _ int64) (int, error) {
	return copy(dst, o.data), o.err
}

func sources(all map[uint32]other) func(uint32) (Source, error) {
	return func(n uint32) (Source, error) {
		o, ok := all[n]
		if !ok {
			return nil, errs.E("test", errs.Unavailable, "there is no volume %d", n)
		}
		return o, nil
	}
}

// spoil flips a byte in the middle of what the segments hold of data.
func spoil(t *testing.T, fs vfs.FS, data []byte) {
	t.Helper()
	names, err := fs.List("/v")
	must(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, ".seg") {
			continue
		}
		b, err := vfs.ReadFile(fs, fs.PathJoin("/v", name), 64<<20)
		must(t, err)
		at := bytes.Index(b, data)
		if at < 0 {
			continue
		}
		f, err := vfs.OpenFile(fs, fs.PathJoin("/v", name), os.O_RDWR, 0o600)
		must(t, err)
		_, err = f.WriteAt([]byte{data[len(data)/2] ^ 1}, int64(at+len(data)/2))
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
		return
	}
	t.Fatal("the bytes are in no segment")
}

// TestWhatCanBeReadAgainIsGood: a blob that could not be read for a moment is not bad, and reported, for ever.
func TestWhatCanBeReadAgainIsGood(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	id, data := run(1).Blob(0), bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	_, err := s.Prepare(ctx, id, object.Epochs{Cluster: 1}, [][]byte{data})
	must(t, err)
	spoil(t, mem, data)
	if _, err := s.ReadAt(ctx, id, make([]byte, len(data)), 0); !errs.Is(err, errs.Corrupt) {
		t.Fatal(err)
	}
	spoiled := bytes.Clone(data)
	spoiled[len(data)/2] ^= 1
	spoil(t, mem, spoiled) // back
	if _, err := s.ReadAt(ctx, id, make([]byte, 10), 5); err != nil || len(s.Repairs()) != 1 {
		t.Fatal("a piece is not the whole", err, s.Repairs())
	}
	want := []object.Want{{ID: id, Length: int64(len(data)), Epochs: object.Epochs{Cluster: 3}}}
	if got := s.Fetch(ctx, want, sources(nil))[0]; got.Outcome != object.FetchHad {
		t.Fatalf("%+v", got)
	}
	if bad := s.Repairs(); len(bad) > 0 || s.Stats().Bad > 0 {
		t.Fatal(bad)
	}
}

// TestFetch: what is good stays, what is missing or damaged comes from the first volume that has it, and is there after a crash.
func TestFetch(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	id := run(1).Blob(0)
	data := bytes.Repeat([]byte("0123456789abcdef"), 20_000) // several blocks
	want := []object.Want{{ID: id, Length: int64(len(data)), Epochs: object.Epochs{Cluster: 3}, From: []uint32{9, 1, 2, 3, 4}}}
	good := map[uint32]other{
		1: {err: errs.E("test", errs.Corrupt, "rot")}, 2: {data: data[:7]}, 3: {data: data}, 4: {err: errors.New("not asked")},
	}
	fetch := func(all map[uint32]other) object.Fetched { return s.Fetch(ctx, want, sources(all))[0] }

	// Without a good source it fails, and says whose fault it is.
	got := fetch(map[uint32]other{1: good[1], 2: good[2]})
	if got.Outcome != object.FetchFailed || got.Own || len(got.Lacking) != 2 || len(got.Away) != 3 {
		t.Fatalf("%+v", got)
	}
	got = fetch(good)
	if got.Outcome != object.FetchCopied || got.Err != nil || len(got.Lacking) != 2 || got.Away[0] != 9 {
		t.Fatalf("%+v", got)
	}
	if got = fetch(nil); got.Outcome != object.FetchHad {
		t.Fatalf("%+v", got)
	}
	must(t, s.Commit(ctx, id))

	spoil(t, mem, data)
	if got = fetch(nil); got.Outcome != object.FetchFailed || got.Own || len(s.Repairs()) != 1 {
		t.Fatalf("%+v, repairs %v", got, s.Repairs())
	}
	if st := state(t, s, id); st != object.BlobCommitted {
		t.Fatalf("the bad record was dropped: %v", st)
	}
	if got = fetch(good); got.Outcome != object.FetchCopied || len(s.Repairs()) != 0 {
		t.Fatalf("%+v, repairs %v", got, s.Repairs())
	}
	for _, surv := range vfs.Survivals {
		c := open(t, mem.CrashClone(surv))
		checked, err := c.Check(ctx, object.Check{IDs: []object.BlobID{id}, Lengths: []uint32{uint32(len(data))}, Deep: true})
		must(t, err)
		if checked.Verdicts[0] != object.Good {
			t.Fatalf("after a crash (%v) the blob is %v", surv, checked.Verdicts[0])
		}
		must(t, c.Close())
	}

	// A failure of its own: other bytes are here under the id.
	want[0].Length = 5
	if got = fetch(map[uint32]other{9: {data: data[:5]}}); got.Outcome != object.FetchFailed || !got.Own || !errs.Is(got.Err, errs.Conflict) {
		t.Fatalf("%+v", got)
	}
	want[0].Length = 1 << 40
	if got = fetch(good); !got.Own || !errs.Is(got.Err, errs.Invalid) {
		t.Fatalf("%+v", got)
	}
	must(t, s.Close())
}

// TestFetchDamagedBeforeTheStart: a record that rotted while the volume was closed is not known as bad, and replaced all the same.
func TestFetchDamagedBeforeTheStart(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	id, data := run(1).Blob(0), bytes.Repeat([]byte("fedcba9876543210"), 20_000)
	_, err := s.Prepare(ctx, id, object.Epochs{Cluster: 3}, [][]byte{data})
	must(t, err)
	must(t, s.Close())
	spoil(t, mem, data)
	s = open(t, mem)
	defer s.Close()
	want := []object.Want{{ID: id, Length: int64(len(data)), Epochs: object.Epochs{Cluster: 4}, From: []uint32{1}}}
	if got := s.Fetch(ctx, want, sources(map[uint32]other{1: {data: data}}))[0]; got.Outcome != object.FetchCopied {
		t.Fatalf("%+v", got)
	}
	b := make([]byte, len(data))
	_, err = s.ReadAt(ctx, id, b, 0)
	must(t, err)
	if !bytes.Equal(b, data) {
		t.Fatal("other bytes")
	}
}

func TestCheck(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	text := bytes.Repeat([]byte("checked"), 1000)
	var ids []object.BlobID
	for i := range uint32(3) {
		ids = append(ids, run(byte(i)).Blob(i))
		_, err := s.Prepare(ctx, ids[i], object.Epochs{Cluster: 1}, [][]byte{{byte(i)}, text})
		must(t, err)
	}
	n := uint32(len(text) + 1)
	c := object.Check{IDs: append(ids, run(9).Blob(0)), Lengths: []uint32{n, n + 1, n, n}}
	spoil(t, mem, append([]byte{2}, text...))
	expect := func(want ...object.Verdict) object.Checked {
		t.Helper()
		got, err := s.Check(ctx, c)
		must(t, err)
		for i := range want {
			if got.Verdicts[i] != want[i] {
				t.Fatalf("deep %v: %v, want %v", c.Deep, got.Verdicts, want)
			}
		}
		return got
	}
	expect(object.Good, object.OtherLength, object.Good, object.Missing) // not known to be bad
	c.Deep, c.Algorithm = true, uint8(digest.CRC64NVME)
	got := expect(object.Good, object.OtherLength, object.Damaged, object.Missing)
	sum := digest.Of(digest.CRC64NVME, append([]byte{0}, text...))
	if !bytes.Equal(got.Sums[0], sum.Bytes()) || len(got.Sums[1])+len(got.Sums[2])+len(got.Sums[3]) != 0 {
		t.Fatalf("%x", got.Sums)
	}
	c.Deep = false
	expect(object.Good, object.OtherLength, object.Damaged, object.Missing)
	must(t, s.Close())
	if _, err := s.Check(ctx, c); err == nil {
		t.Fatal("a closed volume gave verdicts")
	}
}
