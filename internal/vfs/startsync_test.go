package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestStartSync: what was begun is there to be read and synced in every body, and through the wrapper it can be seen and made to fail.
func TestStartSync(t *testing.T) {
	broken := errors.New("broken")
	for name, fs := range map[string]FS{"os": OS(), "memory": NewMem()} {
		t.Run(name, func(t *testing.T) {
			var seen []Op
			var fail error
			in := NewInject(fs, Hooks{Before: func(op Op) Fault {
				if op.Kind == OpStartSync {
					seen = append(seen, op)
					return Fault{Err: fail}
				}
				return Fault{}
			}})
			file := "/file"
			if name == "os" {
				file = filepath.Join(t.TempDir(), name)
			}
			f, err := OpenFile(in, file, os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte("0123456789"), 0); err != nil {
				t.Fatal(err)
			}
			if err := StartSync(f, 2, 5); err != nil {
				t.Fatal(err)
			}
			if len(seen) != 1 || seen[0].Off != 2 || seen[0].Len != 5 || seen[0].Path != file || seen[0].Kind.Changes() {
				t.Fatalf("seen: %+v", seen)
			}
			got := make([]byte, 10)
			if _, err := f.ReadAt(got, 0); err != nil || string(got) != "0123456789" {
				t.Fatalf("%q, %v", got, err)
			}
			if err := f.SyncData(); err != nil {
				t.Fatal(err)
			}
			if fail = broken; !errors.Is(StartSync(f, 0, 10), broken) {
				t.Fatal("the error is lost")
			}
		})
	}
}

// TestStartSyncIsNoSync: a crash after it may lose all.
func TestStartSyncIsNoSync(t *testing.T) {
	fs := NewMem()
	f, err := OpenFile(fs, "/file", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := SyncDir(fs, "/"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("bytes"), 0); err != nil {
		t.Fatal(err)
	}
	if err := StartSync(f, 0, 5); err != nil {
		t.Fatal(err)
	}
	clone := fs.CrashClone(Survival{})
	if b, err := ReadFile(clone, "/file", 10); string(b) == "bytes" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
}
