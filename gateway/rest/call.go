package rest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"

	"minikv/gateway/admin"
	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/internal/object"
	"minikv/proto/metapb"
	"minikv/sigv4"
)

// call is one request being answered.
type call struct {
	s   *Server
	r   *http.Request
	w   *response
	id  string
	req *sigv4.Request // the wire form: Path and Query are read from here only
	key object.Key     // of the object routes
	who *iam.Account   // once authenticated
	// body is the request's, checked against its signature, and size its length; -1: unknown. Set by authenticate.
	body *requestBody
	size int64
}

func (c *call) ctx() context.Context { return c.r.Context() }

// ServeHTTP gives the request an id and hands it to its route.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handler.ServeHTTP(w, r)
}

// bind makes an http.Handler of a handlerFunc: it answers errors and panics, counts and logs.
func (s *Server) bind(operation string, h handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		c := &call{s: s, r: r, id: newID(), size: r.ContentLength}
		c.w = &response{ResponseWriter: w, idle: s.cfg.IdleTimeout, control: http.NewResponseController(w)}
		c.body = &requestBody{src: r.Body, idle: s.cfg.IdleTimeout, control: c.w.control}
		hd := w.Header()
		hd["x-amz-request-id"] = []string{c.id}
		hd["Server"] = []string{"minikv"}
		hd["X-Content-Type-Options"] = []string{"nosniff"}
		if s.cfg.Requests != nil {
			s.cfg.Requests.Begin()
		}
		s.running.Add(1)
		defer s.running.Done()
		defer c.finish(operation, began)
		err := c.spare(operation)
		if err == nil {
			err = c.run(h)
		}
		if err != nil {
			c.fail(err)
		}
	})
}

// spare ends a spare connection after its request, and refuses what it is not for.
func (c *call) spare(operation string) error {
	if c.r.Context().Value(spareKey{}) == nil {
		return nil
	}
	c.w.Header()["Connection"] = []string{"close"}
	if watching[operation] {
		return nil
	}
	return newError(http.StatusServiceUnavailable, "SlowDown", "The port has as many connections as it may; only health and metrics are answered.")
}

func (c *call) run(h handlerFunc) error {
	if c.s.cfg.Refused != nil {
		if code, message, refused := c.s.cfg.Refused(c.r); refused {
			return newError(http.StatusBadRequest, code, message)
		}
	}
	if err := c.checkOrigin(); err != nil {
		return err
	}
	req, err := sigv4.NewRequest(c.r)
	if err != nil {
		return err
	}
	c.req = req
	if !c.s.started.Load() && !c.early() {
		return newError(http.StatusServiceUnavailable, "ServiceUnavailable", c.starting())
	}
	if err := checkAmz(c.r.Method, c.r.Header); err != nil {
		return err
	}
	return h(c)
}

// early says that the request is answered before Start.
func (c *call) early() bool {
	return c.req.Path == "/health/live" || c.req.Path == "/metrics" || c.s.admin.Load() != nil && strings.HasPrefix(c.req.Path, admin.Prefix)
}

// starting tells that the server is not open yet: with what it waits for to root and to this machine, as it names other nodes.
func (c *call) starting() string {
	if c.s.cfg.Waiting == nil || !onLoopback(c.r) && c.operator() != nil {
		return "Starting."
	}
	if lacks := c.s.cfg.Waiting(); len(lacks) > 0 {
		return "Starting, and waiting for the cluster: " + strings.Join(lacks, "; ") + "."
	}
	return "Starting."
}

// finish counts and logs. A panic becomes a broken connection, and is logged unless it is how a handler breaks it.
func (c *call) finish(operation string, began time.Time) {
	p := recover()
	status, took := c.w.status, time.Since(began)
	if p != nil && p != http.ErrAbortHandler {
		c.s.cfg.Log.Error("panic", zap.String("request_id", c.id), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		if status == 0 {
			c.fail(newError(http.StatusInternalServerError, "InternalError", ""))
			status, p = c.w.status, nil
		}
	}
	c.body.release()
	if c.s.cfg.Requests != nil {
		c.s.cfg.Requests.End(operation, status, took, c.body.bytes, c.w.bytes)
	}
	c.log(operation, status, took, p != nil)
	if p != nil {
		panic(http.ErrAbortHandler)
	}
}

func (c *call) log(operation string, status int, took time.Duration, broken bool) {
	level := zap.InfoLevel
	switch {
	case operation == "live" || operation == "ready" || operation == "metrics" && status == http.StatusOK:
		level = zap.DebugLevel // asked every few seconds, while the store opens too
	case status >= 500 && status != http.StatusNotImplemented || broken:
		level = zap.WarnLevel
	}
	e := c.s.cfg.Log.Check(level, "request")
	if e == nil {
		return
	}
	who := ""
	if c.who != nil {
		who = c.who.AccessKey
	}
	code := zap.Skip()
	if c.w.code != "" {
		code = zap.String("code", c.w.code)
	}
	e.Write(zap.String("request_id", c.id), zap.String("operation", operation), zap.String("method", c.r.Method),
		zap.String("path", c.r.URL.EscapedPath()), zap.Int("status", status), zap.Duration("took", took),
		zap.String("remote", c.r.RemoteAddr), zap.String("access_key", who), zap.Int64("in", c.body.bytes),
		zap.Int64("out", c.w.bytes), zap.Bool("broken", broken), code, zap.Error(c.w.cause))
}

func newID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// withKey finds the key behind a prefix of the path (R2). Plain paths do not reach keys with a reserved first segment, however they
// are escaped.
func withKey(prefix string, h handlerFunc) handlerFunc {
	return func(c *call) error {
		name := strings.TrimPrefix(c.req.Path, prefix)
		if prefix == "/" {
			if first, _, _ := strings.Cut(name, "/"); reserved[first] {
				return newError(http.StatusNotFound, "ReservedPath", "There is nothing at this path. A key that begins with \""+first+"\" is reached at /kv/{key}.")
			}
		}
		key, err := object.ParseKey(name)
		if err != nil {
			return keyError(name, err)
		}
		c.key = key
		return h(c)
	}
}

// bucket authenticates, and authorizes an action on the key ("": the bucket).
func (c *call) bucket(action string, key object.Key) (*metapb.BucketRow, error) {
	if err := c.authenticate(); err != nil {
		return nil, err
	}
	return c.authorize(c.ctx(), action, key)
}

func (c *call) authorize(ctx context.Context, actions string, key object.Key) (*metapb.BucketRow, error) {
	row, err := c.s.cfg.Store.Bucket(ctx, c.s.cfg.Bucket)
	if err != nil {
		return nil, err
	}
	for action := range strings.SplitSeq(actions, " ") {
		if err := c.s.cfg.Authorize(c.who, action, row, key); err != nil {
			return nil, err
		}
	}
	return row, nil
}

// scope is the bucket as authorized for actions; it authorizes again when the bucket or IAM changed meanwhile.
func (c *call) scope(row *metapb.BucketRow, actions string, keys ...object.Key) objects.Scope {
	sc := objects.Scope{Bucket: objects.RefOf(row)}
	sc.Reauthorize = func(ctx context.Context) (objects.Scope, error) {
		var row *metapb.BucketRow
		for _, k := range keys {
			var err error
			if row, err = c.authorize(ctx, actions, k); err != nil {
				return objects.Scope{}, err
			}
		}
		return objects.Scope{Bucket: objects.RefOf(row)}, nil
	}
	return sc
}
