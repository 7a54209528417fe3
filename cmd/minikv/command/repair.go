package command

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"minikv/internal/config"
	"minikv/internal/ops"
)

// job is an operation that tells lines as it goes. Without --json, live lines go to standard error if that is a terminal.
type job struct {
	e    *env
	live bool
	line bool // a live line is on the screen
}

func newJob(e *env) *job {
	f, ok := e.err.(*os.File)
	return &job{e: e, live: ok && !e.json && term.IsTerminal(int(f.Fd()))}
}

const clearLine = "\r\x1b[K"

// progress replaces the live line.
func (j *job) progress(format string, args ...any) {
	if j.live {
		fmt.Fprintf(j.e.err, clearLine+format, args...)
		j.line = true
	}
}

// print writes a line that stays.
func (j *job) print(v any, format string, args ...any) error {
	if j.e.json {
		return printJSON(j.e.out, v)
	}
	j.end()
	_, err := fmt.Fprintf(j.e.out, format+"\n", args...)
	return err
}

// end takes the live line away.
func (j *job) end() {
	if j.line {
		fmt.Fprint(j.e.err, clearLine)
		j.line = false
	}
}

func newVerify(e *env) *cobra.Command {
	var conn connection
	var q ops.VerifyRequest
	var limit, bucket string
	c := &cobra.Command{
		Use: "verify", Short: "Compare metadata with what the volumes hold",
		Long: "Look whether everything that objects point to is alive, whether every volume has every blob that it should have, and what volumes hold\n" +
			"besides. With --deep every replica is read and verified on its volume; then the gateway that is asked reads every object as a GET\n" +
			"does and compares ETags and checksums, also those of parts, with the bytes. Ctrl-C ends it; nothing is changed, except with --repair. Only root may.\n\n" +
			"Each problem is a line (with --json: an object), the sums come last. Ends with 0 when all is sound, with 8 when replicas are\n" +
			"missing, damaged or could not be checked, and with 5 when bytes of objects are lost or wrong.\n" + exitHelp,
		Args: noArgs,
	}
	conn.add(c, e)
	c.Flags().BoolVar(&q.Deep, "deep", false, "read and verify every replica")
	c.Flags().BoolVar(&q.Repair, "repair", false, "have replicas that are missing or damaged repaired")
	c.Flags().StringVar(&limit, "limit", "0", "bytes per second that --deep reads; 0: no limit")
	c.Flags().StringVar(&bucket, "bucket", "", "with --deep: only read the objects of this bucket, so that several gateways can share the work")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if bucket != "" && (!q.Deep || q.Repair) {
			return usagef("--bucket goes with --deep, and not with --repair")
		}
		if q.BytesPerSecond, err = config.ParseSize(limit); err != nil {
			return usagef("--limit %q: %v", limit, err)
		}
		cl, err := conn.open()
		if err != nil {
			return err
		}
		j := newJob(e)
		defer j.end()
		contents := &ops.ContentsRequest{Bucket: bucket, BytesPerSecond: q.BytesPerSecond}
		if bucket != "" {
			read, err := j.readContents(cmd.Context(), cl, contents)
			if err != nil {
				return err
			}
			return read.verdict()
		}
		a, err := ops.Call(cmd.Context(), cl, ops.Verify, &q, func(line json.RawMessage) error { return j.verifyEvent(line) })
		if err != nil {
			return err
		}
		var read *contentsRead
		if q.Deep {
			if read, err = j.readContents(cmd.Context(), cl, contents); err != nil {
				return err
			}
		}
		return j.verified(a, read)
	}
	return c
}

func (j *job) verifyEvent(line json.RawMessage) error {
	var ev ops.VerifyEvent
	if err := json.Unmarshal(line, &ev); err != nil {
		return err
	}
	if p := ev.Problem; p != nil {
		if p.Blob == "" {
			return j.print(ev, "%s: %s", p.Kind, p.Text)
		}
		return j.print(ev, "%s: blob %s on volume %d", p.Kind, p.Blob, p.Volume)
	}
	if p := ev.Progress; p != nil {
		j.progress("%s: %d objects, %d replicas, %s read, %d held; %d bad", p.Phase, p.Objects, p.Replicas, bytesText(uint64(p.Bytes)), p.Held, p.Bad)
	}
	return nil
}

func (j *job) verified(a *ops.VerifyAnswer, read *contentsRead) error {
	verdict := "sound"
	err := read.verdict()
	a.Sound = a.Sound && err == nil
	if read != nil {
		a.Contents = read.answer
	}
	switch {
	case a.Lost+a.Dangling+a.WrongSums > 0 || read.wrong():
		verdict, err = "bytes of objects are lost or wrong", healthError{ops.Unavailable}
	case a.Bad > 0:
		verdict, err = "replicas are missing or damaged", healthError{ops.Degraded}
	case !a.Sound:
		verdict, err = "some replicas or objects could not be checked", healthError{ops.Degraded}
	}
	if perr := j.print(a, "verdict     %s\n"+
		"references  %d objects, %d parts; %d dangling\n"+
		"checksums   %d compared, %d wrong, %d could not be read\n"+
		"replicas    %d of %d blobs in %d runs; %d bad, %d blobs lost, %d not checked, %s read\n"+
		"repair      %d replicas are to be made, %d of them new\n"+
		"volumes     hold %d blobs; %d without a run, %d deleted and waiting",
		verdict, a.Objects, a.Parts, a.Dangling, a.Sums, a.WrongSums, a.SumsUnread,
		a.Replicas, a.Blobs, a.Runs, a.Bad, a.Lost, a.Unchecked, bytesText(uint64(a.Bytes)),
		a.UnderReplicated, a.Reported, a.Held, a.Orphans, a.Dying); perr != nil {
		return perr
	}
	return err
}

func newRepair(e *env) *cobra.Command {
	var conn connection
	var q ops.RepairRequest
	c := &cobra.Command{
		Use: "repair", Short: "Make missing and damaged replicas now",
		Long: "Have all replicas that are known to be missing or damaged made now, also those that failed a moment ago, and wait until nothing is left\n" +
			"or nothing moves for 20 s. What is not known yet is found by minikv verify --repair. Repair goes on by itself in any case.\n" +
			"With --dry-run they are only listed. Only root may.\n\n" +
			"Ends with 0 when none is left, and with 8 when some are.\n" + exitHelp,
		Args: noArgs,
	}
	conn.add(c, e)
	c.Flags().BoolVar(&q.DryRun, "dry-run", false, "only list what would be made")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		j := newJob(e)
		defer j.end()
		a, err := ops.Call(cmd.Context(), cl, ops.Repair, &q, func(line json.RawMessage) error { return j.repairEvent(line) })
		if err != nil {
			return err
		}
		err = j.print(a, "%d replicas are to be made, %d of them without a source; %d copied (%s); %d volumes are away",
			a.Missing, a.Unrepairable, a.Copied, bytesText(uint64(a.CopiedBytes)), a.VolumesAway)
		if err == nil && a.Missing > 0 {
			err = healthError{ops.Degraded}
		}
		return err
	}
	return c
}

func (j *job) repairEvent(line json.RawMessage) error {
	var ev ops.RepairEvent
	if err := json.Unmarshal(line, &ev); err != nil {
		return err
	}
	if m := ev.Missing; m != nil {
		return j.print(ev, "%s on volume %d: %s since %s", m.Blob, m.Volume, m.Reason, time.UnixMilli(m.SinceMs).UTC().Format(time.RFC3339))
	}
	if p := ev.Progress; p != nil {
		j.progress("%d to be made, %d copied (%s), %d without a source", p.Missing, p.Copied, bytesText(uint64(p.CopiedBytes)), p.Unrepairable)
	}
	return nil
}

func newCompact(e *env) *cobra.Command {
	var conn connection
	var q ops.CompactRequest
	c := &cobra.Command{
		Use: "compact", Short: "Rewrite segments that are mostly dead, now",
		Long: "Have all volumes rewrite the segments of which a share is dead, and give the space back, while everything else goes on. Volumes do it by\n" +
			"themselves from one half on. Only root may.\n" + exitHelp,
		Args: noArgs,
	}
	conn.add(c, e)
	c.Flags().Float64Var(&q.Dead, "dead", 0.2, "share of a segment that must be dead, 0 to 1")
	c.Flags().Uint32Var(&q.Volume, "volume", 0, "only this volume; 0: all")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		a, err := ops.Call(cmd.Context(), cl, ops.Compact, &q, nil)
		if err != nil {
			return err
		}
		return printCompacted(e, a)
	}
	return c
}

func printCompacted(e *env, a *ops.CompactAnswer) error {
	failed := false
	var rows [][]string
	for _, v := range a.Volumes {
		failed = failed || v.Error != ""
		rows = append(rows, []string{fmt.Sprint(v.Volume), fmt.Sprint(v.Segments), bytesText(uint64(v.CopiedBytes)), bytesText(uint64(v.FreedBytes)), orDash(v.Error)})
	}
	var err error
	if e.json {
		err = printJSON(e.out, a)
	} else {
		err = table(e.out, "VOLUME SEGMENTS COPIED FREED ERROR", rows)
	}
	if err == nil && failed {
		err = healthError{ops.Degraded}
	}
	return err
}
