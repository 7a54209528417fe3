package vfs

import (
	"unsafe"
)

// DirectAlign is the alignment in bytes of offset, length and address of direct I/O: the largest logical block size in use.
const DirectAlign = 4096

// AlignedBuffer returns n bytes whose address is a multiple of DirectAlign.
func AlignedBuffer(n int) []byte {
	b := make([]byte, n+DirectAlign)
	shift := 0
	if r := int(uintptr(unsafe.Pointer(&b[0])) % DirectAlign); r != 0 {
		shift = DirectAlign - r
	}
	return b[shift : shift+n : shift+n]
}

// IsAligned says whether b and off fit direct I/O.
func IsAligned(b []byte, off int64) bool {
	if off%DirectAlign != 0 || len(b)%DirectAlign != 0 {
		return false
	}
	return len(b) == 0 || uintptr(unsafe.Pointer(&b[0]))%DirectAlign == 0
}
