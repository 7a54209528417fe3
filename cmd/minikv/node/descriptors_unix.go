//go:build unix

package node

import "syscall"

// descriptors is how many files and connections the process may have open; the Go runtime has raised it as far as allowed.
func descriptors() uint64 {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 1024 // the usual least
	}
	return uint64(r.Cur)
}
