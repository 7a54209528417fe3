package harness

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The binary of the fault suite is minikv built with the tag faults, whose disks can be slow, and with a time package of our own, whose
// wall clock can jump: the file of Go's own distribution, with an offset in Now. So whatever reads the wall clock anywhere in the process
// sees the jump, at once, and the monotonic clock does not, as on a machine whose clock is set. The binary that is shipped knows
// nothing of all this.
var faultBuild struct {
	once sync.Once
	path string
	err  error
}

// Variables that tell a process of the fault binary its files.
const (
	faultClockVar = "FAULTS_OF_MINIKV_CLOCK" // 8 bytes, little endian: seconds that the wall clock is ahead
	faultDiskVar  = "FAULTS_OF_MINIKV_DISK"  // rules of package vfs
)

// FaultVars are their names, for a test that no other binary knows them.
var FaultVars = []string{faultClockVar, faultDiskVar}

// FaultBinary builds the binary of the fault suite once.
func FaultBinary(t testing.TB) string {
	t.Helper()
	faultBuild.once.Do(func() { faultBuild.path, faultBuild.err = buildFaults() })
	if faultBuild.err != nil {
		t.Fatalf("build the fault binary: %v", faultBuild.err)
	}
	return faultBuild.path
}

func buildFaults() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	dir, err := os.MkdirTemp("", "minikv-faults")
	if err != nil {
		return "", err
	}
	std := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	replace := map[string]string{}
	jumping, err := jumpingTime(filepath.Join(std, "time.go"))
	if err != nil {
		return filepath.Join(dir, "none"), err
	}
	for name, text := range map[string]string{"time.go": jumping, "zz_fault.go": faultClockFile} {
		replace[filepath.Join(std, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return filepath.Join(dir, "none"), err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return filepath.Join(dir, "none"), err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		return filepath.Join(dir, "none"), err
	}
	path := filepath.Join(dir, "minikv")
	cmd := exec.Command("go", "build", "-tags", "faults", "-overlay", filepath.Join(dir, "overlay.json"), "-o", path, "minikv/cmd/minikv")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return path, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// jumpingTime is Go's file with the offset in it.
func jumpingTime(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	const plain = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(text), plain) != 1 {
		return "", fmt.Errorf("%s: time.Now is not written as it was in Go 1.26: the fault suite has to learn how it is now", file)
	}
	return strings.Replace(string(text), plain, plain+"\tsec += faultOffset()\n", 1), nil
}

const faultClockFile = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var faultClock = openFaultClock()

// openFaultClock maps the file, so that a jump is seen by all at once.
func openFaultClock() *int64 {
	name, ok := syscall.Getenv("` + faultClockVar + `")
	if !ok {
		return new(int64)
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("` + faultClockVar + `: " + err.Error())
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("` + faultClockVar + `: " + err.Error())
	}
	_ = syscall.Close(fd)
	return (*int64)(unsafe.Pointer(&b[0]))
}

func faultOffset() int64 { return atomic.LoadInt64(faultClock) }
`

// faultFiles are what the process of a node with Options.Faults is told by.
func (n *Node) faultFiles() (clock, disk string) {
	return n.Data + ".clock", n.Data + ".disk"
}

// prepareFaults makes the files and gives the environment.
func (n *Node) prepareFaults() ([]string, error) {
	clock, disk := n.faultFiles()
	if _, err := os.Stat(clock); err != nil {
		if err := os.WriteFile(clock, make([]byte, 8), 0o600); err != nil {
			return nil, err
		}
	}
	return []string{faultClockVar + "=" + clock, faultDiskVar + "=" + disk}, nil
}

// SetClock makes the node's wall clock differ from the true one, from now on and after restarts.
func (n *Node) SetClock(ahead time.Duration) {
	n.t.Helper()
	clock, _ := n.faultFiles()
	f, err := os.OpenFile(clock, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(ahead/time.Second)), 0)
		_ = f.Close()
	}
	if err != nil {
		n.t.Errorf("clock of %s: %v", n.Name, err)
	}
}

// SetDisk makes operations on paths that contain part wait; kinds as in package vfs. An empty part makes the disk well again.
func (n *Node) SetDisk(part, kinds string, least, most time.Duration) {
	n.t.Helper()
	_, disk := n.faultFiles()
	rule := ""
	if part != "" {
		rule = fmt.Sprintf("%s %s %v %v\n", part, kinds, least, most)
	}
	err := os.WriteFile(disk+".new", []byte(rule), 0o600)
	if err == nil {
		err = os.Rename(disk+".new", disk)
	}
	if err != nil {
		n.t.Errorf("disk of %s: %v", n.Name, err)
	}
}
