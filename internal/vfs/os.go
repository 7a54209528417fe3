package vfs

import (
	"os"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
)

// OS is the operating system's file system. It is Pebble's default body with OpenFile added.
func OS() FS { return disturbed(osFS{pvfs.Default}) }

type osFS struct{ FS }

var _ interface {
	FS
	Opener
} = osFS{}

// OpenFile is os.OpenFile; see Opener.
func (osFS) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return newOSFile(f), nil
}

func (osFS) Unwrap() FS { return nil }

// osFile is an *os.File as a File. Platform files add SyncData and Preallocate.
type osFile struct {
	*os.File
}

func (f osFile) Stat() (FileInfo, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	return fileInfo{fi}, nil
}

type fileInfo struct{ os.FileInfo }

// DeviceID is unknown here; Pebble, which uses it, stats by name through its own body.
func (fileInfo) DeviceID() pvfs.DeviceID { return pvfs.DeviceID{} }
