package vfs

// syncStarter is a File that can begin to write what is in the page cache.
type syncStarter interface {
	StartSync(off, length int64) error
}

// StartSync begins to write length bytes at off to the disk, where the system can, without waiting for them: a sync that follows, which alone
// makes them durable, finds them on their way. An error is as bad as one of that sync.
func StartSync(f File, off, length int64) error {
	if s, ok := f.(syncStarter); ok {
		return s.StartSync(off, length)
	}
	return nil
}
