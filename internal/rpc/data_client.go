package rpc

import (
	"context"
	"io"
	"net"
	"time"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// dataCall is a call over a data connection.
type dataCall struct {
	*call
	d    *dataConn
	stop func() bool // of the watch over the context
}

// startData begins a call over a data connection. false: there is none, and nothing was done.
func (p *Peer) startData(ctx context.Context, q *dataRequest) (*dataCall, bool) {
	if ctx.Err() != nil || len(q.ref.Incarnation) > incarnationLen || p.circuit.open() {
		return nil, false // gRPC says what is wrong
	}
	d, ok := p.data.get(ctx)
	if !ok {
		return nil, false
	}
	if !p.circuit.allow() {
		p.data.put(d)
		return nil, false
	}
	k := &dataCall{call: p.begin(ctx, q.method()), d: d}
	end, _ := k.ctx.Deadline()
	_ = d.SetDeadline(end) // a closed connection fails where it is used
	k.stop = context.AfterFunc(k.ctx, func() { _ = d.SetDeadline(time.Unix(1, 0)) })
	q.millis = uint32(max(1, time.Until(end).Milliseconds()))
	return k, true
}

// end ends the call with what it came to: a status that the peer answered with, or one of brokenConn.
func (k *dataCall) end(err error) (remote, error) {
	live := k.stop() // before finish ends the context
	stale := false
	r, out := decode(k.ctx, k.method, k.p.addr, err)
	if clean := err == nil || r.ran; clean && live {
		_ = k.d.SetDeadline(time.Time{})
		k.p.data.put(k.d)
	} else {
		stale = live && r.kind == errs.Unavailable // gRPC is asked next, and tells whether the peer lives
		k.p.data.lose(k.d, stale)
	}
	k.done(r, out, stale)
	return r, out
}

// prepareData is prepare over a data connection. false: there is none.
func (c *VolumeClient) prepareData(ctx context.Context, h frameHeader, data [][]byte) (durable bool, r remote, err error, ok bool) {
	q := &dataRequest{what: dataPrepare, ref: c.ref, length: h.total, id: h.id, epochs: h.epochs}
	k, ok := c.peer.startData(ctx, q)
	if !ok {
		return false, r, nil, false
	}
	var b [dataRequestLen + pieceHeaderLen]byte
	q.put(b[:])
	head := b[:]
	in := pieces{data: data}
	for off, total := 0, int(h.total); off < total && err == nil; head = b[:pieceHeaderLen] {
		n := min(total-off, pieceMax)
		out := net.Buffers(append(make([][]byte, 0, 8), head))
		out, crc := in.lend(out, n, seedOf(h.id, uint64(off), n))
		off += n
		pieceHeader{uint32(n), crc}.put(head[len(head)-pieceHeaderLen:])
		if err = k.d.write(out, len(head)+n); err != nil {
			err = brokenConn(err)
		}
	}
	if err == nil {
		var scratch [dataAnswerLen]byte
		durable, err = readAnswer(k.d, &scratch)
	}
	r, err = k.end(err)
	return durable && err == nil, r, err, true
}

// lend appends the next n bytes to out, as they lie in the memory of the caller, and gives the CRC32C of what crc is of and them.
func (p *pieces) lend(out net.Buffers, n int, crc uint32) (net.Buffers, uint32) {
	for n > 0 {
		from := p.data[0][p.off:]
		if len(from) > n {
			from = from[:n]
		}
		if len(from) > 0 {
			crc = updateCRC(crc, from)
			out = append(out, from)
		}
		n -= len(from)
		if p.off += len(from); p.off == len(p.data[0]) {
			p.data, p.off = p.data[1:], 0
		}
	}
	return out, crc
}

// write writes all the bytes by one call; into TLS, which copies anyway, from one buffer.
func (d *dataConn) write(out net.Buffers, n int) error {
	if !d.tls {
		_, err := out.WriteTo(d.Conn)
		return err
	}
	b := buffers.Get(n)
	defer buffers.Put(b)
	at := 0
	for _, s := range out {
		at += copy((*b)[at:], s)
	}
	_, err := d.Conn.Write(*b)
	return err
}

// readData is readAt over a data connection. false: there is none.
func (c *VolumeClient) readData(ctx context.Context, id object.BlobID, dst []byte, off int64) (got int, r remote, err error, ok bool) {
	q := &dataRequest{what: dataRead, ref: c.ref, length: uint32(len(dst)), id: id, offset: uint64(off)}
	k, ok := c.peer.startData(ctx, q)
	if !ok {
		return 0, r, nil, false
	}
	var b [dataRequestLen]byte
	q.put(b[:])
	if _, err = k.d.Write(b[:]); err != nil {
		err = brokenConn(err)
	}
	if err == nil {
		got, err = k.receive(id, uint64(off), dst)
	}
	if r, err = k.end(err); err != nil {
		return 0, r, err, true
	}
	return got, r, nil, true
}

// receive takes the answer to a read, and gives how many bytes it has.
func (k *dataCall) receive(id object.BlobID, off uint64, dst []byte) (int, error) {
	for got := 0; ; {
		n, err := k.piece(id, off+uint64(got), dst[got:])
		if err != nil {
			return 0, err
		}
		if n == 0 {
			var scratch [dataAnswerLen]byte
			_, err = readAnswer(k.d, &scratch)
			return got, err
		}
		got += n
	}
}

// piece receives a piece of the answer; 0: there are no more.
func (k *dataCall) piece(id object.BlobID, off uint64, dst []byte) (int, error) {
	var b [pieceHeaderLen]byte
	if _, err := io.ReadFull(k.d, b[:]); err != nil {
		return 0, brokenConn(err)
	}
	h := parsePieceHeader(b[:])
	if h.length > pieceMax || int(h.length) > len(dst) {
		return 0, errs.E(opOf(methodReadAt), errs.Other, "the answer does not fit the question")
	}
	if _, err := io.ReadFull(k.d, dst[:h.length]); err != nil {
		return 0, brokenConn(err)
	}
	return int(h.length), h.check(id, off, dst[:h.length])
}
