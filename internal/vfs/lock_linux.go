package vfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// lockOS takes the flock(2) of name; the lock goes with the descriptor, whatever other descriptors of the file are closed.
func lockOS(fs FS, name string) (File, io.Closer, error) {
	f, err := OpenFile(fs, name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, err
	}
	if f.Fd() == ^uintptr(0) {
		return lockNamed(fs, name, f)
	}
	if err := tryFlock(f); err != nil {
		f.Close()
		if isLocked(err) {
			return nil, nil, errHeld
		}
		return nil, nil, err
	}
	return f, f, nil
}

// dying reads /proc (proc_pid_status(5), proc_pid_stat(5)): gone, dead, a zombie whose other threads may still exit, exiting, or with
// a SIGKILL that waits for it.
func dying(pid int) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch value = strings.TrimSpace(value); key {
		case "State":
			if strings.HasPrefix(value, "Z") || strings.HasPrefix(value, "X") {
				return true
			}
		case "SigPnd", "ShdPnd":
			const kill = 1 << (9 - 1)
			if set, err := strconv.ParseUint(value, 16, 64); err == nil && set&kill != 0 {
				return true
			}
		}
	}
	return exiting(pid)
}

// exiting reads the flag PF_EXITING of the process's first thread.
func exiting(pid int) bool {
	const pfExiting = 0x4
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(b), ") ") // behind the name, which may hold anything
	fields := strings.Fields(rest)
	if err != nil || !ok || len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&pfExiting != 0
}
