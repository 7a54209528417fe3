package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProtocolCitesWhatExists: every test and every mutation that docs/protocol.md names is there.
func TestProtocolCitesWhatExists(t *testing.T) {
	text, err := os.ReadFile("../docs/protocol.md")
	require.NoError(t, err)
	mutations := map[string]bool{}
	for _, name := range []string{"publish", "move"} {
		model, err := os.ReadFile("../docs/model/" + name + ".pml")
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^#ifdef (MUTATE_[A-Z_]+)\b`).FindAllStringSubmatch(string(model), -1) {
			mutations[m[1]] = true
		}
	}
	cited := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(cited), 40)
	tests := testNames(t)
	for _, c := range cited {
		if !tests[c[1]] {
			t.Errorf("docs/protocol.md names %s, which does not exist", c[1])
		}
	}
	for _, m := range regexp.MustCompile(`MUTATE_[A-Z_]+`).FindAllString(string(text), -1) {
		if !mutations[m] {
			t.Errorf("docs/protocol.md names %s, which does not exist", m)
		}
	}
}

func testNames(t *testing.T) map[string]bool {
	names := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(b, -1) {
			names[string(m[1])] = true
		}
		return err
	}))
	return names
}
