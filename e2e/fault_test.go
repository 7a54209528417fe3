package e2e

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

var faultAll = flag.Bool("fault.all", false, "run all scripts of testdata/faults, not only those marked short")

// TestFaults runs the scripts in testdata/faults against real processes with proxies between them. A line is a step; # begins a
// comment. The first step is
//
//	cluster nN cN vN gN [short]   N nodes with all roles, coordinators, volumes, gateways; further words are
//	                              --KEY=VALUE for all, disk:NODE:MIB for a file system of its own (needs root)
//
// and the others, where NODE is a name, or leader, follower (one that does not lead), followers, all:
//
//	put N, overwrite N, delete N  as a client that tries again until it is answered; every one must be, within a minute each
//	big N, drop N                 puts of 4 MiB, and deletes of such
//	fill                          puts of 4 MiB until one is answered 507, which must come
//	full                          a put is answered 507 on both ports
//	try N [at NODE]               puts without a second attempt: those that fail may have happened
//	check [at NODE]               every object is one that was acknowledged last, or may have happened; the listing agrees
//	resumes DURATION              a put is acknowledged within that time from now, or within a minute if the machine stood still
//	refuses NODE                  reads and writes at that gateway are answered 503
//	load N ... end load           N clients read and write; each operation succeeds, after retries
//	begin put KEY MIB [at NODE]   a put whose body is half sent; finish KEY sends the rest and must succeed, finish KEY any may fail
//	begin upload KEY PARTS        a multipart upload with its parts; complete KEY completes it, trying again until answered;
//	                              complete KEY while STEP does the step at a random moment of it
//	kill, freeze, stop NODE       SIGKILL, SIGSTOP, SIGTERM; start and thaw undo it for all
//	wipe NODE PATH                removes a path below the data of a dead node
//	isolate NODE                  no packet from or to it; cut A B both ways; cut A -> B one way; slow A DURATION; heal undoes all
//	stutter NODE                  frozen nine tenths of the time until thaw: a very slow disk
//	whole                         no replica is missing, all volumes are up, within 60 s
//	missing                       replicas are missing
//	join NODE                     a further volume; spread lets it have shards; drain NODE begins to empty one;
//	                              moved waits until all moves are done, within 90 s
//	replicate N                   every blob is to have N replicas; replicated waits until every shard has, within 90 s
//	log NODE TEXT                 it has logged that, within two minutes; of the leader: one of the coordinators has, who leads may change
//
// After the word faults in the first step nodes run the binary of the fault suite (see harness.FaultBinary), and there are also
//
//	clock NODE OFFSET             its wall clock is so far from the true one from now on, as +72h or 0s
//	disk NODE PART KINDS LEAST MOST   operations on paths with PART wait so long (see package vfs, faults.go); disk NODE well
//	it                            a NODE: the one of the last clock or disk step
//	skewed NODE                   that gateway refuses signatures as too far from its time
//	blobs                         counts the blobs on all volumes; kept DURATION: none of them go for that long; collected: some do, within 60 s
//	reads N DURATION              of N objects read one after the other nine tenths are read within that time each, and three times the load's
//	exits NODE                    the process ends by itself, within a minute
//	end load p99 DURATION         99 of 100 operations were answered within that time and three times what it took in the load before,
//	                              and as long as the machine stood still meanwhile
func TestFaults(t *testing.T) {
	t.Parallel() // most of it is waiting
	files, err := filepath.Glob("testdata/faults/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

// step is a line of a script.
type step struct {
	line int
	text string
	args []string
}

func readScript(t *testing.T, file string) (steps []step) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 0 {
			steps = append(steps, step{n, strings.TrimSpace(line), f})
		}
	}
	return steps
}

func runScript(t *testing.T, file string) {
	steps := readScript(t, file)
	head := steps[0].args
	require.Equal(t, "cluster", head[0], "the first step of %s", file)
	if !*faultAll && !slices.Contains(head, "short") {
		t.Skip("not short: -fault.all")
	}
	t.Parallel() // most of a script is waiting
	r := newFaultRun(t, planOf(t, head[1:]))
	for _, s := range steps[1:] {
		verb := faultVerbs[s.args[0]]
		require.NotNil(t, verb, "%s:%d: no step %q", file, s.line, s.args[0])
		began := time.Now()
		if err := verb(r, s.args[1:]); err != nil {
			t.Fatalf("%s:%d: %s: %v", file, s.line, s.text, err)
		}
		t.Logf("%3d %-40s %v", s.line, s.text, time.Since(began).Round(time.Millisecond))
	}
}

func planOf(t *testing.T, words []string) (p harness.Plan) {
	t.Helper()
	disks := map[string]string{}
	p.Change = func(name string, o *harness.Options) {
		if mnt := disks[name]; mnt != "" {
			o.Data = filepath.Join(mnt, "data")
			o.Args = append(o.Args, "--volume.reserve", "32MiB")
		}
	}
	for _, w := range words {
		if strings.HasPrefix(w, "--") {
			p.Args = append(p.Args, w)
			continue
		}
		if d := strings.Split(w, ":"); d[0] == "disk" {
			mib, err := strconv.Atoi(d[2])
			require.NoError(t, err, "%q", w)
			disks[d[1]] = mountSmall(t, int64(mib)<<20)
			continue
		}
		switch w {
		case "short":
			continue
		case "faults":
			p.Faults = true
			continue
		}
		n, err := strconv.Atoi(w[1:])
		require.NoError(t, err, "%q", w)
		switch w[0] {
		case 'n':
			p.Nodes = n
		case 'c':
			p.Coordinators = n
		case 'v':
			p.Volumes = n
		case 'g':
			p.Gateways = n
		default:
			t.Fatalf("cluster: %q", w)
		}
	}
	return p
}

// targets finds the nodes that a word of a script means.
func (r *faultRun) targets(word string) ([]*harness.Node, error) {
	coordinators := r.f.Coordinators()
	switch word {
	case "all":
		var all []*harness.Node
		for _, name := range r.f.Names() {
			all = append(all, r.f.Nodes[name])
		}
		return all, nil
	case "it":
		return []*harness.Node{r.it}, nil
	case "leader":
		return []*harness.Node{r.f.Leader()}, nil
	case "follower", "followers":
		leader := r.f.Leader()
		rest := slices.DeleteFunc(coordinators, func(n *harness.Node) bool { return n == leader || !n.Running() })
		if word == "follower" && len(rest) > 0 {
			rest = rest[:1]
		}
		return rest, nil
	}
	if n := r.f.Nodes[word]; n != nil {
		return []*harness.Node{n}, nil
	}
	return nil, fmt.Errorf("no node %q among %v", word, slices.Sorted(maps.Keys(r.f.Nodes)))
}

// each does something to the nodes that the first word means.
func (r *faultRun) each(args []string, do func(*harness.Node)) error {
	if len(args) != 1 {
		return fmt.Errorf("one node expected: %v", args)
	}
	nodes, err := r.targets(args[0])
	for _, n := range nodes {
		r.t.Logf("    %s is %s", args[0], n.Name)
		do(n)
	}
	return err
}

// at takes "at NODE" off the end of the words.
func (r *faultRun) at(args []string) ([]string, *harness.Node, error) {
	if len(args) < 2 || args[len(args)-2] != "at" {
		return args, nil, nil
	}
	nodes, err := r.targets(args[len(args)-1])
	if err != nil {
		return nil, nil, err
	}
	return args[:len(args)-2], nodes[0], nil
}

// logged of the leader is of any coordinator: who leads may have changed since.
func (r *faultRun) logged(args []string) error {
	text := strings.Join(args[1:], " ")
	if args[0] == "leader" {
		harness.Eventually(r.t, 2*time.Minute, "a leader logs "+text, func() error {
			for _, n := range r.f.Coordinators() {
				if strings.Contains(n.Log(), text) {
					return nil
				}
			}
			return errors.New("not yet")
		})
		return nil
	}
	return r.each(args[:1], func(n *harness.Node) {
		harness.Eventually(r.t, 2*time.Minute, n.Name+" logs "+text, func() error {
			if !strings.Contains(n.Log(), text) {
				return errors.New("not yet")
			}
			return nil
		})
	})
}
