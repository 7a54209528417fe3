//go:build unix

package command

import (
	"os"
	"syscall"
)

// umask is the process's; it has to be set to be read.
func umask() os.FileMode {
	m := syscall.Umask(0o077)
	syscall.Umask(m)
	return os.FileMode(m)
}
