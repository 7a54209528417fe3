package rpc

import (
	"testing"

	"google.golang.org/grpc/mem"

	"minikv/internal/object"
)

// buffersOf cuts b into buffers of n bytes, as a network would.
func buffersOf(b []byte, n int) mem.BufferSlice {
	var out mem.BufferSlice
	for len(b) > 0 {
		k := min(n, len(b))
		out = append(out, mem.SliceBuffer(b[:k]))
		b = b[k:]
	}
	return out
}

func FuzzFrame(f *testing.F) {
	h := frameHeader{id: blobID(1), epochs: object.Epochs{Cluster: 1, Shard: 2}, offset: 3, total: 400, length: 5, crc: 6}
	var b [frameHeaderLen]byte
	h.put(b[:])
	f.Add(b[:], 7)
	f.Add(append(b[:], 1, 2, 3, 4, 5), 64)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		var in inFrame
		if in.unmarshal(buffersOf(b, max(n, 1))) != nil {
			return
		}
		var again [frameHeaderLen]byte
		in.put(again[:])
		if [frameHeaderLen]byte(b[:frameHeaderLen]) != again {
			t.Fatalf("%x was read as %x", b[:frameHeaderLen], again)
		}
		list, err := in.appendTo(nil)
		got := 0
		for _, p := range list {
			got += len(p)
		}
		if got != len(b)-frameHeaderLen || got != int(in.length) || (err == nil) != (checksum(b[frameHeaderLen:]) == in.crc) {
			t.Fatalf("%d bytes of %d, %v", got, len(b), err)
		}
	})
}
