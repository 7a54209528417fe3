// Package buildinfo says which minikv this is. The Makefile sets the variables when it links.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version and Commit are set by the linker; without it, they are taken from what the Go toolchain recorded.
var (
	Version = ""
	Commit  = ""
)

// Get gives version and commit, never empty.
func Get() (version, commit string) {
	version, commit = Version, Commit
	info, ok := debug.ReadBuildInfo()
	if version == "" {
		version = "devel"
		if ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
			version = info.Main.Version
		}
	}
	if commit == "" {
		commit = "unknown"
		if ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					commit = s.Value[:min(12, len(s.Value))]
				}
			}
		}
	}
	return version, commit
}

// String is one line for people.
func String() string {
	v, c := Get()
	return fmt.Sprintf("minikv %s (commit %s, %s, %s/%s)", v, c, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
