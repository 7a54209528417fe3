package rpc

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"minikv/internal/errs"
)

// Bounds of a peer's data connections.
const (
	dataConnsMax   = 256 // calls beyond it go by gRPC
	dataIdleMax    = 45 * time.Second
	dataServerIdle = 90 * time.Second // longer than clients keep them
	dataPauseMin   = time.Second      // after a failure, twice as long after the next
	dataPauseMax   = 10 * time.Minute
	dataDialMax    = time.Second     // then gRPC has to do
	dataDrain      = 5 * time.Second // for calls on their way when the peer is lost
)

// dataConn is a data connection of a client.
type dataConn struct {
	net.Conn
	tls   bool
	used  bool // by an earlier call: the peer may have closed it since
	since time.Time
	age   int // dataConns.age when it was made
}

// dataConns are the data connections to one peer: those that are free, the one used last at the end. Nothing on them tells whether a
// peer lives that is silent, so they last as long as gRPC's connection to the peer, which is kept alive by pings.
type dataConns struct {
	connect func(ctx context.Context) (net.Conn, error) // shakes hands, too
	ready   func() bool                                 // gRPC has a connection
	await   func()                                      // returns when it has none any more
	dialMax time.Duration                               // 0: dataDialMax
	now     func() time.Time

	watches sync.WaitGroup

	mu       sync.Mutex // guards what follows
	free     []*dataConn
	all      map[*dataConn]struct{}
	making   int
	not      time.Time     // none is made before
	pause    time.Duration // the last one
	sweep    *time.Timer
	watching bool
	age      int // rises when gRPC's connection is lost
	late     *time.Timer
	closed   bool
}

// newDataConns are those to the peer that conn connects to.
func newDataConns(conn *grpc.ClientConn, connect func(ctx context.Context) (net.Conn, error)) *dataConns {
	return &dataConns{
		connect: connect, now: time.Now,
		ready: func() bool { return conn.GetState() == connectivity.Ready },
		await: func() { conn.WaitForStateChange(context.Background(), connectivity.Ready) }, // Close is a change
	}
}

// get gives a free connection, or makes one. false: there can be none now, gRPC has to do.
func (d *dataConns) get(ctx context.Context) (*dataConn, bool) {
	d.mu.Lock()
	if n := len(d.free); n > 0 {
		c := d.free[n-1]
		d.free = d.free[:n-1]
		d.mu.Unlock()
		return c, true
	}
	if d.closed || len(d.all)+d.making >= dataConnsMax || d.now().Before(d.not) || !d.watch() || d.making > 0 && len(d.all) == 0 {
		d.mu.Unlock() // the last of these: the first one shows whether the peer speaks the protocol
		return nil, false
	}
	d.making++
	age := d.age
	d.mu.Unlock()

	mctx, cancel := context.WithTimeout(ctx, cmp.Or(d.dialMax, dataDialMax))
	conn, err := d.connect(mctx)
	cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.making--
	switch {
	case err == nil && (d.closed || d.age != age):
		hangUp(conn) // nothing was sent
		return nil, false
	case err != nil && d.age != age:
		return nil, false // that was another one
	case errs.Is(err, errs.AccessDenied), errs.Is(err, errs.Conflict):
		d.wait(dataPauseMax)
		return nil, false
	case err != nil:
		if ctx.Err() == nil {
			d.wait(dataPauseMin)
		}
		return nil, false
	}
	c := &dataConn{Conn: conn, age: age}
	_, c.tls = conn.(*tls.Conn)
	if d.all == nil {
		d.all = map[*dataConn]struct{}{}
	}
	d.all[c] = struct{}{}
	return c, true
}

// wait has no connections made for a while, longer each time until one is good or the peer is another one: it may be of a version that does
// not know them, and logs each. The caller holds mu.
func (d *dataConns) wait(least time.Duration) {
	if now := d.now(); !now.Before(d.not) {
		d.pause = max(least, min(2*d.pause, dataPauseMax))
		d.not = now.Add(d.pause)
	}
}

// watch sees to it that the end of gRPC's connection is noticed. false: there is none. The caller holds mu.
func (d *dataConns) watch() bool {
	if !d.watching && d.ready() {
		d.watching = true
		d.watches.Go(func() {
			d.await()
			d.lost()
		})
	}
	return d.watching
}

// lost closes what is free, and what is in use after some time: the peer is gone, silent, or about to stop.
func (d *dataConns) lost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watching = false
	d.age++
	d.not, d.pause = time.Time{}, 0
	d.dropFree()
	if age := d.age; len(d.all) > 0 && !d.closed {
		d.late = time.AfterFunc(dataDrain, func() { d.dropOlder(age) })
	}
}

func (d *dataConns) dropOlder(age int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.all {
		if c.age < age {
			d.drop(c)
		}
	}
}

// dropFree closes what is free. The caller holds mu.
func (d *dataConns) dropFree() {
	for _, c := range d.free {
		d.drop(c)
	}
	d.free = nil
}

// put takes back a connection after a call that was answered.
func (d *dataConns) put(c *dataConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || c.age != d.age {
		d.drop(c)
		return
	}
	c.used, c.since, d.pause = true, time.Now(), 0
	d.free = append(d.free, c)
	if d.sweep == nil {
		d.sweep = time.AfterFunc(dataIdleMax, d.expire)
	}
}

// lose closes a connection that broke or whose call was given up, and with one that was idle before all that were, too: the peer
// may have been started anew.
func (d *dataConns) lose(c *dataConn, broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(c)
	switch {
	case broken && c.used:
		d.dropFree()
	case broken && c.age == d.age: // the peer takes no more of them
		d.wait(dataPauseMin)
	}
}

// drop closes a connection. The caller holds mu.
func (d *dataConns) drop(c *dataConn) {
	delete(d.all, c)
	hangUp(c.Conn)
}

// hangUp closes a connection without TLS's goodbye, for which Close would wait 5 s if the peer does not read.
func hangUp(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close() // nobody waits for what it says
}

// expire closes those that have been free for long.
func (d *dataConns) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep = nil
	old := 0
	for old < len(d.free) && time.Since(d.free[old].since) >= dataIdleMax {
		d.drop(d.free[old])
		old++
	}
	d.free = append(d.free[:0], d.free[old:]...)
	if len(d.free) > 0 && !d.closed {
		d.sweep = time.AfterFunc(dataIdleMax, d.expire)
	}
}

// close closes all; calls on their way fail. gRPC's connection was closed before.
func (d *dataConns) close() {
	d.mu.Lock()
	d.closed = true
	for _, t := range []*time.Timer{d.sweep, d.late} {
		if t != nil {
			t.Stop()
		}
	}
	for c := range d.all {
		d.drop(c)
	}
	d.free = nil
	d.mu.Unlock()
	d.watches.Wait()
}

// brokenConn makes what a connection says a status, as gRPC says it of its own.
func brokenConn(err error) error {
	code := codes.Unavailable
	if errors.Is(err, os.ErrDeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return status.Error(code, err.Error())
}
