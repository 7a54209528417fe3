package vfs

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
)

// mapper is a File whose bytes can be looked at in place.
type mapper interface {
	Map(length int64) (b []byte, unmap func() error, err error)
}

// Map gives the first length bytes of f for reading, mapped where the file system can, else read into memory. f may be closed
// before unmap, after which b is gone. Touching mapped bytes that the disk cannot give is a fault: see Guard.
func Map(f File, length int64) (b []byte, unmap func() error, err error) {
	if m, ok := f.(mapper); ok && length > 0 {
		return m.Map(length)
	}
	b = make([]byte, length)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, nil, err
	}
	return b, func() error { return nil }, nil
}

// Guard calls look, which touches mapped bytes; a fault in it (an I/O error, a file cut short) is the returned error and not the end of
// the process.
func Guard(look func()) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		err = FaultError(recover())
	}()
	look()
	return nil
}

// FaultError makes an error of a recovered panic that is a memory fault, for who guards without Guard; any other goes on.
func FaultError(recovered any) error {
	if recovered == nil {
		return nil
	}
	if a, ok := recovered.(interface {
		error
		Addr() uintptr
	}); ok {
		return fmt.Errorf("a mapped file cannot be read: %w", error(a))
	}
	panic(recovered)
}
