package segment

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/volume/record"
)

func TestHeaderRoundTrip(t *testing.T) {
	h := Header{Volume: UUID{1}, Incarnation: UUID{2}, Number: 3, Seed: 1 << 63, Capacity: 1 << 30, Kind: Large}
	b := make([]byte, HeaderLen)
	h.encode(b)
	got, err := decodeHeader(b, "x")
	if err != nil || got != h {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range 80 {
		b[i] ^= 1
		_, err := decodeHeader(b, "x")
		if !errs.Is(err, errs.Corrupt) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		b[i] ^= 1
	}
}

// TestNewerVersion: a newer version is refused by its number, never called damage; even if all behind the preamble is strange.
func TestNewerVersion(t *testing.T) {
	m := newImage(t, Small)
	b := make([]byte, HeaderLen)
	PutPreamble(b, MagicSegment)
	binary.LittleEndian.PutUint16(b[8:], FormatVersion+1)
	binary.LittleEndian.PutUint32(b[12:], record.CRC(b[:12]))
	for i := PreambleLen; i < HeaderLen; i++ {
		b[i] = 0xee
	}
	m.damage(0, b)
	_, err := Open(m.fs, "/s", Name(7, Small))
	if !errs.Is(err, errs.Unsupported) || !strings.Contains(err.Error(), "version 2") || !strings.Contains(err.Error(), "version 1") {
		t.Fatal(err)
	}
}

func TestNames(t *testing.T) {
	for _, k := range []Kind{Small, Large} {
		n, kind, ok := ParseName(Name(0xabc, k))
		if !ok || n != 0xabc || kind != k {
			t.Fatal(n, kind, ok)
		}
	}
	for _, s := range []string{"", "CHECKPOINT", "00000001.seg", "00000001.small.seg.tmp", "1.small.seg", "0000000g.small.seg", "00000001.medium.seg"} {
		if _, _, ok := ParseName(s); ok {
			t.Errorf("%q is a segment", s)
		}
	}
}

func TestOpenRefusesTheWrongFile(t *testing.T) {
	m := newImage(t, Small)
	must(t, m.fs.Rename(m.f.Path(), "/s/"+Name(8, Small)))
	if _, err := Open(m.fs, "/s", Name(8, Small)); !errs.Is(err, errs.Corrupt) {
		t.Fatal(err)
	}
	f, err := m.fs.OpenFile("/s/"+Name(9, Small), os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	must(t, f.Close())
	if _, err := Open(m.fs, "/s", Name(9, Small)); !errs.Is(err, errs.Corrupt) {
		t.Fatal(err)
	}
}

// TestReadersKeepTheFile: a file that is released stays readable for who has it.
func TestReadersKeepTheFile(t *testing.T) {
	m := newImage(t, Small)
	m.group(true, 10)
	f := m.open()
	if !f.Acquire() {
		t.Fatal("an open file cannot be acquired")
	}
	f.Release()
	buf := make([]byte, 10)
	_, err := f.ReadAt(id(1), m.at[0], 10, buf, 0)
	must(t, err)
	f.Release()
	if f.Acquire() {
		t.Fatal("a closed file was acquired")
	}
}

func TestCreateLeavesNothingHalfMade(t *testing.T) {
	mem := vfs.NewMem()
	clones := 0
	fs := vfs.NewInject(mem, vfs.Hooks{After: func(op vfs.Op, _ error) {
		if !op.Kind.Changes() {
			return
		}
		for _, s := range vfs.Survivals {
			c := mem.CrashClone(s)
			clones++
			if _, err := c.Stat("/" + Name(1, Small)); err != nil {
				continue
			}
			if _, err := Open(c, "/", Name(1, Small)); err != nil {
				t.Errorf("after %v of %s: %v", op.Kind, op.Path, err)
			}
		}
	}})
	f, err := Create(fs, "/", Header{Number: 1, Seed: 1, Capacity: 64 << 10, Kind: Small}, 64<<10, nil)
	must(t, err)
	f.Release()
	if _, err := Open(mem.CrashClone(vfs.Survival{}), "/", Name(1, Small)); err != nil || clones < 20 {
		t.Fatal(clones, err)
	}
}
