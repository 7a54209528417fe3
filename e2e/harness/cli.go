package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Ran is what a command of the binary left.
type Ran struct {
	Out, Err string
	Code     int
}

// CLI runs the binary with some arguments as root of this node, and waits for it, two minutes at most.
func (n *Node) CLI(t testing.TB, args ...string) Ran {
	t.Helper()
	return Command(t, map[string]string{
		"MINIKV_ENDPOINT": n.REST, "MINIKV_ACCESS_KEY": RootUser, "MINIKV_SECRET_KEY": RootPassword,
	}, args...)
}

// Ask is CLI, again and again while the cluster cannot answer now (exit code 5), as when it elects a leader.
func (n *Node) Ask(t testing.TB, args ...string) (r Ran) {
	t.Helper()
	Eventually(t, time.Minute, "minikv "+strings.Join(args, " "), func() error {
		if r = n.CLI(t, args...); r.Code == codeTryAgain {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	return r
}

// codeTryAgain is how the binary ends when there was no answer.
const codeTryAgain = 5

// Command runs the binary with some arguments and nothing in its environment but env.
func Command(t testing.TB, env map[string]string, args ...string) Ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Env = []string{"HOME=" + t.TempDir()}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("minikv %s: %v", strings.Join(args, " "), err)
	}
	return Ran{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// Join makes a further node, with some roles, that joins the cluster; it is not started yet.
func (c *Cluster) Join(name, roles string, args ...string) (n *Node, rpc string) {
	c.t.Helper()
	rpc = freePort(c.t)
	var join []string
	for _, n := range c.Nodes {
		join = append(join, n.flag("--rpc"))
	}
	return newNode(c.t, Options{
		Env: map[string]string{"MINIKV_CLUSTER_SECRET": ClusterSecret},
		Args: append([]string{
			"--node", name, "--join", strings.Join(join, ","), "--roles", roles, "--rpc", rpc, "--raft", freePort(c.t),
			"--ballast.size", "1MiB", "--shutdown-timeout", "30s",
		}, args...),
	}), rpc
}

// flag is the value of a flag that the node is started with.
func (n *Node) flag(name string) string {
	for i, a := range n.args {
		if a == name && i+1 < len(n.args) {
			return n.args[i+1]
		}
	}
	return ""
}
