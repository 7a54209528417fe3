package command

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minikv/internal/ops"
)

// healthError is a status that is not healthy; it was shown.
type healthError struct{ health ops.Health }

func (e healthError) Error() string { return "the store is " + string(e.health) }

func newStatus(e *env) *cobra.Command {
	var conn connection
	c := &cobra.Command{
		Use: "status", Short: "Show the state of the store: nodes, coordinators, volumes, health",
		Long: "Show the state of the store as one node sees it: nodes and roles, leader and term, volumes and their usage, what is under-replicated,\n" +
			"and a verdict. It answers without a leader too. Only root may.\n\n" +
			"Ends with 0 when the store is healthy, with 8 when it is degraded (all requests are served, but something is down,\n" +
			"missing or full), and with 5 when some or all requests fail.\n" + exitHelp,
		Args: noArgs,
	}
	conn.add(c, e)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		st, err := ops.Call(cmd.Context(), cl, ops.Status, &ops.None{}, nil)
		if err != nil {
			return err
		}
		if e.json {
			err = printJSON(e.out, st)
		} else {
			err = printStatus(e, st)
		}
		if err == nil && st.Health != ops.Healthy {
			err = healthError{st.Health}
		}
		return err
	}
	return c
}

func printStatus(e *env, st *ops.StatusAnswer) error {
	w := e.out
	fmt.Fprintf(w, "health   %s\n", st.Health)
	for _, r := range st.Reasons {
		fmt.Fprintf(w, "         %s\n", r)
	}
	fmt.Fprintf(w, "cluster  %s, minikv %s, fsync %s\n", orDash(st.Cluster), st.Version, st.Fsync)
	fmt.Fprintf(w, "leader   %s, term %d, epoch %d, horizon %d\n", orDash(st.Leader), st.Term, st.Epoch, st.Horizon)
	fmt.Fprintf(w, "shards   %d, %d replicas each, blobs of up to %s\n", st.Shards, st.Replicas, bytesText(uint64(st.BlobBytes)))
	if n := st.Counts; n != nil {
		fmt.Fprintf(w, "objects  %d in %d buckets, %s; %d uploads, %d under-replicated, %d to be deleted, %d sessions\n",
			n.Objects, n.Buckets, bytesText(n.Bytes), n.Uploads, n.UnderReplicated, n.Queued, n.Sessions)
	}
	fmt.Fprintf(w, "in doubt %s\n", inDoubtText(&st.InDoubt))
	fmt.Fprintln(w)
	if err := printNodeTable(w, st.Nodes); err != nil {
		return err
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, c := range st.Coordinators {
		rows = append(rows, []string{c.Node, c.State, yesNo(c.Voter), number(c.Term), number(c.CommitIndex), number(c.AppliedIndex), number(c.SnapshotIndex)})
	}
	if err := table(w, "COORDINATOR STATE VOTER TERM COMMIT APPLIED SNAPSHOT", rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	rows = nil
	for _, v := range st.Volumes {
		rows = append(rows, []string{
			number(v.Number), v.Node, orDash(v.Zone), v.State, number(v.Shards), number(v.Blobs), bytesText(v.Bytes), bytesText(v.Used),
			bytesText(v.Free), number(v.Damaged), number(v.InDoubt),
		})
	}
	return table(w, "VOLUME NODE ZONE STATE SHARDS BLOBS BYTES USED FREE DAMAGED IN-DOUBT", rows)
}

// inDoubtText tells of blobs and commands of which it is not known, or not yet, what becomes of them.
func inDoubtText(d *ops.StatusInDoubt) string {
	s := fmt.Sprintf("%d prepared blobs", d.Blobs)
	if d.Blobs > 0 {
		s += fmt.Sprintf(", the oldest of epoch %d (%d epochs ago)", d.Epoch, d.Epochs)
	}
	s += fmt.Sprintf("; %d proposals on their way", d.Queued+d.InFlight)
	if d.Unresolved > 0 {
		s += fmt.Sprintf(", %d of gateways without an answer", d.Unresolved)
	}
	return s
}

// printNodeTable shows nodes, and below what is to be known of some.
func printNodeTable(w io.Writer, nodes []ops.StatusNode) error {
	var rows [][]string
	for _, n := range nodes {
		state, uptime := upText(n.Up), "-"
		switch {
		case !n.Up && n.Silent > 0:
			state += " " + durationText(n.Silent)
		case n.Uptime > 0:
			uptime = durationText(n.Uptime)
		}
		rows = append(rows, []string{
			n.Node, strings.Join(n.Roles, ","), state, uptime, orDash(n.Version), orDash(n.Address), orDash(n.REST), orDash(n.S3),
		})
	}
	if err := table(w, "NODE ROLES STATE UPTIME VERSION RPC REST S3", rows); err != nil {
		return err
	}
	for _, n := range nodes {
		for _, note := range n.Notes {
			fmt.Fprintf(w, "%s: %s\n", n.Node, note)
		}
	}
	return nil
}

// durationText is a number of seconds for people: "42s", "3h12m", "12d4h".
func durationText(s float64) string {
	d := time.Duration(s * float64(time.Second)).Truncate(time.Second)
	switch day := 24 * time.Hour; {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
}

func number[T uint32 | uint64](n T) string { return strconv.FormatUint(uint64(n), 10) }

func upText(up bool) string {
	if up {
		return "up"
	}
	return "down"
}
