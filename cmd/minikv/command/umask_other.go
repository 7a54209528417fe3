//go:build !unix

package command

import "os"

func umask() os.FileMode { return 0 }
