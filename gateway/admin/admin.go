package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"minikv/internal/errs"
	"minikv/internal/ops"
)

// Prefix of the paths.
const Prefix = "/admin/v1/"

// runningMax bounds the operations that run at once through one node.
const runningMax = 32

// beatEvery is how often a job without news writes an empty line, so that both ends know that the other lives.
const beatEvery = 10 * time.Second

// Handler answers operations.
type Handler struct {
	caller  ops.Caller
	running chan struct{}
}

// New makes a Handler over whoever does the operations.
func New(c ops.Caller) *Handler {
	return &Handler{caller: c, running: make(chan struct{}, runningMax)}
}

// Error is what a request got wrong in HTTP's terms; other failures are errors of internal/errs.
type Error struct {
	Status  int
	Code    string
	Message string
	Allow   string // methods, with status 405
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d): %s", e.Code, e.Status, e.Message) }

// Serve answers a request of root whose path below Prefix is name. An error has not been answered unless the answer had begun, which the
// caller sees from w.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, name string, body io.Reader) error {
	spec, ok := ops.Find(name)
	if !ok {
		return &Error{Status: http.StatusNotFound, Code: "NoSuchOperation", Message: "There is no operation " + strconv.Quote(name) + "."}
	}
	request, err := h.request(r, spec, body)
	if err != nil {
		return err
	}
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	default:
		return errs.E(name, errs.SlowDown, "%d operations are running; try again", runningMax)
	}
	switch spec.Kind {
	case ops.Job:
		return h.job(w, r, spec, request)
	case ops.Bytes:
		return h.bytes(w, r, spec, request)
	}
	answer, err := h.caller.Operate(r.Context(), spec, request, nothing{})
	if err != nil {
		return err
	}
	head(w, "application/json")
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(answer) + 1)}
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(append(answer, '\n'))
	return err
}

// request reads what is asked.
func (h *Handler) request(r *http.Request, spec ops.Spec, body io.Reader) ([]byte, error) {
	if r.URL.RawQuery != "" && r.URL.Query().Get("X-Amz-Signature") == "" {
		return nil, &Error{Status: http.StatusBadRequest, Code: "InvalidArgument", Message: "Operations take their parameters as JSON in the body."}
	}
	switch {
	case r.Method == http.MethodPost:
	case r.Method == http.MethodGet && (spec.Kind == ops.Ask || spec.Kind == ops.Bytes):
		return nil, nil
	case spec.Kind == ops.Ask || spec.Kind == ops.Bytes:
		return nil, methods("GET, POST")
	default:
		return nil, methods("POST")
	}
	b, err := io.ReadAll(io.LimitReader(body, ops.RequestMax+1))
	if err != nil {
		return nil, err
	}
	if len(b) > ops.RequestMax {
		return nil, errs.E(spec.Name, errs.LimitExceeded, "the request has more than %d bytes", ops.RequestMax)
	}
	return b, nil
}

func methods(allow string) *Error {
	return &Error{Status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed", Message: "This operation takes " + allow + ".", Allow: allow}
}

func head(w http.ResponseWriter, contentType string) {
	w.Header()["Content-Type"] = []string{contentType}
	w.Header()["Cache-Control"] = []string{"no-store"}
}

type nothing struct{}

func (nothing) Event([]byte) error { return nil }
func (nothing) Chunk([]byte) error { return nil }

// line is one line of a job's answer.
type line struct {
	Event  json.RawMessage `json:"event,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Failure        `json:"error,omitempty"`
}

// Failure is how a job ends that fails after it began.
type Failure struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// job writes lines. A failure before the first line is an ordinary error answer.
func (h *Handler) job(w http.ResponseWriter, r *http.Request, spec ops.Spec, request []byte) error {
	type step struct {
		line
		wrote chan error
	}
	ctx := r.Context()
	steps := make(chan step)
	send := func(l line) error {
		s := step{l, make(chan error, 1)}
		select {
		case steps <- s:
			return <-s.wrote
		case <-ctx.Done():
			return errs.Wrap(spec.Name, ctx.Err())
		}
	}
	type end struct {
		answer []byte
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		answer, err := h.caller.Operate(ctx, spec, request, sinkFunc(func(event []byte) error { return send(line{Event: event}) }))
		ended <- end{answer, err}
	}()
	out := lines{w: w}
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case s := <-steps:
			s.wrote <- out.write(s.line)
		case <-beat.C:
			out.beat()
		case e := <-ended:
			if e.err == nil {
				return out.write(line{Result: e.answer})
			}
			if !out.begun {
				return e.err
			}
			f := FailureOf(e.err)
			return out.write(line{Error: &f})
		}
	}
}

type sinkFunc func(event []byte) error

func (f sinkFunc) Event(b []byte) error { return f(b) }
func (sinkFunc) Chunk([]byte) error     { return nil }

// lines writes and flushes lines of JSON.
type lines struct {
	w     http.ResponseWriter
	begun bool
}

func (l *lines) write(v line) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return l.raw(append(b, '\n'))
}

// beat writes nothing of meaning; a failure shows with the next line.
func (l *lines) beat() { _ = l.raw([]byte("\n")) }

func (l *lines) raw(b []byte) error {
	if !l.begun {
		head(l.w, "application/x-ndjson")
		l.w.WriteHeader(http.StatusOK)
		l.begun = true
	}
	if _, err := l.w.Write(b); err != nil {
		return err
	}
	return http.NewResponseController(l.w).Flush()
}

// bytes writes what comes. Without an error before the end, the answer ends as HTTP's does; else the connection breaks.
func (h *Handler) bytes(w http.ResponseWriter, r *http.Request, spec ops.Spec, request []byte) error {
	out := &raw{w: w}
	if _, err := h.caller.Operate(r.Context(), spec, request, out); err != nil {
		return err
	}
	return out.Chunk(nil)
}

type raw struct {
	w     http.ResponseWriter
	begun bool
}

func (*raw) Event([]byte) error { return nil }

func (o *raw) Chunk(b []byte) error {
	if !o.begun {
		head(o.w, "application/octet-stream")
		o.w.WriteHeader(http.StatusOK)
		o.begun = true
	}
	if len(b) == 0 {
		return nil
	}
	_, err := o.w.Write(b)
	return err
}
