package rpc

import (
	"bytes"
	"net"
	"testing"

	"minikv/internal/errs"
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
