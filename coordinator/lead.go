package coordinator

import "context"

// WhileLeading gives a context that ends with ctx, and when this coordinator no longer leads the present term or closes. Call cancel
// when done. errs.NotLeader, errs.Unavailable: it does not lead now.
func (c *Coordinator) WhileLeading(ctx context.Context) (leading context.Context, cancel context.CancelFunc, err error) {
	term, err := c.node.Ready()
	if err != nil {
		return nil, nil, err
	}
	leading, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.awaitEnd(leading, term)
		stop()
	}()
	unhook := context.AfterFunc(c.ctx, stop)
	return leading, func() { unhook(); stop(); <-done }, nil
}
