package vfs

import (
	"io"
	"os"
)

// lockOS takes the flock(2) of name; the lock goes with the descriptor, whatever other descriptors of the file are closed.
func lockOS(fs FS, name string) (File, io.Closer, error) {
	f, err := OpenFile(fs, name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, err
	}
	if f.Fd() == ^uintptr(0) {
		return lockNamed(fs, name, f)
	}
	if err := tryFlock(f); err != nil {
		f.Close()
		if isLocked(err) {
			return nil, nil, errHeld
		}
		return nil, nil, err
	}
	return f, f, nil
}
