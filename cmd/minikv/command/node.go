package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minikv/cmd/minikv/client"
	"minikv/internal/config"
	"minikv/internal/ops"
)

func newNode(e *env) *cobra.Command {
	c := &cobra.Command{
		Use: "node", Short: "List, weigh, drain and remove nodes",
		Long: "Volumes register themselves when a node starts with --cluster or --join; what is done with them afterwards is decided here. NODE is\n" +
			"the name of a node, for all of its volumes, or the number of one volume. Only root may.",
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(
		nodeCommand(e, "list", "List volumes with their nodes, states and usage",
			"List volumes with their nodes, states and usage. JOINING: shards that are being copied to the volume; KEPT: shards that have moved off\n"+
				"it, whose bytes it still has for readers; MISSING: replicas that are to be made on it; WEIGHT: its share of all shards, with its weight\n"+
				"where that is not its capacity.", func(ctx context.Context, cl *client.Client, _ *ops.NodeRequest) (*ops.NodeListAnswer, error) {
				return ops.Call(ctx, cl, ops.NodeList, &ops.None{}, nil)
			}),
		nodeCommand(e, "add NODE", "Take a node that was drained, lost or removed in again",
			"Take a node that was drained, lost or removed in again. New nodes need no such thing: they are in as soon as they have started. What is\n"+
				"added gets shards when volumes are drained or lost, and by minikv rebalance start.", nodeChange(ops.NodeAdd)),
		nodeCommand(e, "drain NODE", "Move everything away from a node",
			"Move everything away from a node, which goes on serving until nothing is left; see minikv rebalance status. Then it can be removed.", nodeChange(ops.NodeDrain)),
		nodeCommand(e, "remove NODE", "Forget the volumes of a node for good",
			"Forget the volumes of a node for good: they are refused when they come back. It is refused while they hold shards, or the only good copies\n"+
				"of blobs. With --force shards are copied from other replicas, and blobs that only this node has are named and lost; that is refused\n"+
				"when a shard would be left without a living quorum.", nodeChange(ops.NodeRemove)),
		nodeWeight(e),
	)
	return c
}

// nodeWeight changes shares.
func nodeWeight(e *env) *cobra.Command {
	var weight *uint64
	c := nodeCommand(e, "set-weight NODE WEIGHT", "Change a node's share of the shards",
		"Change what share of the shards the volumes of a node are to have. WEIGHT stands beside the weights of other volumes, which are their\n"+
			"capacities in bytes unless they were set: a number, a size such as 4TiB, or auto for the capacity. It moves nothing by itself: new\n"+
			"places follow it, and minikv rebalance start moves what is there. With 0 the node keeps its shards and gets no others, and rebalance\n"+
			"start takes away what it has; it goes on being in, unlike one that is drained, whose shards move off at once.",
		func(ctx context.Context, cl *client.Client, r *ops.NodeRequest) (*ops.NodeListAnswer, error) {
			return ops.Call(ctx, cl, ops.NodeWeight, &ops.NodeWeightRequest{Node: r.Node, Weight: weight}, nil)
		})
	c.Args = func(_ *cobra.Command, args []string) (err error) {
		if len(args) != 2 || args[0] == "" {
			return usagef("minikv node set-weight takes a node and a weight; see minikv node set-weight --help")
		}
		if weight, err = config.ParseWeight(args[1]); err != nil {
			return usagef("%q is not a weight; allowed: auto, a number, or a size such as 4TiB, up to 2^60", args[1])
		}
		return nil
	}
	return c
}

func nodeChange(op ops.Op[ops.NodeRequest, ops.NodeListAnswer]) func(context.Context, *client.Client, *ops.NodeRequest) (*ops.NodeListAnswer, error) {
	return func(ctx context.Context, cl *client.Client, r *ops.NodeRequest) (*ops.NodeListAnswer, error) {
		return ops.Call(ctx, cl, op, r, nil)
	}
}

func nodeCommand(e *env, use, short, long string, do func(context.Context, *client.Client, *ops.NodeRequest) (*ops.NodeListAnswer, error)) *cobra.Command {
	var conn connection
	var r ops.NodeRequest
	c := &cobra.Command{Use: use, Short: short, Long: long + "\n" + exitHelp, Args: noArgs}
	if strings.HasSuffix(use, " NODE") {
		c.Args = oneArg("node")
	}
	if strings.HasPrefix(use, "remove") {
		c.Flags().BoolVar(&r.Force, "force", false, "although it holds shards")
	}
	conn.add(c, e)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		if len(args) > 0 {
			r.Node = args[0]
		}
		a, err := do(cmd.Context(), cl, &r)
		if err != nil {
			return err
		}
		if e.json {
			return printJSON(e.out, a)
		}
		return printNodes(e, a)
	}
	return c
}

func printNodes(e *env, a *ops.NodeListAnswer) error {
	if l := a.Lost; l != nil {
		fmt.Fprintf(e.err, "minikv: the node had the only good copies that were known of %d blobs, such as %s; minikv node add brings them back as long as its disk is there\n",
			l.Blobs, strings.Join(l.Some, ", "))
	}
	if err := printNodeTable(e.out, a.Nodes); err != nil {
		return err
	}
	fmt.Fprintln(e.out)
	var rows [][]string
	for _, v := range a.Volumes {
		health := v.Health
		if v.Full {
			health += ",full"
		}
		rows = append(rows, []string{
			number(v.Volume), v.Node, orDash(v.Zone), v.State, health, fmt.Sprint(v.Shards), fmt.Sprint(v.Joining), fmt.Sprint(v.Kept),
			weightText(&v), number(v.Blobs), bytesText(v.Used), bytesText(v.Free), number(v.Missing), orDash(v.Address),
		})
	}
	if err := table(e.out, "VOLUME NODE ZONE STATE HEALTH SHARDS JOINING KEPT WEIGHT BLOBS USED FREE MISSING ADDRESS", rows); err != nil {
		return err
	}
	for _, v := range a.Volumes {
		if v.Note != "" {
			fmt.Fprintf(e.out, "volume %d: %s\n", v.Volume, v.Note)
		}
	}
	return nil
}

// weightText is a volume's share, and what it was set to.
func weightText(v *ops.NodeVolume) string {
	share := fmt.Sprintf("%.1f%%", 100*v.Weight)
	if v.WeightSet == nil {
		return share
	}
	if w := *v.WeightSet; w >= 1<<20 {
		return share + " (" + bytesText(w) + ")"
	}
	return share + " (" + number(*v.WeightSet) + ")"
}

func newRebalance(e *env) *cobra.Command {
	c := &cobra.Command{
		Use: "rebalance", Short: "Spread shards over volumes, and watch and bound what moves",
		Long: "Shards move off drained and lost volumes by themselves. A new volume gets shards when rebalance start asks for it. Only root may.",
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var limit ops.RebalanceLimitRequest
	none := func(op ops.Op[ops.None, ops.RebalanceAnswer]) rebalanceCall {
		return func(ctx context.Context, cl *client.Client, _ []string) (*ops.RebalanceAnswer, error) {
			return ops.Call(ctx, cl, op, &ops.None{}, nil)
		}
	}
	c.AddCommand(
		rebalanceCommand(e, "start", "Spread the shards over all volumes that are in", none(ops.RebalanceStart)),
		rebalanceCommand(e, "pause", "Stop all moves, those off drained and lost volumes too, until resume", none(ops.RebalancePause)),
		rebalanceCommand(e, "resume", "Let moves go on", none(ops.RebalanceResume)),
		rebalanceCommand(e, "status", "Show how far moves are", none(ops.RebalanceStatus)),
		rebalanceCommand(e, "limit BYTES", "Bound what moves copy in a second, all together, in bytes (64MiB); 0: the default", func(ctx context.Context, cl *client.Client, args []string) (*ops.RebalanceAnswer, error) {
			n, err := config.ParseSize(args[0])
			if err != nil {
				return nil, usagef("%q is not a number of bytes; allowed: 0, or a size such as 64MiB", args[0])
			}
			limit.BytesPerSecond = uint64(n)
			return ops.Call(ctx, cl, ops.RebalanceLimit, &limit, nil)
		}),
	)
	return c
}

type rebalanceCall func(ctx context.Context, cl *client.Client, args []string) (*ops.RebalanceAnswer, error)

func rebalanceCommand(e *env, use, short string, do rebalanceCall) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: short + ".\n" + exitHelp, Args: noArgs}
	if strings.HasSuffix(use, " BYTES") {
		c.Args = oneArg("number of bytes")
	}
	runCall(e, c, do, func(a *ops.RebalanceAnswer) error { return printRebalance(e, a) })
	return c
}

// runCall makes a command of one call to a running cluster, and shows its answer: as JSON if asked, otherwise by show.
func runCall[A any](e *env, c *cobra.Command, do func(ctx context.Context, cl *client.Client, args []string) (A, error), show func(A) error) {
	var conn connection
	conn.add(c, e)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		a, err := do(cmd.Context(), cl, args)
		if err != nil {
			return err
		}
		if e.json {
			return printJSON(e.out, a)
		}
		return show(a)
	}
}

func printRebalance(e *env, a *ops.RebalanceAnswer) error {
	eta := "-"
	if a.ETASeconds > 0 {
		eta = (time.Duration(a.ETASeconds) * time.Second).String()
	}
	w := e.out
	fmt.Fprintf(w, "state      %s\n", a.State)
	blocked := ""
	if a.Blocked > 0 {
		blocked = fmt.Sprintf(", %d blocked (volumes are down, or too few are in)", a.Blocked)
	}
	fmt.Fprintf(w, "progress   %.1f%%, %d shards moving, %d planned%s, %d moved\n", a.Percent, a.Moving, a.Planned, blocked, a.Moved)
	fmt.Fprintf(w, "copied     %s, %s left, %s/s of at most %s/s, ETA %s\n", bytesText(uint64(a.CopiedBytes)), bytesText(uint64(a.RemainingBytes)),
		bytesText(uint64(a.BytesPerSecond)), bytesText(a.LimitBytes), eta)
	if len(a.Shards) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, s := range a.Shards {
		rows = append(rows, []string{
			number(s.Shard), fmt.Sprint(s.Leaving), fmt.Sprint(s.Joining), bytesText(uint64(s.Bytes)), bytesText(uint64(s.TotalBytes)), s.Phase,
		})
	}
	return table(w, "SHARD FROM TO COPIED BYTES PHASE", rows)
}
