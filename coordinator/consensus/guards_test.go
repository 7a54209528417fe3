package consensus

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

// The guards that have no other test; docs/protocol.md has the table of all.

// TestANewLeaderHasAppliedAllBeforeItIsReady: after a crash the state is behind the log, and what was acknowledged is applied again
// only when a leader has committed an entry of its own term.
func TestANewLeaderHasAppliedAllBeforeItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		n := openNode(t, testOptions(t, fs, testDir))
		awaitReady(t, n)
		foundCluster(t, n)
		const buckets = 400
		for i := range buckets {
			createBucket(t, n, fmt.Sprintf("bucket-%03d", i))
		}
		last := &metapb.Query{Q: &metapb.Query_GetBucket{GetBucket: &metapb.GetBucketQuery{Name: fmt.Sprintf("bucket-%03d", buckets-1)}}}
		for range 3 {
			again := openNode(t, testOptions(t, fs.CrashClone(vfs.Survival{}), testDir))
			if at := again.Status().AppliedIndex; at > buckets/2 {
				t.Fatalf("the state stands at entry %d: nothing is tested", at)
			}
			awaitReady(t, again)
			a, err := again.Read(t.Context(), last)
			must(t, err)
			if a.GetBucket() == nil {
				t.Fatal("an acknowledged write can't be read")
			}
			must(t, again.Close())
		}
	})
}

// plainTransport hides what a transport may do besides.
type plainTransport struct{ raft.Transport }

// TestATransportWithoutPreVoteIsRefused at the start, and so is a log that would leave gaps.
func TestATransportWithoutPreVoteIsRefused(t *testing.T) {
	o := testOptions(t, vfs.NewMem(), testDir)
	o.Transport = func(id raft.ServerID) (raft.Transport, error) {
		return plainTransport{NewEmbeddedTransport(raft.ServerAddress(id))}, nil
	}
	n, err := Open(o)
	if err == nil {
		n.Close()
		t.Fatal("it was taken")
	}
	if !strings.Contains(err.Error(), "pre-vote") {
		t.Fatal(err)
	}
	with := NewEmbeddedTransport("a")
	if err := assertWrapped(with, gappy{}); err == nil || !strings.Contains(err.Error(), "monotonic") {
		t.Fatalf("a log with gaps: %v", err)
	}
}

// gappy is a log store that says that it may have gaps.
type gappy struct{ raft.LogStore }

func (gappy) IsMonotonic() bool { return false }

// TestLeadershipMayChangeOften: Raft's main loop waits until its news of leadership are taken, which no slow barrier may hold up.
func TestLeadershipMayChangeOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, first, second := twoVoters(t)
		changes := 3 * cap(first.notify)
		if testing.Short() {
			changes = cap(first.notify)
		}
		for i := range changes {
			leader := g.leader(t)
			if err := leader.StepDown(); err != nil {
				t.Logf("change %d: %v", i, err) // the other was not ready for it: it is asked again
			}
			g.leader(t)
		}
		for _, n := range []*Node{first, second} {
			if len(n.notify) == cap(n.notify) {
				t.Fatal("news of leadership pile up")
			}
		}
		foundCluster(t, g.leader(t))
	})
}

// TestAnotherIncarnationConfirmsNothing: a wiped coordinator at the old address must not count for what it was.
func TestAnotherIncarnationConfirmsNothing(t *testing.T) {
	n := openNode(t, testOptions(t, vfs.NewMem(), testDir))
	awaitReady(t, n)
	term := n.raft.CurrentTerm()
	must(t, n.Confirm(string(n.ID()), term))
	if err := n.Confirm("another", term); err == nil {
		t.Fatal("another incarnation was confirmed")
	}
	if err := n.Confirm(string(n.ID()), term+1); !errs.Is(err, errs.NotLeader) {
		t.Fatalf("another term: %v", err)
	}
}

// TestAFolderWithoutItsNameIsRefused: a coordinator that lost its incarnation's file would come back as another one with old votes.
func TestAFolderWithoutItsNameIsRefused(t *testing.T) {
	fs, _, _, _ := leaderWithSnapshot(t)
	must(t, fs.Remove(fs.PathJoin(testDir, nodeName)))
	if _, err := Open(testOptions(t, fs, testDir)); !errs.Is(err, errs.Corrupt) {
		t.Fatalf("%v", err)
	}
}

// TestALogThatBeginsTooLateIsRefused: the snapshot that held what came before is gone.
func TestALogThatBeginsTooLateIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	n := openNode(t, testOptions(t, fs, testDir))
	awaitReady(t, n)
	foundCluster(t, n)
	c := n.raft.ReloadableConfig()
	c.TrailingLogs = 1
	must(t, n.raft.ReloadConfig(c))
	for i := range 20 {
		createBucket(t, n, fmt.Sprintf("bucket-%02d", i))
	}
	must(t, n.Snapshot())
	createBucket(t, n, "after")
	if first, err := n.log.FirstIndex(); err != nil || first < 10 {
		t.Fatalf("the log begins at entry %d: nothing is tested: %v", first, err)
	}
	must(t, n.Close())
	must(t, fs.RemoveAll(fs.PathJoin(testDir, snapshotDir)))
	if _, err := Open(testOptions(t, fs, testDir)); !errs.Is(err, errs.Corrupt) {
		t.Fatalf("%v", err)
	}
}

// TestAGroupIsFormedOnce: a coordinator that belongs to a group never begins another.
func TestAGroupIsFormedOnce(t *testing.T) {
	o := testOptions(t, vfs.NewMem(), testDir)
	o.Bootstrap = false
	n := openNode(t, o)
	self := []Member{{ID: string(n.ID()), Address: string(n.ID()), Voter: true}}
	if n.Formed() {
		t.Fatal("an empty coordinator says that it belongs to a group")
	}
	must(t, n.Form(self))
	awaitReady(t, n)
	if err := n.Form(self); !errs.Is(err, errs.Conflict) {
		t.Fatalf("%v", err)
	}
}

// TestAWipedCoordinatorHasNoVote until it is promoted: it comes back under the old address, its old entry goes, and it counts for
// no majority.
func TestAWipedCoordinatorHasNoVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, first, second := twoVoters(t)
		must(t, first.Admit("incarnation-new", string(second.ID()))) // second was wiped
		members, err := first.Members()
		must(t, err)
		if len(members) != 2 {
			t.Fatalf("%+v", members)
		}
		for _, m := range members {
			if m.ID == string(second.ID()) || m.Voter != (m.ID == string(first.ID())) {
				t.Fatalf("%+v", members)
			}
		}
		must(t, first.Admit("incarnation-new", string(second.ID()))) // asked again
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := first.Read(ctx, new(metapb.Query)); errs.Is(err, errs.Unavailable) {
			t.Fatalf("the one voter is no majority: %v", err)
		}
	})
}

// silenceFile may know how long a leader is silent: it only has Raft look, which decides by itself.
const silenceFile = "silence.go"

// TestWhatIsNotUsedOfRaft: VerifyLeader may count an answer that was sent before the read, AppliedIndex counts entries that are
// queued, and a lease trusts clocks.
func TestWhatIsNotUsedOfRaft(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	fset := token.NewFileSet()
	looked := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		must(t, err)
		f, err := parser.ParseFile(fset, file, text, 0)
		must(t, err)
		looked++
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); ok {
				switch s.Sel.Name {
				case "VerifyLeader", "AppliedIndex", "LastContact":
					if s.Sel.Name == "LastContact" && file == silenceFile {
						break
					}
					t.Errorf("%s: %s is called", fset.Position(s.Pos()), s.Sel.Name)
				}
			}
			return true
		})
	}
	if looked < 10 {
		t.Fatalf("%d files", looked)
	}
}
