//go:build !linux

package vfs

import (
	"io"
	"os"
)

func lockOS(fs FS, name string) (File, io.Closer, error) {
	f, err := OpenFile(fs, name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, err
	}
	return lockNamed(fs, name, f)
}

func dying(int) bool { return false }
