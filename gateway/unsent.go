package gateway

import "context"

// Unsent is how many bytes the system has yet to bring to the client of a request over a listener of Guard, on connections and systems of
// which it can be told; else 0.
func Unsent(ctx context.Context) int64 {
	if g, _ := ctx.Value(guardKey{}).(*guard); g != nil {
		return queued(Underlying(g.Conn))
	}
	return 0
}
