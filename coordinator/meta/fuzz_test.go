package meta

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/proto/metapb"
)

// FuzzDecodeEntry feeds entries to the decoder and, when they decode, to a machine with some rows: it must refuse or apply,
// never panic nor find its own rows broken.
func FuzzDecodeEntry(f *testing.F) {
	h := newHarness(f, 1)
	b := h.bucket("photos")
	u := h.upload(b, "f", 0, 0)
	u.part(1, "one", 5)
	h.put(b, "a", 5)
	for _, c := range []*metapb.Command{
		h.first(), tick(1), createBucket("x", "y"), putCommand(b, "k", newObject("x", 5), h.written(5), &metapb.Conditions{IfNoneMatchAny: true}),
		deleteCommand(b, &metapb.DeleteKey{Key: "a"}), copyCommand(copyOp(b, "a", "c")), batchCommand(b, h.batchPut("k", 5, nil), batchGet("a"), batchDelete("a")),
		createUpload(b, "g"), u.partCommand(2, "two", h.written(5)), completeCommand(u.complete()), u.abort(),
		{Op: &metapb.Command_ReleaseParts{ReleaseParts: &metapb.ReleaseParts{QueueKey: queuePosition(1, 0)}}},
		{Op: &metapb.Command_OpenSession{OpenSession: &metapb.OpenSession{Id: make([]byte, idLen)}}},
	} {
		raw, err := EncodeEntry(nil, &metapb.Entry{Level: Level, Commands: []*metapb.Command{h.stamped(c)}})
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := DecodeEntry(raw)
		if err != nil {
			return
		}
		again, err := EncodeEntry(nil, e)
		require.NoError(t, err)
		back, err := DecodeEntry(again)
		require.NoError(t, err)
		third, err := EncodeEntry(nil, back)
		require.NoError(t, err)
		require.True(t, bytes.Equal(again, third), "encoding is not stable")
		if CheckEntry(e) != nil {
			return
		}
		m, err := New(h.db)
		require.NoError(t, err)
		batch := h.db.NewBatch()
		rs, err := m.Apply(batch, h.index+1, e)
		require.NoError(t, err)
		require.Len(t, rs, len(e.Commands))
		require.NoError(t, batch.Close())
	})
}
