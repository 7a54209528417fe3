package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"minikv/internal/ops"
)

// ErrCutShort: the answer ended before the operation did. What it was doing may be done or not.
var ErrCutShort = errors.New("the answer ended before the operation did")

var _ ops.Caller = (*Client)(nil)

// Operate has the server do an operation of internal/ops; see ops.Call. The server's refusals are *Error.
func (c *Client) Operate(ctx context.Context, op ops.Spec, request []byte, sink ops.Sink) ([]byte, error) {
	u := *c.base
	u.Path = "/admin/v1/" + op.Name
	header := http.Header{"Content-Type": {"application/json"}}
	resp, err := c.do(ctx, http.MethodPost, &u, bytes.NewReader(request), int64(len(request)), header)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch op.Kind {
	case ops.Job:
		return readJob(resp.Body, sink)
	case ops.Bytes:
		return []byte("null"), copyChunks(resp.Body, sink)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, ops.AnswerMax+2))
	if err == nil && len(b) > ops.AnswerMax+1 {
		err = fmt.Errorf("%s: the answer has more than %d bytes", op.Name, ops.AnswerMax)
	}
	return b, err
}

// readJob reads lines until one has the result.
func readJob(r io.Reader, sink ops.Sink) ([]byte, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), ops.AnswerMax+1024)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue // a sign of life
		}
		var l struct {
			Event  json.RawMessage `json:"event"`
			Result json.RawMessage `json:"result"`
			Error  *Error          `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("a line of the answer can't be read: %w", err)
		}
		switch {
		case l.Error != nil:
			return nil, l.Error
		case l.Result != nil:
			return l.Result, nil
		case l.Event != nil:
			if err := sink.Event(l.Event); err != nil {
				return nil, err
			}
		}
	}
	return nil, errors.Join(ErrCutShort, lines.Err())
}

func copyChunks(r io.Reader, sink ops.Sink) error {
	buf := make([]byte, ops.ChunkMax)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := sink.Chunk(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return errors.Join(ErrCutShort, err)
		}
	}
}
