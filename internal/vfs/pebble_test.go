package vfs_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"minikv/internal/vfs"
)

// TestPebbleOnMem cuts the power under Pebble: every batch it acknowledged as synced is there.
func TestPebbleOnMem(t *testing.T) {
	mem := vfs.NewMem()
	db, err := pebble.Open("/db", &pebble.Options{FS: mem, MemTableSize: 64 << 10, Logger: quiet{}})
	must(t, err)
	defer db.Close()
	for i := range 200 {
		must(t, db.Set(fmt.Appendf(nil, "k%04d", i), make([]byte, 1000), pebble.Sync))
		if i%40 != 39 {
			continue
		}
		for _, s := range vfs.Survivals {
			c := mem.CrashClone(s)
			again, err := pebble.Open("/db", &pebble.Options{FS: c, Logger: quiet{}})
			must(t, err)
			for j := range i + 1 {
				_, closer, err := again.Get(fmt.Appendf(nil, "k%04d", j))
				if errors.Is(err, pebble.ErrNotFound) {
					t.Fatalf("k%04d of %d is lost with %+v", j, i, s)
				}
				must(t, err)
				closer.Close()
			}
			must(t, again.Close())
		}
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
