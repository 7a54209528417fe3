package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/e2e/harness"
)

// halfPut is a put whose body is being sent.
type halfPut struct {
	v    content
	rest chan struct{} // closed: send the rest
	done chan error
}

var errGivenUp = errors.New("the test has ended")

// half gives the first half of the body at once and the rest when it is told to.
type half struct {
	r    io.Reader
	mid  int
	read int
	rest <-chan struct{}
	end  <-chan struct{}
	told chan struct{} // closed when half was taken
}

func (h *half) Read(p []byte) (int, error) {
	if h.read >= h.mid && h.told != nil {
		close(h.told)
		h.told = nil
		select {
		case <-h.rest:
		case <-h.end:
			return 0, errGivenUp
		}
	}
	if h.told != nil {
		p = p[:min(len(p), h.mid-h.read)]
	}
	n, err := h.r.Read(p)
	h.read += n
	return n, err
}

func (r *faultRun) beginPut(key string, size int, at *harness.Node) {
	r.t.Helper()
	v := content{seed: uint64(len(key)) + 77, size: size}
	p := &halfPut{v: v, rest: make(chan struct{}), done: make(chan error, 1)}
	h := &half{r: bytes.NewReader(v.bytes()), mid: size / 2, rest: p.rest, end: r.t.Context().Done(), told: make(chan struct{})}
	told := h.told
	r.may(key, v)
	r.puts[key] = p
	go func() { p.done <- putStream(r.t.Context(), at, r.bucket, key, h, int64(size)) }()
	select {
	case <-told:
	case err := <-p.done:
		require.NoError(r.t, err, "the put ended before half of it was sent")
	}
}

func (r *faultRun) finishPut(key string, mayFail bool) error {
	p := r.puts[key]
	if p == nil {
		return fmt.Errorf("no put of %s was begun", key)
	}
	close(p.rest)
	select {
	case err := <-p.done:
		if err == nil {
			r.is(key, p.v)
			return nil
		}
		r.t.Logf("    put of %s: %v", key, err)
		if mayFail {
			return nil
		}
		return err
	case <-time.After(3 * faultAnswered):
		return errors.New("the put was not answered")
	}
}
