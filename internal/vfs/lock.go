package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"minikv/internal/errs"
)

// LockName is the file in a data folder that its owner keeps locked. It tells who that is.
const LockName = "LOCK"

var errHeld = errors.New("held")

// LockDir takes the folder for this process. A folder in use is refused with errs.Conflict and the holder's process id, host
// and start time. Closing gives it back; so does the end of the process, however it ends: a holder that is being killed is waited
// for, 10 s at most, since the kernel gives its lock back only after its memory.
func LockDir(fs FS, dir string) (io.Closer, error) {
	const op = "vfs.LockDir"
	name := fs.PathJoin(dir, LockName)
	f, held, err := lockOS(fs, name)
	// Twice: between taking its signal and beginning to exit a process looks alive.
	for alive, end := 0, time.Now().Add(dyingPatience); errors.Is(err, errHeld) && alive < 2 && time.Now().Before(end); {
		if alive++; holderDying(fs, name) {
			alive = 0
		}
		time.Sleep(dyingPoll)
		f, held, err = lockOS(fs, name)
	}
	if errors.Is(err, errHeld) {
		return nil, errs.E(op, errs.Conflict, "%s is in use by %s", dir, holder(fs, name))
	}
	if err != nil {
		return nil, errs.WrapKind(op, errs.Unavailable, err)
	}
	host, _ := os.Hostname()
	text := fmt.Sprintf("process %d on %s since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	if err := rewrite(f, text); err != nil {
		held.Close()
		return nil, errs.WrapKind(op, errs.Unavailable, err)
	}
	return held, nil
}

// lockTextLen is the fixed length of a lock file, so that a shorter text covers a longer one.
const lockTextLen = 256

func rewrite(f File, text string) error {
	b := []byte(text + strings.Repeat("\n", max(0, lockTextLen-len(text))))
	_, err := f.WriteAt(b, 0) // not synced: after a crash nobody holds it
	return err
}

// How long the end of a holder that is being killed is waited for, and how often its lock is tried.
const (
	dyingPatience = 10 * time.Second
	dyingPoll     = 5 * time.Millisecond
)

// holderDying tells whether the process that the lock file names is of this machine and about to end, or gone already.
func holderDying(fs FS, name string) bool {
	var pid int
	var host string
	if _, err := fmt.Sscanf(holder(fs, name), "process %d on %s since", &pid, &host); err != nil || pid <= 0 {
		return false
	}
	own, err := os.Hostname()
	return err == nil && host == own && pid != os.Getpid() && dying(pid)
}

func holder(fs FS, name string) string {
	b, err := ReadFile(fs, name, 1<<16)
	if text := strings.TrimSpace(string(b)); err == nil && text != "" {
		return text
	}
	return "another process"
}

// lockNamed locks by the FS's own means, under a name beside the one that tells the holder (Pebble empties what it locks).
func lockNamed(fs FS, name string, f File) (File, io.Closer, error) {
	l, err := fs.Lock(name + ".held")
	if err != nil {
		f.Close()
		return nil, nil, errHeld
	}
	return f, closers{l, f}, nil
}

type closers []io.Closer

func (c closers) Close() error {
	var first error
	for _, x := range c {
		if err := x.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
