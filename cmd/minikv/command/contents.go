package command

import (
	"context"
	"encoding/json"
	"fmt"

	"minikv/cmd/minikv/client"
	"minikv/internal/errs"
	"minikv/internal/ops"
)

// contentsRead is what became of reading the objects; nil: nobody asked for it.
type contentsRead struct {
	answer *ops.ContentsAnswer // nil: the node has no gateway
}

// readContents has the node that is asked read objects, and prints what is wrong and the sums.
func (j *job) readContents(ctx context.Context, cl *client.Client, q *ops.ContentsRequest) (*contentsRead, error) {
	a, err := ops.Call(ctx, cl, ops.VerifyContents, q, func(line json.RawMessage) error { return j.contentsEvent(line) })
	switch {
	case errs.Is(err, errs.Unsupported):
		j.end()
		_, err = fmt.Fprintf(j.e.err, "contents are not read: %s\n", errs.Message(err))
		return &contentsRead{}, err
	case err != nil:
		return nil, err
	}
	if j.e.json && q.Bucket == "" { // it is part of the answer
		return &contentsRead{a}, nil
	}
	return &contentsRead{a}, j.print(a, "contents    %d objects in %d buckets, %s read; %d wrong, %d could not be read, %d changed meanwhile",
		a.Objects, a.Buckets, bytesText(uint64(a.Bytes)), a.Wrong, a.Unread, a.Changed)
}

func (j *job) contentsEvent(line json.RawMessage) error {
	var ev ops.ContentsEvent
	if err := json.Unmarshal(line, &ev); err != nil {
		return err
	}
	if w := ev.Wrong; w != nil {
		return j.print(ev, "%s: object %q of bucket %s, version %s: %s", w.Kind, w.Key, w.Bucket, w.Version, w.Text)
	}
	if p := ev.Progress; p != nil {
		j.progress("contents: %d objects, %s read; %d wrong", p.Objects, bytesText(uint64(p.Bytes)), p.Wrong)
	}
	return nil
}

func (c *contentsRead) verdict() error {
	switch {
	case c == nil:
		return nil
	case c.answer == nil:
		return healthError{ops.Degraded}
	case c.wrong():
		return healthError{ops.Unavailable}
	}
	return nil
}

// wrong says that bytes of objects are, or could not be had.
func (c *contentsRead) wrong() bool {
	return c != nil && c.answer != nil && c.answer.Wrong+c.answer.Unread > 0
}
