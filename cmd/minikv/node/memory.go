package node

import (
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// limitMemory sets the runtime's soft limit: GOMEMLIMIT, which the runtime has read by itself, else the setting, else 90 % of the
// cgroup's limit.
func limitMemory(bytes int64, log *zap.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if bytes == 0 {
		limit, ok := cgroupLimit("/proc/self/cgroup", "/sys/fs/cgroup")
		if !ok {
			return
		}
		bytes = limit / 10 * 9
	}
	debug.SetMemoryLimit(bytes)
	log.Info("memory limit", zap.Int64("bytes", bytes))
}

// cgroupLimit is the lowest memory.max of the process's cgroup (version 2) and those above it.
func cgroupLimit(self, root string) (bytes int64, ok bool) {
	b, err := os.ReadFile(self)
	if err != nil {
		return 0, false
	}
	_, group, found := strings.Cut(strings.TrimSpace(string(b)), "0::")
	if !found {
		return 0, false
	}
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		if b, err := os.ReadFile(path.Join(root, dir, "memory.max")); err == nil {
			n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
			if err == nil && n > 0 && (!ok || n < bytes) {
				bytes, ok = n, true
			}
		}
		if dir == "/" {
			return bytes, ok
		}
	}
}
