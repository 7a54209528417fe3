package store

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/segment"
)

// damagedStore is a store of blobs 0 to 9, of which the headers of 3 and 4 are overwritten, in a sealed segment; the index is lost if so asked.
func damagedStore(t *testing.T, mem *vfs.Mem, withIndex bool) (st *Store, name string, gap segment.Gap, headers [][]byte) {
	t.Helper()
	o := tiny(mem)
	o.CompactDead = -1
	st, err := Open("/v", o)
	must(t, err)
	for n := range 10 {
		put(t, st, n, 3000)
	}
	e, _, err := st.index.Get(testID(3))
	must(t, err)
	for n := 100; st.lastNumber.Load() < 3; n++ { // more segments
		put(t, st, n, 3000)
	}
	must(t, st.Close())
	name = segment.Name(uint64(e.Segment), segment.Small)
	size := int64(st.small.layout.Size(3000))
	gap = segment.Gap{From: e.Off(), To: e.Off() + 2*size}
	for off := gap.From; off < gap.To; off += size {
		headers = append(headers, overwrite(t, mem, "/v/"+name, off, bytes.Repeat([]byte{7}, 64)))
	}
	if !withIndex {
		must(t, mem.Remove("/v/"+indexName))
	}
	st, err = Open("/v", o)
	must(t, err)
	return st, name, gap, headers
}

func overwrite(t *testing.T, mem *vfs.Mem, name string, off int64, b []byte) (old []byte) {
	t.Helper()
	f, err := mem.OpenReadWrite(name, "")
	must(t, err)
	old = make([]byte, len(b))
	_, err = f.ReadAt(old, off)
	must(t, err)
	_, err = f.WriteAt(bytes.Clone(b), off)
	must(t, err)
	must(t, f.Close())
	return old
}

func exists(fs vfs.FS, name string) bool {
	_, err := fs.Stat(name)
	return err == nil
}

// TestDamagedSegmentIsEmptiedAndSetAside: without the index nobody knows what was in the piece. The rest moves out, the segment goes, the
// piece is kept byte by byte and reported over restarts until its file is removed.
func TestDamagedSegmentIsEmptiedAndSetAside(t *testing.T) {
	mem := vfs.NewMem()
	st, name, gap, _ := damagedStore(t, mem, false)
	f, err := mem.Open("/v/" + name)
	must(t, err)
	want := make([]byte, gap.To-gap.From)
	_, err = f.ReadAt(want, gap.From)
	must(t, err)
	must(t, f.Close())
	if d := st.Damage(); len(d) != 1 || d[0].Segment != name || d[0].From != gap.From || d[0].To != gap.To {
		t.Fatalf("%+v, want %+v", d, gap)
	}
	compactNow(t, st, 0.9)
	if exists(mem, "/v/"+name) || !exists(mem, "/v/"+name+lostSuffix) {
		t.Fatal(mem.List("/v"))
	}
	lost, err := vfs.ReadFile(mem, "/v/"+name+lostSuffix, 1<<20)
	must(t, err)
	if !bytes.HasSuffix(lost, want) {
		t.Fatal("other bytes are kept than were there")
	}
	for range 2 {
		if d := st.Damage(); len(d) != 1 || d[0].Segment != name || d[0].From != gap.From || d[0].To != gap.To || !strings.Contains(d[0].Cause, lostSuffix) {
			t.Fatalf("%+v", d)
		}
		for _, n := range []int{0, 1, 2, 5, 6, 7, 8, 9} {
			check(t, st, n, 3000)
		}
		_, err = st.ReadAt(ctx, testID(3), make([]byte, 1), 0)
		wantKind(t, err, errs.BlobMissing)
		st = reopen(t, st)
	}
	put(t, st, 3, 3000) // from another replica
	must(t, st.Close())
	must(t, mem.Remove("/v/"+name+lostSuffix))
	st, err = Open("/v", st.o)
	must(t, err)
	if d := st.Damage(); len(d) != 0 {
		t.Fatalf("%+v", d)
	}
	check(t, st, 3, 3000)
	must(t, st.Close())
}

// TestDamagedSegmentWaitsForRepairs: what is alive by the index and cannot be read is named and keeps the segment until it was repaired or
// dropped.
func TestDamagedSegmentWaitsForRepairs(t *testing.T) {
	mem := vfs.NewMem()
	st, name, _, _ := damagedStore(t, mem, true)
	_, err := st.ScrubNow(ctx, nil)
	must(t, err)
	compactNow(t, st, 0.9)
	var bad []object.BlobID
	for _, b := range st.Repairs() {
		bad = append(bad, b.ID)
	}
	if len(bad) != 2 || !slices.Contains(bad, testID(3)) || !slices.Contains(bad, testID(4)) || !exists(mem, "/v/"+name) {
		t.Fatalf("%v", bad)
	}
	put(t, st, 3, 3000)
	compactNow(t, st, 0.9)
	if !exists(mem, "/v/"+name) {
		t.Fatal("the segment went with a living blob")
	}
	must(t, st.Delete(ctx, testID(4)))
	must(t, st.Tidy(ctx))
	if exists(mem, "/v/"+name) || !exists(mem, "/v/"+name+lostSuffix) || len(st.Damage()) != 1 || len(st.Repairs()) != 0 {
		t.Fatal(st.Damage(), st.Repairs())
	}
	st = reopen(t, st)
	for _, n := range []int{0, 1, 2, 3, 5, 6, 7, 8, 9} {
		check(t, st, n, 3000)
	}
	must(t, st.Close())
}

// TestAPieceThatCanBeReadAgain: records that the index lacks are not thrown away with their segment, but taken for prepared.
func TestAPieceThatCanBeReadAgain(t *testing.T) {
	mem := vfs.NewMem()
	st, name, gap, headers := damagedStore(t, mem, false)
	for i, h := range headers {
		overwrite(t, mem, "/v/"+name, gap.From+int64(i*st.small.layout.Size(3000)), h)
	}
	compactNow(t, st, 0.9)
	if exists(mem, "/v/"+name) || exists(mem, "/v/"+name+lostSuffix) {
		t.Fatal(mem.List("/v"))
	}
	for n := range 10 {
		check(t, st, n, 3000)
		info, err := st.Stat(testID(n))
		must(t, err)
		if info.State != object.BlobPrepared {
			t.Fatalf("%+v", info)
		}
	}
	must(t, st.Close())
}

// TestCrashWhileSettingAside: after every operation of it a crash finds the rest of the blobs and the damage, once.
func TestCrashWhileSettingAside(t *testing.T) {
	mem := vfs.NewMem()
	st, name, gap, _ := damagedStore(t, mem, false)
	must(t, st.Close())
	o := st.o
	crashes := 0
	o.FS = vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		if !op.Kind.Changes() || t.Failed() {
			return
		}
		for _, s := range vfs.Survivals {
			crashes++
			c := o
			c.FS = mem.CrashClone(s)
			again, err := Open("/v", c)
			must(t, err)
			if d := again.Damage(); len(d) != 1 || d[0].Segment != name || d[0].From != gap.From || d[0].To != gap.To {
				t.Errorf("after %v of %s: %+v", op.Kind, op.Path, d)
			}
			for _, n := range []int{0, 1, 2, 5, 6, 7, 8, 9} {
				check(t, again, n, 3000)
			}
			if got := len(page(t)(again.List(object.BlobID{}, 1000))); got != int(st.Stats().Blobs) {
				t.Errorf("after %v of %s: %d blobs", op.Kind, op.Path, got)
			}
			must(t, again.Close())
		}
	}})
	st2, err := Open("/v", o)
	must(t, err)
	compactNow(t, st2, 0.9)
	must(t, st2.Close())
	if crashes < 100 || exists(mem, "/v/"+name) {
		t.Fatalf("%d crashes", crashes)
	}
}

func FuzzDecodeLost(f *testing.F) {
	f.Add(encodeLost(&segment.Header{Number: 7, Seed: 9}, []segment.Gap{{From: 4096, To: 8192}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		gaps, err := decodeLost(b, "x")
		if err != nil && !errs.Is(err, errs.Corrupt) && !errs.Is(err, errs.Unsupported) {
			t.Fatal(err)
		}
		if err == nil {
			h := segment.Header{Number: binary.LittleEndian.Uint64(b[16:]), Seed: binary.LittleEndian.Uint64(b[24:])}
			if again := encodeLost(&h, gaps); !bytes.HasPrefix(b, again) {
				t.Fatal("it does not encode to the same")
			}
		}
	})
}
