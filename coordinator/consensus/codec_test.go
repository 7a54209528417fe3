package consensus

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
)

func encode(t testing.TB, l *raft.Log) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, codec{}.Encode(l, &b))
	return b.Bytes()
}

// TestCodecGolden holds version 1 of the layout.
func TestCodecGolden(t *testing.T) {
	l := &raft.Log{Index: 0x0102, Term: 3, Type: raft.LogConfiguration, Data: []byte("data"), Extensions: []byte("x"), AppendedAt: time.Unix(0, 0x0a0b)}
	const want = "0105" + "0000000000000102" + "0000000000000003" + "0000000000000a0b" + "00000004" + "00000001" + "64617461" + "78" + "774f9a1b"
	if got := hex.EncodeToString(encode(t, l)); got != want {
		t.Fatalf("version 1 is\n%s, not\n%s", got, want)
	}
}

func TestCodecKeepsEveryField(t *testing.T) {
	if n := reflect.TypeFor[raft.Log]().NumField(); n != 6 {
		t.Fatalf("raft.Log has %d fields; the codec knows 6", n)
	}
	rapid.Check(t, func(t *rapid.T) {
		in := raft.Log{
			Index: rapid.Uint64().Draw(t, "index"), Term: rapid.Uint64().Draw(t, "term"),
			Type: raft.LogType(rapid.Uint8().Draw(t, "type")), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
			Extensions: rapid.SliceOf(rapid.Byte()).Draw(t, "extensions"),
		}
		if ns := rapid.Int64().Draw(t, "ns"); ns != 0 {
			in.AppendedAt = time.Unix(0, ns)
		}
		var b bytes.Buffer
		if err := (codec{}).Encode(&in, &b); err != nil {
			t.Fatal(err)
		}
		var out raft.Log
		if err := (codec{}).Decode(b.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		if out.Index != in.Index || out.Term != in.Term || out.Type != in.Type || !bytes.Equal(out.Data, in.Data) ||
			!bytes.Equal(out.Extensions, in.Extensions) || !out.AppendedAt.Equal(in.AppendedAt) {
			t.Fatalf("%+v became %+v", in, out)
		}
	})
}

// TestEveryFlippedBitIsSeen (C1).
func TestEveryFlippedBitIsSeen(t *testing.T) {
	b := encode(t, &raft.Log{Index: 7, Term: 2, Data: []byte("some data"), Extensions: []byte("more")})
	for i := range len(b) * 8 {
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		if err := (codec{}).Decode(bad, new(raft.Log)); !errs.Is(err, errs.Corrupt) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
	for n := range len(b) {
		if err := (codec{}).Decode(b[:n], new(raft.Log)); !errs.Is(err, errs.Corrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

// FuzzRaftLogDecode: what decodes encodes to the same bytes.
func FuzzRaftLogDecode(f *testing.F) {
	f.Add(encode(f, &raft.Log{Index: 1, Term: 1, Data: []byte("x")}))
	f.Add(encode(f, &raft.Log{Index: 9, Term: 1, Type: raft.LogNoop, AppendedAt: time.Unix(1, 0)}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var l raft.Log
		if (codec{}).Decode(b, &l) != nil {
			return
		}
		if again := encode(t, &l); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes as %x", b, again)
		}
	})
}

// FuzzEntryDecode: no bytes make the command decoder panic, and what decodes survives another round.
func FuzzEntryDecode(f *testing.F) {
	p := newProposer(nil, func() bool { return true }, func() time.Time { return time.UnixMilli(5) }, nil)
	defer p.close(0)
	raw, err := encodeCommand(sizedCommand("key", 10))
	must(f, err)
	f.Add(p.encodeEntry([]*proposal{{raw: raw}}))
	f.Add([]byte{0x08, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := meta.DecodeEntry(b)
		if err != nil {
			return
		}
		if meta.CheckEntry(e) != nil {
			return
		}
		again, err := meta.EncodeEntry(nil, e)
		must(t, err)
		if _, err := meta.DecodeEntry(again); err != nil {
			t.Fatal(err)
		}
	})
}
