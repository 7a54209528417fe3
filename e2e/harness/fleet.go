package harness

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Plan of a Fleet. Counts of zero are none.
type Plan struct {
	Nodes        int // n1, n2, ...: coordinator, volume and gateway in one process
	Coordinators int // c1, c2, ...
	Volumes      int // v1, v2, ...
	Gateways     int // g1, g2, ...
	Args         []string
	Held         []string // not started; then nobody is waited for
	Faults       bool     // all run the binary of the fault suite
	// Change is asked before a node is made what is special about it.
	Change func(name string, o *Options)
}

// Fleet is a cluster whose processes talk through a Network.
type Fleet struct {
	Net   *Network
	Nodes map[string]*Node
	t     testing.TB

	coordinators, volumes, gateways []string
	plan                            Plan
	cluster, join                   string
}

// StartFleet runs the cluster of the plan and waits until all of it is ready.
func StartFleet(t testing.TB, p Plan) *Fleet {
	t.Helper()
	f := &Fleet{Net: NewNetwork(t), Nodes: map[string]*Node{}, t: t, plan: p}
	founders := append(names("n", p.Nodes), names("c", p.Coordinators)...)
	real, told := map[string]string{}, map[string]string{}
	var cluster, join []string
	for _, name := range founders {
		real[name] = freePort(t)
		told[name] = f.Net.Listen(name, real[name])
		cluster = append(cluster, name+"="+told[name])
		join = append(join, told[name])
	}
	f.cluster, f.join = strings.Join(cluster, ","), strings.Join(join, ",")
	f.coordinators = founders
	f.volumes = append(names("n", p.Nodes), names("v", p.Volumes)...)
	f.gateways = append(names("n", p.Nodes), names("g", p.Gateways)...)
	for _, name := range founders {
		roles := "coordinator"
		if name[0] == 'n' {
			roles = "gateway,coordinator,volume"
		}
		raft := freePort(t)
		f.add(name, "--roles", roles, "--cluster", f.cluster, "--cluster-volumes", fmt.Sprint(len(f.volumes)),
			"--rpc", real[name], "--raft", raft, "--raft-advertise", f.Net.Listen(name, raft))
	}
	for _, name := range names("v", p.Volumes) {
		f.addJoining(name, "volume")
	}
	for _, name := range names("g", p.Gateways) {
		f.addJoining(name, "gateway")
	}
	for _, name := range f.Names() {
		if slices.Contains(p.Held, name) {
			continue
		}
		if err := f.Nodes[name].Launch(); err != nil {
			t.Fatalf("start %s: %v", name, err)
		}
	}
	if len(p.Held) > 0 {
		return f
	}
	for _, name := range f.Names() {
		f.Nodes[name].WaitReady()
	}
	return f
}

func names(letter string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(letter, i+1))
	}
	return all
}

func (f *Fleet) addJoining(name, roles string) *Node {
	rpc := freePort(f.t)
	return f.add(name, "--roles", roles, "--join", f.join, "--rpc", rpc, "--rpc-advertise", f.Net.Listen(name, rpc))
}

func (f *Fleet) add(name string, args ...string) *Node {
	args = append([]string{"--node", name, "--ballast.size", "1MiB", "--shutdown-timeout", "30s"}, args...)
	o := Options{Env: map[string]string{"MINIKV_CLUSTER_SECRET": ClusterSecret}, Args: append(args, f.plan.Args...), Faults: f.plan.Faults}
	if f.plan.Change != nil {
		f.plan.Change(name, &o)
	}
	n := newNode(f.t, o)
	n.Name = name
	f.Nodes[name] = n
	return n
}

// Names of all nodes, sorted.
func (f *Fleet) Names() []string { return slices.Sorted(maps.Keys(f.Nodes)) }

// Gateways are the nodes that answer clients.
func (f *Fleet) Gateways() []*Node { return f.of(f.gateways) }

// Coordinators are the nodes that decide.
func (f *Fleet) Coordinators() []*Node { return f.of(f.coordinators) }

// Volumes are the nodes that hold blobs.
func (f *Fleet) Volumes() []*Node { return f.of(f.volumes) }

func (f *Fleet) of(names []string) (nodes []*Node) {
	for _, name := range names {
		nodes = append(nodes, f.Nodes[name])
	}
	return nodes
}

// Leader is the coordinator that leads, as most of those that run can tell.
func (f *Fleet) Leader() *Node {
	f.t.Helper()
	var leader *Node
	Eventually(f.t, 2*time.Minute, "a leader", func() error {
		l, err := f.FindLeader()
		leader = l
		return err
	})
	return leader
}

// FindLeader asks all that run: of several that are named, the one of the highest term leads.
func (f *Fleet) FindLeader() (*Node, error) {
	var best ClusterStatus
	var last error
	for _, n := range f.Coordinators() {
		if !n.Running() {
			continue
		}
		st, err := n.StatusWithin(2 * time.Second)
		if err != nil {
			last = err
			continue
		}
		if st.Leader != "" && st.Term > best.Term {
			best = st
		}
	}
	if n := f.Nodes[best.Leader]; n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("no one leads: %v", last)
}

// Isolate cuts a node off all others, both ways.
func (f *Fleet) Isolate(node string) {
	for _, other := range f.Names() {
		if other != node {
			f.Net.Between(node, other, Fault{Cut: true})
		}
	}
}

// Freeze stops the process as it is; Thaw lets it go on.
func (n *Node) Freeze() { n.only(syscall.SIGSTOP, true) }

// Thaw lets a frozen process go on.
func (n *Node) Thaw() { n.only(syscall.SIGCONT, false) }

func (n *Node) only(sig syscall.Signal, frozen bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	if err := n.cmd.Process.Signal(sig); err != nil {
		n.t.Errorf("signal %v to %s: %v", sig, n.Name, err)
	}
	n.frozen = frozen
}

// Running says that the process was started, not ended by us and is not frozen.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil && !n.frozen
}

// Dead says that the process was ended by us.
func (n *Node) Dead() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd == nil
}
