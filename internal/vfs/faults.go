//go:build faults

package vfs

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

// faultFile in the environment names a file that says which operations wait, and may change at any time. A line is a rule:
//
//	PART KINDS LEAST MOST    operations on paths that contain PART wait for LEAST to MOST; KINDS: names of OpKind with commas, or changes: all that change the disk
//
// An operation that waits goes on at once when its rule is gone.
const faultFile = "FAULTS_OF_MINIKV_DISK"

// disturbed makes operations wait as the file says.
func disturbed(fs FS) FS {
	name := os.Getenv(faultFile)
	if name == "" {
		return fs
	}
	return NewInject(fs, Hooks{Before: func(op Op) Fault {
		slowed(name, op)
		return Fault{}
	}})
}

const faultLook = 20 * time.Millisecond

// slowed waits as long as the rule asks for, or until it is gone.
func slowed(name string, op Op) {
	least, most, ok := faultOf(name, op)
	if !ok {
		return
	}
	end := time.Now().Add(least + rand.N(most-least+1))
	for ok && time.Now().Before(end) {
		time.Sleep(min(faultLook, time.Until(end)))
		_, _, ok = faultOf(name, op)
	}
}

func meant(kinds string, k OpKind) bool {
	return kinds == "changes" && k.Changes() || slices.Contains(strings.Split(kinds, ","), k.String())
}

// faultOf is the first rule for an operation.
func faultOf(name string, op Op) (least, most time.Duration, ok bool) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, false
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 4 || !strings.Contains(op.Path, f[0]) || !meant(f[1], op.Kind) {
			continue
		}
		least, err1 := time.ParseDuration(f[2])
		most, err2 := time.ParseDuration(f[3])
		return least, max(least, most), err1 == nil && err2 == nil
	}
	return 0, 0, false
}
