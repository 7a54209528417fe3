// Package command is the command line of minikv.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"minikv/cmd/minikv/client"
	"minikv/internal/buildinfo"
	"minikv/internal/ops"
)

// Exit codes. Scripts may rely on them.
const (
	ExitOK           = 0
	ExitError        = 1 // any other failure
	ExitUsage        = 2 // the command line, the environment or a configuration file is wrong
	ExitNotFound     = 3 // no such key
	ExitPrecondition = 4 // a condition is false
	ExitUnavailable  = 5 // no connection, or the server cannot answer now: try again
	ExitDenied       = 6 // credentials are missing or wrong, or not enough
	ExitFull         = 7 // the store has no room
	ExitDegraded     = 8 // status: something is down, missing or full, and all requests are served
)

const exitHelp = `
Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 no such key, 4 a condition is false,
5 unavailable (try again), 6 access denied, 7 the store is full, 8 degraded, bad or left over (status, verify, repair, compact).`

// usageError is what the caller of the command got wrong.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// env is where a command gets its input and leaves its output.
type env struct {
	in       io.Reader
	out, err io.Writer
	json     bool
}

// Main runs the command line and gives the exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process
	e := &env{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(e.err, "minikv:", err)
		if h := hint(err); h != "" {
			fmt.Fprintln(e.err, "minikv:", h)
		}
	}
	return exitCode(err)
}

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "minikv",
		Short:         "An S3-compatible object store in one binary",
		Long:          "minikv serves an S3-compatible object store (minikv serve) and is a client of its native API.\n" + exitHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newServe(e), newPut(e), newGet(e), newDelete(e), newRange(e), newBatch(e),
		newStatus(e),
		newNode(e),
		newPool(e),
		newRebalance(e),
		newRaft(e),
		newVerify(e), newRepair(e), newCompact(e),
		newBackup(e),
		newRestore(e),
		newDoctor(e),
		newVolume(e), newCert(e), newVersion(e),
	)
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil { // which shows its help whatever it is asked
		c.Args, c.RunE = noArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	return root
}

func newVersion(e *env) *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: noArgs}
	c.Flags().BoolVar(&e.json, "json", false, "print JSON")
	c.RunE = func(*cobra.Command, []string) error {
		if e.json {
			v, commit := buildinfo.Get()
			return printJSON(e.out, map[string]string{"version": v, "commit": commit})
		}
		_, err := fmt.Fprintln(e.out, buildinfo.String())
		return err
	}
	return c
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && cmd.HasSubCommands() {
		similar := ""
		cmd.SuggestionsMinimumDistance = 2
		if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
			similar = "; did you mean " + strings.Join(names, " or ") + "?"
		}
		return usagef("unknown command %q%s; see %s --help", args[0], similar, cmd.CommandPath())
	}
	if len(args) > 0 {
		return usagef("%s: unknown argument %q; see minikv %s--help", cmd.CommandPath(), args[0], subcommand(cmd))
	}
	return nil
}

func subcommand(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return cmd.Name() + " "
	}
	return ""
}

func oneKey(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usagef("%s takes one key; see minikv %s --help", cmd.CommandPath(), cmd.Name())
	}
	return nil
}

// hint is what the caller may do about an error whose text cannot know it; empty for most.
func hint(err error) string {
	var answer *client.Error
	switch {
	case checkFailed(err): // of an S3 server, perhaps another's
		return ""
	case errors.As(err, &answer) && answer.Status == 401:
		return "set MINIKV_ACCESS_KEY and MINIKV_SECRET_KEY; for a server on this machine, --data DIR names where root's are kept"
	case errors.As(err, &answer) && answer.Status < 500 && strings.HasPrefix(answer.Message, "The server answered"):
		return "that is no answer of minikv's REST API: is --endpoint its port (by default 5000), and not that of S3 (9000)?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is minikv serve running, and --endpoint (MINIKV_ENDPOINT) its REST address?"
	}
	return ""
}

// exitCode finds the code of an error.
func exitCode(err error) int {
	var (
		usage  usageError
		answer *client.Error
		health healthError
	)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &health) && health.health == ops.Degraded:
		return ExitDegraded
	case errors.As(err, &health):
		return ExitUnavailable
	case errors.As(err, &answer):
		return statusCode(answer.Status)
	case client.Unreachable(err), checkFailed(err):
		return ExitUnavailable
	}
	return ExitError
}

func statusCode(status int) int {
	switch status {
	case 404:
		return ExitNotFound
	case 412:
		return ExitPrecondition
	case 401, 403:
		return ExitDenied
	case 502, 503, 504:
		return ExitUnavailable
	case 507:
		return ExitFull
	}
	return ExitError
}
