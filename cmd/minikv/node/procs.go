package node

import (
	"os"
	"runtime"
	"sync"

	"minikv/internal/config"
)

// spareProcessor lets one more goroutine run than there are processors, where the node writes logs: who syncs a file stands in the kernel for
// some hundred microseconds, and the runtime notices only after a while that it may give that place to another. On two cores the logs of volume
// and coordinator, syncing at the same time, left nobody to serve requests: PUT of 1 KiB with 16 clients made 5,400 per second, 6,980 with the
// spare; more than one gained nothing. GOMAXPROCS in the environment is left as it is. Once a process.
var spareProcessor = sync.OnceFunc(func() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
})

// writesLogs says whether the node syncs files while requests wait for it.
func writesLogs(c *config.Config) bool {
	return c.Has(config.RoleVolume) || c.Has(config.RoleCoordinator)
}
