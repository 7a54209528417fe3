package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"minikv/cmd/minikv/client"
	"minikv/internal/ops"
)

func newRaft(e *env) *cobra.Command {
	c := &cobra.Command{
		Use: "raft", Short: "Look at and change the group of coordinators",
		Long: "Look at and change the group of coordinators. Only root may.\n\n" +
			"A MEMBER is a node's name, its address, or an incarnation (8 digits are enough).\n" + exitHelp,
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newRaftList(e), newRaftAdd(e), newRaftRemove(e), newRaftTransfer(e))
	return c
}

// oneArg checks that there is one argument, which usage names.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usagef("%s takes one %s; see %s --help", cmd.CommandPath(), name, cmd.CommandPath())
		}
		return nil
	}
}

func newRaftList(e *env) *cobra.Command {
	var conn connection
	c := &cobra.Command{Use: "list", Short: "Show the coordinators", Args: noArgs}
	conn.add(c, e)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		m, err := ops.Call(cmd.Context(), cl, ops.RaftList, &ops.None{}, nil)
		if err != nil {
			return err
		}
		return printMembers(e, m)
	}
	return c
}

func printMembers(e *env, m *ops.RaftMembers) error {
	if e.json {
		return printJSON(e.out, m)
	}
	var rows [][]string
	for _, r := range m.Members {
		role := "non-voter"
		switch {
		case r.Leader:
			role = "leader"
		case r.Voter:
			role = "voter"
		}
		rows = append(rows, []string{r.Node, role, upText(r.Up), number(r.Applied), number(r.Behind), orDash(r.Address), orDash(r.RaftAddress), r.Incarnation})
	}
	return table(e.out, "NODE ROLE STATE APPLIED BEHIND ADDRESS RAFT INCARNATION", rows)
}

func newRaftAdd(e *env) *cobra.Command {
	var (
		conn connection
		wait time.Duration
	)
	c := &cobra.Command{
		Use: "add HOST:PORT", Short: "Add a coordinator, by the RPC address of its node", Args: oneArg("address"),
		Long: "Add a running coordinator to the group, by the RPC address of its node. It gets the log first, without a vote, and votes once it\n" +
			"has caught up; this command waits for that.",
	}
	conn.add(c, e)
	c.Flags().DurationVar(&wait, "wait", 2*time.Minute, "how long to wait until it votes; 0: not at all")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		m, err := ops.Call(cmd.Context(), cl, ops.RaftAdd, &ops.RaftAddRequest{Address: args[0]}, nil)
		if err != nil {
			return err
		}
		if wait > 0 {
			if m, err = awaitVote(cmd.Context(), cl, args[0], wait); err != nil {
				return err
			}
		}
		return printMembers(e, m)
	}
	return c
}

// awaitVote asks until the member at an address votes.
func awaitVote(ctx context.Context, cl *client.Client, addr string, most time.Duration) (*ops.RaftMembers, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := ops.Call(ctx, cl, ops.RaftList, &ops.None{}, nil)
		if err == nil {
			for _, r := range m.Members {
				if r.Address == addr && r.Voter {
					return m, nil
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s was added, and does not vote yet after %v; it will once it has caught up (see minikv raft list)", addr, most)
		}
	}
}

func newRaftRemove(e *env) *cobra.Command {
	var conn connection
	c := &cobra.Command{
		Use: "remove MEMBER", Short: "Take a coordinator out of the group", Args: oneArg("member"),
		Long: "Take a coordinator out of the group, running or not. Refused when the voters that would remain and answer are no majority.\n" +
			"A leader hands the lead over first.",
	}
	conn.add(c, e)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		m, err := ops.Call(cmd.Context(), cl, ops.RaftRemove, &ops.RaftRemoveRequest{Member: args[0]}, nil)
		if err != nil {
			return err
		}
		voters := 0
		for _, r := range m.Members {
			if r.Voter {
				voters++
			}
		}
		if voters < 3 {
			fmt.Fprintf(e.err, "minikv: %d coordinators vote now: the loss of one stops the cluster\n", voters)
		}
		return printMembers(e, m)
	}
	return c
}

func newRaftTransfer(e *env) *cobra.Command {
	var conn connection
	c := &cobra.Command{
		Use: "transfer [MEMBER]", Short: "Hand the lead to another coordinator",
		Long: "Hand the lead to a member, or to the one that is furthest. Clients see a short pause.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes at most one member", cmd.CommandPath())
			}
			return nil
		},
	}
	conn.add(c, e)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		a, err := ops.Call(cmd.Context(), cl, ops.RaftTransfer, &ops.RaftTransferRequest{Member: first(args...)}, nil)
		if err != nil {
			return err
		}
		if e.json {
			return printJSON(e.out, a)
		}
		_, err = fmt.Fprintf(e.out, "%s leads since term %d\n", a.Leader, a.Term)
		return err
	}
	return c
}
