package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports of servers lie below those that the kernel gives to outgoing connections: a server that is restarted finds its own free. Test
// processes that run beside each other have blocks of ports of their own, or one could take what a server of another is about to use:
// whoever listens on the first port of a block has the rest of it, until its process ends.
const portFirst, portBlock, portBlocks = 10240, 200, 112

var ports struct {
	mu        sync.Mutex // guards what follows
	claims    []net.Listener
	next, end int // of the last block
}

func freePort(t testing.TB) string {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for {
		if ports.next == ports.end && !claimPorts() {
			t.Fatal("no free port")
		}
		l, err := listenAt(ports.next)
		ports.next++
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
}

// claimPorts takes a block that no process has.
func claimPorts() bool {
	for _, b := range rand.Perm(portBlocks) {
		first := portFirst + b*portBlock
		if l, err := listenAt(first); err == nil {
			ports.claims = append(ports.claims, l)
			ports.next, ports.end = first+1, first+portBlock
			return true
		}
	}
	return false
}

func listenAt(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

// FreePort is a loopback address that was free a moment ago.
func FreePort(t testing.TB) string { return freePort(t) }
