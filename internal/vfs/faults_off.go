//go:build !faults

package vfs

// disturbed is fs: only the builds of the fault suite disturb it.
func disturbed(fs FS) FS { return fs }
