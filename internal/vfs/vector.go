package vfs

// vectorWriter is a File that writes several buffers, one behind the other, with one system call.
type vectorWriter interface {
	WriteVAt(bufs [][]byte, off int64) (int, error)
}

// WriteVAt writes the concatenation of bufs at off: in one step where the file system can, else buffer by buffer. It returns the number of
// bytes written, fewer than all only with an error. Unlike Write of Pebble's contract it leaves the buffers as they are.
func WriteVAt(f File, bufs [][]byte, off int64) (n int, err error) {
	if v, ok := f.(vectorWriter); ok {
		return v.WriteVAt(bufs, off)
	}
	for _, b := range bufs {
		m, err := f.WriteAt(b, off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
