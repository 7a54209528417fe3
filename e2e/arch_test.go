package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkg is what `go list -json` tells of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string // all, indirect ones included
	Doc        string
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps,Doc", "minikv/...")
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(root)))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(out); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 20 {
		t.Fatalf("only %d packages found", len(pkgs))
	}
	return pkgs
}

// within says that a path is a package or below it.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return path == r || strings.HasPrefix(path, r+"/") })
}

// The three roles never import one another; only the wiring sees them all.
var roles = []string{"minikv/gateway", "minikv/coordinator", "minikv/volume"}

// pure packages know nothing of transports, logs, Raft and disks, not even indirectly.
var pure = []string{
	"minikv/internal/object", "minikv/internal/errs", "minikv/internal/digest", "minikv/gateway/s3", "minikv/gateway/iam",
	"minikv/sigv4", "minikv/coordinator/placement", "minikv/volume/record", "minikv/volume/index", "minikv/internal/listrow",
}

var impure = []string{
	"google.golang.org/grpc", "go.uber.org/zap", "github.com/hashicorp/raft", "github.com/hashicorp/raft-wal", "github.com/gorilla/mux",
	"github.com/prometheus", "github.com/spf13", "github.com/knadh/koanf",
}

// machine is deterministic: no Raft, no transports, no clock of its own; it may know its store.
var machine = "minikv/coordinator/meta"

// only says which packages alone may import a module directly.
var only = map[string][]string{
	"github.com/hashicorp/raft":           {"minikv/coordinator/consensus", "minikv/internal/rpc", "minikv/internal/vfs/walfs"},
	"github.com/hashicorp/raft-wal":       {"minikv/coordinator/consensus", "minikv/internal/vfs"},
	"github.com/cockroachdb/pebble/v2":    {"minikv/coordinator/kv", "minikv/internal/vfs"},
	"github.com/spf13/cobra":              {"minikv/cmd"},
	"github.com/knadh/koanf":              {"minikv/cmd", "minikv/internal/config"},
	"github.com/gorilla/mux":              {"minikv/gateway"},
	"google.golang.org/grpc":              {"minikv/internal/rpc", "minikv/cmd"},
	"github.com/aws/aws-sdk-go-v2":        {"minikv/e2e"},
	"github.com/minio/minio-go/v7":        {"minikv/e2e"},
	"github.com/bufbuild/protocompile":    {"minikv/internal/tools"},
	"github.com/stretchr/testify":         nil,
	"pgregory.net/rapid":                  nil,
	"github.com/anishathalye/porcupine":   {"minikv/e2e"},
	"github.com/rogpeppe/go-internal":     nil,
	"go.uber.org/goleak":                  nil,
	"github.com/schollz/progressbar/v3":   {"minikv/cmd"},
	"github.com/prometheus/client_golang": {"minikv/internal/telemetry", "minikv/gateway", "minikv/cmd"},
}

// TestArchitecture holds the house rules on who may import whom. Tests of a package may import more.
func TestArchitecture(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.Doc == "" && !within(p.ImportPath, "minikv/proto", "minikv/e2e") {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		checkLayers(t, p)
		checkPure(t, p)
		for _, i := range p.Imports {
			for module, allowed := range only {
				if within(i, module) && !within(p.ImportPath, allowed...) && !within(p.ImportPath, "minikv/e2e") {
					t.Errorf("%s imports %s; only %v may", p.ImportPath, i, allowed)
				}
			}
		}
	}
}

func checkLayers(t *testing.T, p pkg) {
	for _, i := range p.Imports {
		if !within(i, "minikv") {
			continue
		}
		switch {
		case within(i, "minikv/cmd", "minikv/e2e") && !within(p.ImportPath, "minikv/cmd", "minikv/e2e"):
			t.Errorf("%s imports %s: wiring is imported by nothing", p.ImportPath, i)
		case within(p.ImportPath, "minikv/internal", "minikv/sigv4", "minikv/proto") && within(i, roles...) && !within(p.ImportPath, "minikv/internal/rpc"):
			t.Errorf("%s imports %s: imports go downward", p.ImportPath, i)
		}
		for _, role := range roles {
			if within(p.ImportPath, role) && within(i, roles...) && !within(i, role) {
				t.Errorf("%s imports %s: roles do not import one another", p.ImportPath, i)
			}
		}
	}
}

func checkPure(t *testing.T, p pkg) {
	if p.ImportPath == machine {
		for _, d := range p.Deps {
			if within(d, "github.com/hashicorp/raft", "google.golang.org/grpc", "go.uber.org/zap") {
				t.Errorf("%s depends on %s: the machine is deterministic and alone", p.ImportPath, d)
			}
		}
		for _, i := range p.Imports {
			if within(i, "math/rand", "math/rand/v2", "crypto/rand", "time", "os", "net") {
				t.Errorf("%s imports %s: time, ids and randomness arrive inside the command", p.ImportPath, i)
			}
		}
	}
	if !slices.Contains(pure, p.ImportPath) {
		return
	}
	for _, d := range p.Deps {
		if within(d, impure...) || within(d, roles...) && !slices.Contains(pure, d) {
			t.Errorf("%s depends on %s: it is pure", p.ImportPath, d)
		}
	}
	for _, i := range p.Imports {
		if i == "net" || within(i, "os", "net/http/httptest") {
			t.Errorf("%s imports %s: it is pure", p.ImportPath, i)
		}
	}
}
