package store

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume/record"
	"minikv/volume/segment"
)

var updateGolden = flag.Bool("update", false, "write the golden files of the present format")

// goldenDir is what this program writes. goldenFirst is version 1 before it had an index file, with a checkpoint that is ignored.
const (
	goldenDir   = "testdata/v1-index"
	goldenFirst = "testdata/v1"
)

// goldenOptions make the same bytes every time.
func goldenOptions(fs vfs.FS) Options {
	o := tiny(fs)
	seed := uint64(0)
	o.Rand = func() uint64 { seed += 0x9E3779B97F4A7C15; return seed }
	return o
}

// goldenVolume is a volume with a record of every type, closed.
func goldenVolume(t *testing.T) *vfs.Mem {
	mem := vfs.NewMem()
	o := goldenOptions(mem)
	st, err := Open("/v", o)
	must(t, err)
	put(t, st, 0, 0)
	put(t, st, 1, 100)
	put(t, st, 2, 5000)
	put(t, st, 3, 9000) // large
	must(t, st.Commit(ctx, testID(1), testID(3)))
	must(t, st.Abort(ctx, testID(0)))
	put(t, st, 4, 1)
	must(t, st.Delete(ctx, testID(2)))
	must(t, st.Close())
	must(t, mem.Remove("/v/"+indexName)) // so that the segments are read and sealed
	st, err = Open("/v", o)
	must(t, err)
	put(t, st, 5, 10)
	must(t, st.Close())
	return mem
}

func goldenFiles(t *testing.T, mem *vfs.Mem) map[string][]byte {
	names, err := mem.List("/v")
	must(t, err)
	files := map[string][]byte{}
	for _, n := range names {
		if strings.HasPrefix(n, vfs.LockName) {
			continue
		}
		b, err := vfs.ReadFile(mem, "/v/"+n, 1<<30)
		must(t, err)
		if strings.HasSuffix(n, ".seg") {
			b = bytes.TrimRight(b, "\x00") // the reserved rest is zero
		}
		files[n] = b
	}
	return files
}

// TestGoldenWrite: this version writes the bytes that version 1 always wrote.
func TestGoldenWrite(t *testing.T) {
	files := goldenFiles(t, goldenVolume(t))
	if *updateGolden {
		must(t, os.MkdirAll(goldenDir, 0o755))
		for n, b := range files {
			must(t, os.WriteFile(filepath.Join(goldenDir, n), b, 0o644))
		}
	}
	stored, err := os.ReadDir(goldenDir)
	must(t, err)
	if len(stored) != len(files) || len(files) < 4 {
		t.Fatalf("%d files, %d golden ones", len(files), len(stored))
	}
	for _, e := range stored {
		want, err := os.ReadFile(filepath.Join(goldenDir, e.Name()))
		must(t, err)
		if got := files[e.Name()]; !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes differ from the golden %d", e.Name(), len(got), len(want))
		}
	}
}

// TestGoldenRead: what version 1 wrote is read, with and without its index.
func TestGoldenRead(t *testing.T) {
	for _, x := range []struct{ dir, without string }{{goldenFirst, ""}, {goldenFirst, oldCheckpointName}, {goldenDir, ""}, {goldenDir, cleanName}, {goldenDir, indexName}, {goldenDir, filterName}} {
		mem := vfs.NewMem()
		must(t, mem.MkdirAll("/v", 0o755))
		stored, err := os.ReadDir(x.dir)
		must(t, err)
		for _, e := range stored {
			b, err := os.ReadFile(filepath.Join(x.dir, e.Name()))
			must(t, err)
			if e.Name() != x.without {
				must(t, vfs.AtomicWriteFile(mem, "/v/"+e.Name(), b, 0o600))
			}
		}
		st, err := Open("/v", goldenOptions(mem))
		must(t, err)
		for n, l := range map[int]int{1: 100, 3: 9000, 4: 1, 5: 10} {
			check(t, st, n, l)
		}
		for n, want := range map[int]object.BlobState{1: object.BlobCommitted, 3: object.BlobCommitted, 4: object.BlobPrepared} {
			info, err := st.Stat(testID(n))
			must(t, err)
			if info.State != want || info.Epochs != (object.Epochs{Cluster: 5, Shard: 1}) {
				t.Fatalf("blob %d: %+v", n, info)
			}
		}
		for _, n := range []int{0, 2} {
			_, err := st.Stat(testID(n))
			wantKind(t, err, errs.BlobMissing)
		}
		must(t, st.Close())
	}
}

// TestNewerFormatIsRefused: each file of a newer version is refused by its number, and nothing is changed.
func TestNewerFormatIsRefused(t *testing.T) {
	for name, magic := range map[string]string{volumeName: segment.MagicVolume, indexName: segment.MagicIndex, cleanName: segment.MagicClean, filterName: segment.MagicFilter, segment.Name(1, segment.Small): segment.MagicSegment} {
		mem := goldenVolume(t)
		f, err := mem.OpenReadWrite("/v/"+name, "")
		must(t, err)
		b := make([]byte, segment.PreambleLen)
		segment.PutPreamble(b, magic)
		binary.LittleEndian.PutUint16(b[8:], segment.FormatVersion+1)
		binary.LittleEndian.PutUint32(b[12:], record.CRC(b[:12]))
		_, err = f.WriteAt(b, 0)
		must(t, err)
		must(t, f.Close())
		for range 2 {
			_, err = Open("/v", goldenOptions(mem))
			wantKind(t, err, errs.Unsupported)
			if !strings.Contains(err.Error(), "format version 2") || !strings.Contains(err.Error(), "reads version 1") {
				t.Fatal(err)
			}
		}
	}
}

// TestStaleIndex: one that does not fit the segments, or is damaged, is rebuilt from them.
func TestStaleIndex(t *testing.T) {
	mem := goldenVolume(t)
	old, err := vfs.ReadFile(mem, "/v/"+indexName, 1<<20)
	must(t, err)
	st, err := Open("/v", goldenOptions(mem))
	must(t, err)
	put(t, st, 77, 300)
	must(t, st.Close())
	flipped := bytes.Clone(old)
	flipped[100] ^= 1
	for name, b := range map[string][]byte{"stale": old, "damaged": flipped, "cut": old[:len(old)-5], "empty": {}} {
		c := mem.CrashClone(vfs.Survival{Percent: 100})
		must(t, vfs.AtomicWriteFile(c, "/v/"+indexName, b, 0o600))
		st, err := Open("/v", goldenOptions(c))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		check(t, st, 77, 300)
		check(t, st, 1, 100)
		must(t, st.Close())
	}
}
