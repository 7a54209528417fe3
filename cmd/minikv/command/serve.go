package command

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"minikv/cmd/minikv/node"
	"minikv/internal/config"
)

func newServe(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the store: S3, REST, health and metrics in one process",
		Long: "Serve the store. Each setting is a flag, a key in the file that --config names, and an environment variable\n" +
			"(MINIKV_FSYNC_INTERVAL for --fsync-interval); flags win over the environment, that over the file.\n" +
			"SIGTERM and SIGINT let running requests end; a second signal ends the process at once.",
		Example: "  minikv serve --data ./data\n  minikv serve --dev",
		Args:    noArgs,
	}
	config.AddFlags(c.Flags())
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(cmd.Flags(), os.Environ())
		if err != nil {
			return usageError{err}
		}
		err = node.Run(cmd.Context(), cfg, node.Options{Out: e.out, Log: e.err})
		var setting node.SettingError
		if errors.As(err, &setting) {
			return usageError{err}
		}
		return err
	}
	return c
}
