package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/rpc/secure"
)

// dataServerConns bounds the data connections of a server; clients whose connections are refused call by gRPC.
const dataServerConns = 4096

// dataProgress is how long a piece of a blob may take that comes in: all who send share a budget, which a frozen one must not hold.
const dataProgress = 5 * time.Second

// dataServer answers the data connections that the handshake tells from gRPC's.
type dataServer struct {
	refusals *Refusals
	log      *zap.Logger
	ctx      context.Context // of calls
	kill     context.CancelFunc
	idle     time.Duration  // dataServerIdle
	progress time.Duration  // dataProgress
	wg       sync.WaitGroup // a goroutine per connection

	mu      sync.Mutex // guards what follows
	volumes *volumeServer
	conns   map[net.Conn]bool // true: with a call on it
	closing bool
}

func newDataServer(log *zap.Logger, refusals *Refusals) *dataServer {
	d := &dataServer{log: log, refusals: refusals, idle: dataServerIdle, progress: dataProgress, conns: map[net.Conn]bool{}}
	d.ctx, d.kill = context.WithCancel(context.Background())
	return d
}

// serve says whose blobs travel; before, connections are refused.
func (d *dataServer) serve(v *volumeServer) {
	d.mu.Lock()
	d.volumes = v
	d.mu.Unlock()
}

// take serves a connection until it ends; it owns it from now on.
func (d *dataServer) take(conn net.Conn, s *secure.Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing || d.volumes == nil || len(d.conns) >= dataServerConns {
		hangUp(conn) // the client turns to gRPC
		return
	}
	d.conns[conn] = false
	d.wg.Go(func() {
		defer d.forget(conn)
		end := func() { hangUp(conn) }
		stop := context.AfterFunc(d.ctx, end)
		defer stop()
		c := &served{d: d, v: d.volumes, conn: conn, session: s, late: time.AfterFunc(d.idle, end)}
		defer c.late.Stop()
		for c.next() {
		}
	})
}

func (d *dataServer) forget(conn net.Conn) {
	d.mu.Lock()
	delete(d.conns, conn)
	d.mu.Unlock()
	hangUp(conn)
}

// busy books that a call begins or ends; false: the connection is to end.
func (d *dataServer) busy(conn net.Conn, is bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns[conn] = is
	return !d.closing
}

// drain takes no more calls; wait then waits for those that run.
func (d *dataServer) drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	for conn, busy := range d.conns {
		if !busy {
			hangUp(conn)
		}
	}
}

func (d *dataServer) wait() { d.wg.Wait() }

// served is one connection.
type served struct {
	d       *dataServer
	v       *volumeServer
	conn    net.Conn
	session *secure.Session
	late    *time.Timer // closes it. Not a deadline: gRPC removes one after it has handed a connection over
	until   time.Time   // the call's end
	head    [dataRequestLen]byte
}

// next answers one call; false: the connection is of no more use.
func (c *served) next() bool {
	c.late.Reset(c.d.idle)
	if _, err := io.ReadFull(c.conn, c.head[:]); err != nil {
		return false
	}
	if !c.d.busy(c.conn, true) {
		return false
	}
	q, err := parseDataRequest(c.head[:])
	if err == nil {
		err = c.allowed(&q)
	}
	if err != nil { // no byte more of it is read
		c.d.refusals.Warn("a call was refused", zap.Stringer("remote", c.conn.RemoteAddr()), zap.Stringer("caller", c.session.Peer), zap.Error(err))
		c.refuse(err)
		return false
	}
	return c.call(&q) && c.d.busy(c.conn, false)
}

// refuse answers a request that is not carried out, as it was read.
func (c *served) refuse(err error) {
	if c.head[1] == dataRead {
		c.endRead(object.BlobID(c.head[16:32]), binary.LittleEndian.Uint64(c.head[48:]), err)
		return
	}
	c.answer(false, err)
}

// allowed is the gate (R1): the handshake proved the secret.
func (c *served) allowed(q *dataRequest) error {
	const op = "rpc.data"
	if !c.session.Proved {
		return errs.E(op, errs.AccessDenied, "no proof of the cluster secret")
	}
	if r := rules[q.method()].roles; !c.session.Peer.Roles.Any(r) {
		return errs.E(op, errs.AccessDenied, "only %s may call this method", r)
	}
	return nil
}

// call answers a request within its time.
func (c *served) call(q *dataRequest) bool {
	left := min(time.Duration(q.millis)*time.Millisecond, timeoutOf(q.method()))
	ctx, cancel := context.WithTimeout(context.WithValue(c.d.ctx, callerKey{}, c.session.Peer), left)
	defer cancel()
	c.until = time.Now().Add(left + time.Second) // the answer that time is up may still go out
	c.late.Reset(left + time.Second)
	if q.what == dataPrepare {
		return c.prepare(ctx, q)
	}
	return c.read(ctx, q)
}

func (c *served) answer(durable bool, err error) bool {
	_, werr := c.conn.Write(appendAnswer(make([]byte, 0, 256), durable, encode(err, "")))
	return werr == nil
}

// errLost ends a connection on which nothing can be said any more.
var errLost = errors.New("the connection broke")

func (c *served) prepare(ctx context.Context, q *dataRequest) bool {
	durable, rest, err := c.prepareFrom(ctx, q)
	if err == errLost {
		return false
	}
	if rest > 0 && !c.skip(rest) { // the caller reads the answer when it has sent all
		return false
	}
	return c.answer(durable, err)
}

// prepareFrom receives a blob and prepares it. rest is how many bytes of it were not read.
func (c *served) prepareFrom(ctx context.Context, q *dataRequest) (durable bool, rest int, err error) {
	defer recovered(c.d.log, methodPrepare, &err)
	rest = int(q.length)
	v, err := c.v.find(q.ref)
	if err != nil {
		return false, rest, err
	}
	if err := c.v.budget.Acquire(ctx, int64(q.length)); err != nil {
		return false, rest, errs.WrapKind("rpc.Prepare", errs.SlowDown, err)
	}
	defer c.v.budget.Release(int64(q.length))
	in := incoming{served: c, id: q.id}
	defer in.free()
	rest, err = in.receive(rest)
	c.late.Reset(time.Until(c.until))
	if err != nil {
		return false, rest, err
	}
	durable, err = v.Volume.Prepare(ctx, q.id, q.epochs, in.data)
	return durable, 0, err
}

// incoming is a blob on its way in, in buffers of FrameMax bytes and room for the header that follows.
type incoming struct {
	*served
	id   object.BlobID
	off  uint64
	bufs []*[]byte
	data [][]byte
}

func (in *incoming) free() {
	for _, b := range in.bufs {
		buffers.Put(b)
	}
}

// receive reads left bytes in pieces, each checked while it is hot, and gives how many it did not read. With a piece comes the header of the next,
// which the next overwrites.
func (in *incoming) receive(left int) (int, error) {
	var first [pieceHeaderLen]byte
	if !in.fill(first[:]) {
		return left, errLost
	}
	h := parsePieceHeader(first[:])
	for {
		buf := buffers.Get(min(left, FrameMax) + pieceHeaderLen)
		in.bufs = append(in.bufs, buf)
		used := 0
		for used < FrameMax && left > 0 {
			n := min(left, pieceMax)
			if int(h.length) != n {
				return left, errLost // nothing after it could be understood
			}
			want := (*buf)[used : used+n]
			if left > n {
				want = want[:n+pieceHeaderLen]
			}
			if !in.fill(want) {
				return left, errLost
			}
			left -= n
			err := h.check(in.id, in.off, want[:n])
			in.off += uint64(n)
			if err != nil {
				if left > 0 {
					return left, errLost
				}
				return 0, err
			}
			if left > 0 {
				h = parsePieceHeader(want[n:])
			}
			used += n
		}
		in.data = append(in.data, (*buf)[:used])
		if left == 0 {
			return 0, nil
		}
	}
}

// fill reads all of b, within the time of a piece.
func (in *incoming) fill(b []byte) bool {
	in.late.Reset(min(in.d.progress, time.Until(in.until)))
	_, err := io.ReadFull(in.conn, b)
	return err == nil
}

// skip reads what is left of a blob that is refused, none of which was read.
func (c *served) skip(left int) bool {
	n := left + (left+pieceMax-1)/pieceMax*pieceHeaderLen
	_, err := io.CopyN(io.Discard, c.conn, int64(n))
	return err == nil
}

func (c *served) read(ctx context.Context, q *dataRequest) bool {
	off := q.offset
	err := c.readTo(ctx, q, &off)
	switch {
	case err == nil:
		return true
	case err == errLost:
		return false
	}
	return c.endRead(q.id, off, err)
}

// endRead ends the answer to a read that failed at an offset.
func (c *served) endRead(id object.BlobID, off uint64, err error) bool {
	b := make([]byte, pieceHeaderLen, 256)
	headerOf(id, off, nil).put(b)
	_, werr := c.conn.Write(appendAnswer(b, false, encode(err, "")))
	return werr == nil
}

// Room in the buffer of a piece that goes out: for its header, and for the end of the answer.
const (
	pieceRoom = 64
	endRoom   = pieceHeaderLen + dataAnswerLen
)

// readTo sends what is wanted from off on, and the answer with the last piece.
func (c *served) readTo(ctx context.Context, q *dataRequest, off *uint64) (err error) {
	defer recovered(c.d.log, methodReadAt, &err)
	v, err := c.v.find(q.ref)
	if err != nil {
		return err
	}
	b := buffers.Get(pieceRoom + min(int(q.length), pieceMax) + endRoom)
	defer buffers.Put(b)
	for left := int(q.length); ; {
		n := pieceAt(*off, left)
		data := (*b)[pieceRoom : pieceRoom+n]
		got, err := v.Volume.ReadAt(ctx, q.id, data, int64(*off))
		if err != nil {
			return err
		}
		out := (*b)[pieceRoom-pieceHeaderLen : pieceRoom+got]
		headerOf(q.id, *off, data[:got]).put(out)
		*off, left = *off+uint64(got), left-got
		last := got < n || left == 0
		if last {
			if got > 0 {
				var end [pieceHeaderLen]byte
				headerOf(q.id, *off, nil).put(end[:])
				out = append(out, end[:]...)
			}
			out = appendAnswer(out, false, nil)
		}
		if _, err := c.conn.Write(out); err != nil {
			return errLost
		}
		if last {
			return nil
		}
	}
}
