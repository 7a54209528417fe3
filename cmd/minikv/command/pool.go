package command

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"minikv/cmd/minikv/client"
	"minikv/internal/ops"
)

func newPool(e *env) *cobra.Command {
	c := &cobra.Command{
		Use: "pool", Short: "List pools, and change how many replicas blobs have",
		Long: "A pool is a set of shards with a number of replicas. There is one, pool 0. Only root may.",
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{
		Use: "list", Short: "List pools and how far their shards are from what is asked of them", Args: noArgs,
		Long: "List pools and how far their shards are from what is asked of them. MEMBERS: replicas that shards have now, from least to most;\n" +
			"TOO-FEW and TOO-MANY: shards with other than REPLICATION replicas, which are changed one after the other (see minikv rebalance\n" +
			"status); KEPT: replicas that were let go and are dropped some epochs later.\n" + exitHelp,
	}
	poolRun(e, list, func(ctx context.Context, cl *client.Client, _ []string) (*ops.PoolListAnswer, error) {
		return ops.Call(ctx, cl, ops.PoolList, &ops.None{}, nil)
	})
	var q ops.PoolReplicationRequest
	set := &cobra.Command{
		Use: "set-replication N", Short: "Change how many replicas each blob has", Args: oneArg("number of replicas"),
		Long: "Change how many replicas each blob has, from 1 to 7. The answer comes at once; shards follow one after the other while requests go on,\n" +
			"within minikv rebalance limit, and not while that is paused: minikv pool list and minikv rebalance status show how far they are.\n" +
			"What was written before has fewer replicas until its shard is done. It is refused when fewer volumes are up and take shards.\n" +
			"Fewer replicas need --yes; what stays is read and verified before the others are let go, whose space is free some epochs later.\n" + exitHelp,
	}
	set.Flags().BoolVar(&q.Yes, "yes", false, "fewer replicas than now are meant: copies of everything are dropped")
	set.Flags().BoolVar(&q.Force, "force", false, "although there are fewer nodes than replicas, so that some share a node")
	set.Flags().Uint32Var(&q.Pool, "pool", 0, "number of the pool")
	poolRun(e, set, func(ctx context.Context, cl *client.Client, args []string) (*ops.PoolListAnswer, error) {
		n, err := strconv.ParseUint(args[0], 10, 32)
		if err != nil || n == 0 {
			return nil, usagef("%q is not a number of replicas; allowed: 1 to 7", args[0])
		}
		q.Replication = uint32(n)
		return ops.Call(ctx, cl, ops.PoolSetReplication, &q, nil)
	})
	c.AddCommand(list, set)
	return c
}

// poolRun makes a command of what asks for pools, and shows them.
func poolRun(e *env, c *cobra.Command, do func(ctx context.Context, cl *client.Client, args []string) (*ops.PoolListAnswer, error)) {
	runCall(e, c, do, func(a *ops.PoolListAnswer) error {
		for _, w := range a.Warnings {
			fmt.Fprintln(e.err, "minikv: note:", w)
		}
		return printPools(e, a)
	})
}

func printPools(e *env, a *ops.PoolListAnswer) error {
	var rows [][]string
	for _, p := range a.Pools {
		members := fmt.Sprint(p.MembersMin)
		if p.MembersMax != p.MembersMin {
			members += "-" + fmt.Sprint(p.MembersMax)
		}
		rows = append(rows, []string{
			number(p.Pool), number(p.Replication), number(p.Shards), bytesText(uint64(p.BlobSize)), p.State, members, fmt.Sprint(p.TooFew),
			fmt.Sprint(p.TooMany), fmt.Sprint(p.Moving), fmt.Sprint(p.Kept),
		})
	}
	return table(e.out, "POOL REPLICATION SHARDS BLOBSIZE STATE MEMBERS TOO-FEW TOO-MANY MOVING KEPT", rows)
}
