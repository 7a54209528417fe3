package node

import (
	"context"
	"io"

	"minikv/coordinator"
	"minikv/internal/ops"
)

func backupOps(c *coordinator.Coordinator) []ops.Handler {
	return []ops.Handler{ops.Backup.HandleBytes(func(ctx context.Context, _ *ops.None, w io.Writer) error {
		return elsewhere(c.Backup(ctx, w))
	})}
}
