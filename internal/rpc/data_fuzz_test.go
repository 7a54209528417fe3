package rpc

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"minikv/internal/certs"
	"minikv/internal/errs"
	"minikv/internal/rpc/secure"
)

// heard is a connection from which bytes come.
type heard struct {
	net.Conn
	in *bytes.Reader
}

func (h heard) Read(p []byte) (int, error) { return h.in.Read(p) }

// FuzzDataAnswer: no answer makes the reader take more than its bound, or panic; what it takes for a success says so.
func FuzzDataAnswer(f *testing.F) {
	f.Add(appendAnswer(nil, true, nil))
	f.Add(appendAnswer(nil, false, encode(errs.E("test", errs.StorageFull, "full"), "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var scratch [dataAnswerLen]byte
		in := bytes.NewReader(b)
		durable, err := readAnswer(heard{in: in}, &scratch)
		if taken := len(b) - in.Len(); taken > dataAnswerLen+failureMax {
			t.Fatalf("%d bytes", taken)
		}
		if err != nil && durable {
			t.Fatal("durable, and", err)
		}
		if err == nil && (len(b) < dataAnswerLen || b[0]|b[1]|b[2]|b[3] != 0 || durable != (b[8] == 1)) {
			t.Fatalf("%x is a success", b)
		}
	})
}

// answering is a connection that swallows answers.
type answering struct {
	heard
	out int
}

func (a *answering) Write(p []byte) (int, error) { a.out += len(p); return len(p), nil }
func (a *answering) Close() error                { return nil }
func (a *answering) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

// FuzzDataServer: whatever comes after a good handshake, nothing panics, what is stored is whole, and all of the budget comes back.
func FuzzDataServer(f *testing.F) {
	request := func(what byte, length int) []byte {
		b := make([]byte, dataRequestLen)
		q := dataRequest{what: what, millis: 1000, length: uint32(length), id: blobID(1)}
		q.put(b)
		return b
	}
	blob := []byte("a blob")
	head := make([]byte, pieceHeaderLen)
	headerOf(blobID(1), 0, blob).put(head)
	whole := slices.Concat(request(dataPrepare, len(blob)), head, blob)
	f.Add(whole)
	f.Add(slices.Concat(whole, request(dataRead, 100), whole))
	f.Add(slices.Concat(request(dataPrepare, BlobMax), head, blob))
	f.Add(slices.Concat(request(7, 1), whole))
	f.Fuzz(func(t *testing.T, b []byte) {
		if b = bytes.Clone(b); len(b) >= dataRequestLen { // the first request with a good checksum
			binary.LittleEndian.PutUint32(b[92:], checksum(b[:92]))
		}
		v := newMemVolume()
		vs := &volumeServer{volumes: []LocalVolume{v.local()}, budget: semaphore.NewWeighted(BlobMax)}
		d := newDataServer(zap.NewNop(), NewRefusals(zap.NewNop()))
		defer d.kill()
		conn := &answering{heard: heard{in: bytes.NewReader(b)}}
		session := &secure.Session{Proved: true, Peer: certs.Identity{Node: "g1", Roles: gateway}}
		c := &served{d: d, v: vs, conn: conn, session: session, late: time.AfterFunc(time.Hour, func() {})}
		defer c.late.Stop()
		for c.next() {
		}
		for id, data := range v.blobs {
			if !bytes.Contains(b, data) && len(data) <= pieceMax {
				t.Fatalf("%s has %x", id, data)
			}
		}
		if !vs.budget.TryAcquire(BlobMax) {
			t.Fatal("some of the budget is lost")
		}
	})
}
