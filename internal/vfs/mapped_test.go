package vfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestMapFault: a mapped file that is cut short gives an error, not a crash.
func TestMapFault(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	want := bytes.Repeat([]byte("mapped"), 4096)
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(OS(), name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, unmap, err := Map(f, int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	defer unmap()
	if err := Guard(func() {
		if !bytes.Equal(b, want) {
			t.Error("other bytes")
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, mapped := f.(mapper); !mapped {
		t.Skip("files are not mapped here")
	}
	if err := os.Truncate(name, 4096); err != nil {
		t.Fatal(err)
	}
	sum := 0
	if err := Guard(func() { sum += int(b[8192]) }); err == nil {
		t.Fatal("no error beyond the end of the file")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Guard(func() { sum += int(b[0]) }); err != nil {
		t.Fatal(err)
	}
}

// TestMapOfMemory: what cannot be mapped is read; too short is an error.
func TestMapOfMemory(t *testing.T) {
	fs := NewMem()
	if err := AtomicWriteFile(fs, "/f", []byte("bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open("/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, _, err := Map(f, 5); err != nil || string(b) != "bytes" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, _, err := Map(f, 6); err == nil {
		t.Fatal("more bytes than there are")
	}
}
