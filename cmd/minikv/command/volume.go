package command

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"minikv/volume/store"
)

// newVolume are the tools for a volume that no process has open.
func newVolume(e *env) *cobra.Command {
	c := &cobra.Command{
		Use: "volume", Short: "Look at, verify or compact a stopped volume",
		Long: "Look at, verify or compact the volume in a folder, which is volume-1 in the data directory of a server. The server that uses it must be\n" +
			"stopped: a volume in use is refused. Whether objects lack bytes is told by minikv verify, of a running server.\n" + exitHelp,
		Example: "  minikv volume inspect ./data/volume-1\n  minikv volume verify ./data/volume-1 --json",
		Args:    noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newVolumeInspect(e), newVolumeVerify(e), newVolumeCompact(e))
	return c
}

// volumeCommand is a command on one folder, which it opens and closes again.
func volumeCommand(e *env, name, short string, run func(ctx context.Context, st *store.Store, report map[string]any) error) *cobra.Command {
	c := &cobra.Command{Use: name + " DIR", Short: short}
	c.Flags().BoolVar(&e.json, "json", false, "print JSON")
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usagef("minikv volume %s takes one folder, such as ./data/volume-1", name)
		}
		return nil
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		st, err := openStopped(e, args[0])
		if err != nil {
			return err
		}
		report := map[string]any{}
		start := time.Now()
		err = run(cmd.Context(), st, report)
		describe(st, report)
		report["seconds"] = time.Since(start).Seconds()
		err = errors.Join(err, st.Close())
		if perr := printReport(e, report); err == nil {
			err = perr
		}
		return err
	}
	return c
}

// openStopped opens the volume in a folder; it does not make one.
func openStopped(e *env, dir string) (*store.Store, error) {
	if err := isVolume(dir); err != nil {
		return nil, err
	}
	return store.Open(dir, store.Options{
		Tidy: -1, CompactDead: -1, CompactRate: -1, ScrubRate: -1, ScrubNowRate: -1, Ballast: -1,
		Logf: func(format string, args ...any) { fmt.Fprintf(e.err, format+"\n", args...) },
	})
}

// isVolume looks for the file that every volume has. Of a data directory it names the volume.
func isVolume(dir string) error {
	has := func(dir string) error {
		_, err := os.Stat(filepath.Join(dir, "VOLUME"))
		return err
	}
	err := has(dir)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	if within := filepath.Join(dir, "volume-1"); has(within) == nil {
		return usagef("%s is a data directory; its volume is %s", dir, within)
	}
	return usagef("%s is no volume: it has no file VOLUME", dir)
}

// describe says what the volume holds.
func describe(st *store.Store, report map[string]any) {
	s, id := st.Stats(), st.ID()
	report["volume"] = hex.EncodeToString(id[:])
	report["blobs"], report["bytes"] = s.Blobs, s.Bytes
	report["segments"], report["segment_bytes"] = s.Segments, s.SegmentBytes
	report["index_entries"], report["index_bytes"] = s.Entries, s.IndexBytes
	report["horizon"] = s.Horizon
	damage := []map[string]any{}
	for _, d := range st.Damage() {
		damage = append(damage, map[string]any{"segment": d.Segment, "from": d.From, "to": d.To, "cause": d.Cause})
	}
	bad := []map[string]any{}
	for _, b := range st.Repairs() {
		bad = append(bad, map[string]any{"blob": b.ID.String(), "segment": b.Segment, "offset": b.Offset, "cause": b.Cause})
	}
	report["damage"], report["bad"] = damage, bad
}

func printReport(e *env, report map[string]any) error {
	if e.json {
		return printJSON(e.out, report)
	}
	return printTree(e.out, "", report)
}

func newVolumeInspect(e *env) *cobra.Command {
	return volumeCommand(e, "inspect", "Say what a stopped volume holds", func(context.Context, *store.Store, map[string]any) error { return nil })
}

func newVolumeVerify(e *env) *cobra.Command {
	return volumeCommand(e, "verify", "Read and verify every record of a stopped volume", func(ctx context.Context, st *store.Store, report map[string]any) error {
		found, err := st.ScrubNow(ctx, nil)
		report["verified_records"], report["verified_bytes"], report["failed"] = found.Records, found.Bytes, found.Bad
		if bad := found.Bad + int64(len(st.Damage())); err == nil && bad > 0 {
			err = fmt.Errorf("damaged: %d records or pieces of segments", max(found.Bad, int64(len(st.Damage()))))
		}
		return err
	})
}

func newVolumeCompact(e *env) *cobra.Command {
	var dead float64
	c := volumeCommand(e, "compact", "Give the space of dead blobs back", func(ctx context.Context, st *store.Store, report map[string]any) error {
		before := st.Stats()
		done, err := st.CompactNow(ctx, dead, nil)
		after := st.Stats()
		report["returned_bytes"] = before.SegmentBytes - after.SegmentBytes
		report["copied_bytes"], report["removed_segments"] = done.Copied, after.SegmentRemoved
		return err
	})
	c.Flags().Float64Var(&dead, "dead", 0.1, "rewrite segments of which at least this share is dead, 0 to 1")
	c.Long = "Give the space of dead blobs back. The segments that the server was writing to, one for small and one for large blobs, are left.\n" + exitHelp
	c.PreRunE = func(*cobra.Command, []string) error {
		if !(dead >= 0 && dead <= 1) {
			return usagef("--dead: %v is not allowed; allowed: 0 to 1", dead)
		}
		return nil
	}
	return c
}
