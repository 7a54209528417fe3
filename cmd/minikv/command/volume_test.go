package command

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minikv/internal/object"
	"minikv/volume/store"
)

// TestVolumeTools: a stopped volume is inspected, verified and compacted; one in use, and a folder that is none, are refused.
func TestVolumeTools(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "v")
	st, err := store.Open(dir, store.Options{Ballast: -1, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint32(20) {
		id := object.NewRunBase(0, [12]byte{1}).Blob(n)
		if _, err := st.Prepare(ctx, id, object.Epochs{Cluster: 1}, [][]byte{make([]byte, 5000)}); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			if err := st.Delete(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := func(args ...string) (map[string]any, error) {
		var out, errOut bytes.Buffer
		e := &env{out: &out, err: &errOut}
		c := newVolume(e)
		c.SetArgs(args)
		c.SetOut(&out)
		c.SetErr(&errOut)
		err := c.ExecuteContext(ctx)
		report := map[string]any{}
		if err == nil {
			err = json.Unmarshal(out.Bytes(), &report)
		}
		return report, err
	}
	if _, err := run("inspect", "--json", dir); err == nil {
		t.Fatal("a volume in use was opened")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"inspect", "verify", "compact", "verify"} {
		report, err := run(command, "--json", dir)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if report["blobs"] != 10.0 || report["bytes"] != 50000.0 {
			t.Fatalf("%s: %v", command, report)
		}
		if command == "verify" && report["verified_records"].(float64) < 10 {
			t.Fatalf("%v", report)
		}
	}
	data := t.TempDir()
	if err := os.Rename(dir, filepath.Join(data, "volume-1")); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"no file VOLUME":                      {"inspect", t.TempDir()},
		"its volume is " + data + "/volume-1": {"verify", data},
		"allowed: 0 to 1":                     {"compact", "--dead", "1.5", data},
		"no such file":                        {"inspect", dir},
		"not a directory":                     {"inspect", filepath.Join(data, "volume-1", "VOLUME")},
	} {
		if _, err := run(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %s", args, err, want)
		}
	}
}
