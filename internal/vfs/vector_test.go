package vfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestWriteVAt: the same bytes come of many buffers, empty ones and more than one system call takes included, in every body.
func TestWriteVAt(t *testing.T) {
	var bufs [][]byte
	var want []byte
	for i := range 2500 {
		b := bytes.Repeat([]byte{byte(i)}, i%7)
		bufs, want = append(bufs, b), append(want, b...)
	}
	dir := t.TempDir()
	for name, fs := range map[string]FS{"os": OS(), "memory": NewMem(), "inject": NewInject(OS(), Hooks{})} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, name)
			if name == "memory" {
				file = "/file"
			}
			f, err := OpenFile(fs, file, os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			n, err := WriteVAt(f, bufs, 3)
			if n != len(want) || err != nil {
				t.Fatalf("%d of %d bytes, %v", n, len(want), err)
			}
			if n, err := WriteVAt(f, [][]byte{nil, {}}, 0); n != 0 || err != nil {
				t.Fatalf("nothing: %d bytes, %v", n, err)
			}
			got := make([]byte, len(want)+3)
			if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got[3:], want) {
				t.Fatalf("other bytes (%v)", err)
			}
		})
	}
}

// TestWriteVAtFails: what an error stops is told.
func TestWriteVAtFails(t *testing.T) {
	broken := errors.New("broken")
	in := NewInject(NewMem(), Hooks{Before: FailNth(2, Kinds(OpWrite), broken, 1)})
	f, err := OpenFile(in, "/file", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := WriteVAt(f, [][]byte{{1, 2}, {3, 4}, {5}}, 0); n != 3 || !errors.Is(err, broken) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	r, err := OpenFile(OS(), os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := WriteVAt(r, [][]byte{{1}}, 0); err == nil {
		t.Fatal("a file opened for reading was written")
	}
}
