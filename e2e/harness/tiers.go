package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// tiersVar in the environment makes Start run 3 coordinators, 3 volumes and 2 gateways instead of one process: each suite of the single
// process is a suite of the cluster too. Connections go to the gateways in turn.
const tiersVar = "E2E_TIERS"

const tierCoordinators, tierVolumes, tierGateways = 3, 3, 2

// Tiers says whether Start runs a cluster.
func Tiers() bool { return os.Getenv(tiersVar) != "" }

// startTiers is Start of a cluster. The options hold for the gateways.
func startTiers(t testing.TB, opts Options) *Node {
	t.Helper()
	n := &Node{t: t, opts: opts, CA: nil}
	var cluster, join []string
	rpcs := make([]string, tierCoordinators)
	for i := range rpcs {
		rpcs[i] = freePort(t)
		cluster = append(cluster, fmt.Sprintf("c%d=%s", i+1, rpcs[i]))
		join = append(join, rpcs[i])
	}
	part := func(name, role string, o Options, args ...string) *Node {
		o.Args = append([]string{
			"--node", name, "--roles", role, "--ballast.size", "1MiB", "--shutdown-timeout", "30s",
		}, append(args, o.Args...)...)
		env := map[string]string{"MINIKV_CLUSTER_SECRET": ClusterSecret}
		for k, v := range o.Env {
			env[k] = v
		}
		o.Env, o.Data = env, ""
		p := newNode(t, o)
		n.parts = append(n.parts, p)
		return p
	}
	for i, rpc := range rpcs {
		part(fmt.Sprintf("c%d", i+1), "coordinator", Options{}, "--cluster", strings.Join(cluster, ","),
			"--cluster-volumes", fmt.Sprint(tierVolumes), "--rpc", rpc, "--raft", freePort(t))
	}
	for i := range tierVolumes {
		part(fmt.Sprintf("v%d", i+1), "volume", Options{}, "--join", strings.Join(join, ","), "--rpc", freePort(t))
	}
	if opts.TLS {
		n.cert = newCertificate(t)
		n.CA = n.cert.pool
		opts.Args = append(opts.Args, "--tls-cert", n.cert.certFile, "--tls-key", n.cert.keyFile)
		opts.TLS = false
	}
	var s3, rest []string
	for i := range tierGateways {
		g := part(fmt.Sprintf("g%d", i+1), "gateway", opts, "--join", strings.Join(join, ","), "--rpc", freePort(t))
		if n.cert != nil {
			g.CA, g.cert = n.CA, n.cert
			g.S3, g.REST = strings.Replace(g.S3, "http:", "https:", 1), strings.Replace(g.REST, "http:", "https:", 1)
		}
		s3, rest = append(s3, hostOf(g.S3)), append(rest, hostOf(g.REST))
	}
	scheme, _, _ := strings.Cut(n.parts[len(n.parts)-1].S3, ":")
	n.S3, n.REST = scheme+"://"+inTurn(t, s3), scheme+"://"+inTurn(t, rest)
	n.Run()
	return n
}

func hostOf(url string) string {
	_, host, _ := strings.Cut(url, "://")
	return host
}

// launchParts starts all processes of a cluster.
func (n *Node) launchParts() error {
	for _, p := range n.parts {
		if err := p.Launch(); err != nil {
			return err
		}
	}
	return nil
}

// eachPart does f to all processes at once.
func (n *Node) eachPart(f func(p *Node) error) error {
	failed := make([]error, len(n.parts))
	var wg sync.WaitGroup
	for i, p := range n.parts {
		wg.Go(func() { failed[i] = f(p) })
	}
	wg.Wait()
	return errors.Join(failed...)
}

func (n *Node) partLogs() string {
	var b strings.Builder
	for _, p := range n.parts {
		fmt.Fprintf(&b, "--- %s\n%s\n", p.Data, tail(p.Log(), 2000))
	}
	return b.String()
}

// inTurn accepts connections on loopback and passes each on to the next target; it gives its address. The test's end closes it.
func inTurn(t testing.TB, targets []string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var turn atomic.Uint64
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { pass(ctx, c, targets, turn.Add(1)) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// pass joins a connection with one to a target that answers, beginning at the given turn.
func pass(ctx context.Context, c net.Conn, targets []string, turn uint64) {
	defer func() { _ = c.Close() }()
	for i := range uint64(len(targets)) {
		s, err := net.Dial("tcp", targets[(turn+i)%uint64(len(targets))])
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _, _ = c.Close(), s.Close() })
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(s, c)
			_ = s.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(c, s)
		// A server that answers early reads on for a while: closed here, the connection would be reset before its client has read the answer.
		_ = c.(*net.TCPConn).CloseWrite()
		<-done
		_, _ = c.Close(), s.Close()
		stop()
		return
	}
}
