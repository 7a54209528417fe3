//go:build !linux

package vfs

import "os"

// ODirect is the flag of direct I/O for OpenFile; 0 where there is none.
const ODirect = 0

func newOSFile(f *os.File) File { return plainFile{osFile{f}} }

type plainFile struct{ osFile }

func (f plainFile) SyncData() error              { return f.Sync() }
func (f plainFile) SyncTo(int64) (bool, error)   { return true, f.Sync() }
func (plainFile) Preallocate(int64, int64) error { return nil }
func (plainFile) Prefetch(int64, int64) error    { return nil }
