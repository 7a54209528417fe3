package vfs_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"minikv/internal/vfs"
)

const lockHolderEnv = "VFS_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockHolderEnv); dir != "" {
		holdForever(dir)
	}
	os.Exit(m.Run())
}

// holdForever takes the lock and much memory, which makes its end slow, tells so and waits, on its standard input, to be killed.
func holdForever(dir string) {
	if _, err := vfs.LockDir(vfs.OS(), dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	memory, err := syscall.Mmap(-1, 0, 256<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil || syscall.Madvise(memory, syscall.MADV_NOHUGEPAGE) != nil {
		os.Exit(1)
	}
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	fmt.Println("held")
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// TestLockOfAKilledHolder: kill -9 and start again at once, as supervisors do. The dead process's lock outlives the signal, even its
// first thread: the folder is taken as soon as it is free, and not refused.
func TestLockOfAKilledHolder(t *testing.T) {
	dir := t.TempDir()
	for range 10 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), lockHolderEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		in, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "held\n" {
			t.Fatalf("the holder said %q, %v", line, err)
		}
		must(t, cmd.Process.Kill())
		l, err := vfs.LockDir(vfs.OS(), dir)
		must(t, err)
		must(t, l.Close())
		in.Close()
		_ = cmd.Wait()
	}
}
