package command

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
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
		Long: "Look at, verify or compact the volume in a folder. The server that uses it must be stopped: a volume in use is refused.\n" + exitHelp,
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
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
			return usagef("minikv volume %s takes one folder", name)
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
	if _, err := os.Stat(filepath.Join(dir, "VOLUME")); err != nil {
		return nil, fmt.Errorf("%s is no volume: %w", dir, err)
	}
	return store.Open(dir, store.Options{
		Tidy: -1, CompactDead: -1, CompactRate: -1, ScrubRate: -1, ScrubNowRate: -1, Ballast: -1,
		Logf: func(format string, args ...any) { fmt.Fprintf(e.err, format+"\n", args...) },
	})
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
			err = fmt.Errorf("%d records or pieces of segments are damaged", max(found.Bad, int64(len(st.Damage()))))
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
	return c
}
