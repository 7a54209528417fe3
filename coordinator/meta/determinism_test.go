package meta

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// world draws commands that a busy cluster would see, sensible or not.
type world struct {
	h       *harness
	buckets []*metapb.BucketRef
	uploads []*upload
	gate    []*gateway
	past    []*metapb.Command
}

func (w *world) command(t *rapid.T) *metapb.Command {
	h := w.h
	b := rapid.SampledFrom(w.buckets).Draw(t, "bucket")
	key := rapid.SampledFrom([]string{"a", "b", "dir/a", "dir/b"}).Draw(t, "key")
	size := rapid.SampledFrom([]uint64{0, 3, testBlobSize + 1}).Draw(t, "size")
	u := rapid.SampledFrom(w.uploads).Draw(t, "upload")
	cond := rapid.SampledFrom([]*metapb.Conditions{nil, nil, {IfNoneMatchAny: true}, {IfMatchAny: true}}).Draw(t, "conditions")
	cond = proto.Clone(cond).(*metapb.Conditions)
	switch rapid.IntRange(0, 12).Draw(t, "op") {
	case 0, 1:
		return putCommand(b, key, newObject(key, size), h.written(size), cond)
	case 2:
		return deleteCommand(b, &metapb.DeleteKey{Key: key, Conditions: cond, Strict: size > 0}, &metapb.DeleteKey{Key: "a"})
	case 3:
		return copyCommand(copyOp(b, key, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "to")))
	case 4:
		return batchCommand(b, h.batchPut(key, size, cond), batchGet("a"), batchDelete("b"))
	case 5:
		return u.partCommand(rapid.Uint32Range(1, 3).Draw(t, "number"), key, h.written(size))
	case 6:
		op := u.complete()
		for n := uint32(1); n <= 3; n++ {
			sum := fmt.Sprintf("%x", newObject(key, 0).Etag)
			if rapid.Bool().Draw(t, "named") {
				op.Parts = append(op.Parts, &metapb.CompletePart{Number: n, Etag: sum})
			}
		}
		return completeCommand(op)
	case 7:
		return u.abort()
	case 8:
		return tick(rapid.Uint64Range(1, 4).Draw(t, "epoch"))
	case 9:
		src := &metapb.ObjectRow{Version: make([]byte, versionLen)}
		q := &metapb.GetObjectQuery{Bucket: b.Name, Key: key}
		if a, err := h.m.Read(&metapb.Query{Q: &metapb.Query_GetObject{GetObject: q}}); err == nil && a.GetGetObject().Row != nil {
			src = a.GetGetObject().Row
		}
		return &metapb.Command{Op: &metapb.Command_CopyPart{CopyPart: &metapb.CopyPart{
			Upload: u.ref, Number: 2, Source: &metapb.Source{Bucket: b, Key: key, Expect: src.Version}, Offset: src.Size / 2,
			Length: src.Size - src.Size/2, Etag: newObject(key, 0).Etag, Checksums: []*metapb.Checksum{crc64(key)},
		}}}
	case 10:
		return &metapb.Command{Op: &metapb.Command_DeleteBucket{DeleteBucket: &metapb.DeleteBucket{Bucket: b}}}
	case 11:
		return createBucket(b.Name, "alice")
	default:
		if q := h.queue(); len(q) > 0 {
			e := q[len(q)-1]
			if e.Row.Run != nil {
				return &metapb.Command{Op: &metapb.Command_CollectRuns{CollectRuns: &metapb.CollectRuns{QueueKeys: [][]byte{e.Key}}}}
			}
			return &metapb.Command{Op: &metapb.Command_ReleaseParts{ReleaseParts: &metapb.ReleaseParts{QueueKey: e.Key, Limit: 1}}}
		}
		return createUpload(b, key)
	}
}

// send gives a command to a session, none, or repeats an old one.
func (w *world) send(t *rapid.T) *metapb.Command {
	if len(w.past) > 0 && rapid.IntRange(0, 9).Draw(t, "again") == 0 {
		return rapid.SampledFrom(w.past).Draw(t, "past")
	}
	c := proto.Clone(w.h.stamped(w.command(t))).(*metapb.Command)
	if g := rapid.SampledFrom(append(w.gate, nil)).Draw(t, "session"); g != nil {
		g.next(c)
		g.lowest = max(g.lowest, g.sequence-min(g.sequence, rapid.Uint64Range(0, 5).Draw(t, "outstanding")))
	}
	w.past = append(w.past, c)
	return c
}

// Replicas that get the same entries have the same rows and give the same answers, however they group entries in batches and
// whenever they start anew. References, queue and counters agree with a count of everything, all along.
func TestReplicasAgree(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		h, other := newHarness(rapidTB{tb, t}, 1), emptyHarness(rapidTB{tb, t})
		w := &world{h: h}
		var entries []*metapb.Entry
		var answers [][]*metapb.Result
		send := func(cmds ...*metapb.Command) []*metapb.Result {
			rs := h.apply(cmds...)
			e := proto.Clone(&metapb.Entry{Level: Level, Commands: cmds}).(*metapb.Entry) // references are rebound later
			entries, answers = append(entries, e), append(answers, rs)
			return rs
		}
		entries = append(entries, &metapb.Entry{Level: Level, Commands: []*metapb.Command{h.first()}})
		answers = append(answers, nil)
		for i := range 2 {
			r := send(h.stamped(createBucket(fmt.Sprint("b", i), "alice")))[0].GetBucket()
			w.buckets = append(w.buckets, &metapb.BucketRef{Name: r.Name, Id: r.Id})
			up := send(h.stamped(createUpload(w.buckets[i], "dir/a")))[0].GetUpload()
			w.uploads = append(w.uploads, &upload{h: h, ref: &metapb.UploadRef{Bucket: w.buckets[i], Key: "dir/a", UploadId: up.Id}})
			g := &gateway{h: h, id: append(make([]byte, idLen-1), byte(i)), lowest: 1}
			send(h.stamped(&metapb.Command{Op: &metapb.Command_OpenSession{OpenSession: &metapb.OpenSession{Id: g.id}}}))
			w.gate = append(w.gate, g)
		}
		for range rapid.IntRange(1, 40).Draw(t, "entries") {
			var cmds []*metapb.Command
			for range rapid.IntRange(1, 4).Draw(t, "commands") {
				cmds = append(cmds, w.send(t))
			}
			for i, r := range send(cmds...) {
				if b := r.GetBucket(); b != nil && !r.Failed {
					w.rebind(b)
				}
				if up := r.GetUpload(); up != nil && !r.Failed {
					ref := cmds[i].GetCreateUpload().Bucket
					w.uploads = append(w.uploads, &upload{h: h, ref: &metapb.UploadRef{Bucket: ref, Key: up.Key, UploadId: up.Id}})
				}
			}
			audit(t, h)
		}
		other.replay(t, entries, answers)
		if h.hash() != other.hash() {
			t.Fatal("replicas differ")
		}
	})
}

func (w *world) rebind(b *metapb.BucketRow) {
	for _, ref := range w.buckets {
		if ref.Name == b.Name {
			ref.Id = b.Id
		}
	}
}

// first is the command that newHarness applied.
func (h *harness) first() *metapb.Command {
	return &metapb.Command{
		Level: Level, TimeMs: testTime, Seed: append(make([]byte, 15), 1), Op: &metapb.Command_CreateCluster{CreateCluster: testCluster(1)},
	}
}

// replay applies entries in groups of random size, starting anew now and then.
func (h *harness) replay(t *rapid.T, entries []*metapb.Entry, answers [][]*metapb.Result) {
	for i := 0; i < len(entries); {
		b := h.db.NewBatch()
		for n := rapid.IntRange(1, 5).Draw(t, "group"); n > 0 && i < len(entries); n-- {
			rs, err := h.m.Apply(b, uint64(i+1), entries[i])
			require.NoError(t, err)
			for j, r := range answers[i] {
				require.True(t, proto.Equal(r, rs[j]), "entry %d command %d: %v and %v", i, j, r, rs[j])
			}
			i++
		}
		require.NoError(t, b.SetApplied(uint64(i), 1))
		require.NoError(t, b.Commit())
		if rapid.Bool().Draw(t, "restart") {
			h.reopen()
		}
	}
}

// audit counts everything.
func audit(t *rapid.T, h *harness) {
	runs, bodies := make(map[string]uint64), make(map[string]uint64)
	var objects, bytes uint64
	each := func(table byte, f func(k, v []byte)) {
		require.NoError(t, scanTable(h.db, []byte{table}, func(k, v []byte) (bool, error) {
			f(k, v)
			return true, nil
		}))
	}
	each(tableObjects, func(_, v []byte) {
		row := new(metapb.ObjectRow)
		require.NoError(t, decodeRow(v, row))
		objects, bytes = objects+1, bytes+row.Size
		if row.Run != nil {
			runs[string(row.Run.Base)]++
		}
		if len(row.BodyId) > 0 {
			bodies[string(row.BodyId)]++
		}
	})
	each(tableParts, func(_, v []byte) {
		row := new(metapb.PartRow)
		require.NoError(t, decodeRow(v, row))
		for _, s := range row.Slices {
			runs[string(s.Run.Base)]++
		}
	})
	queuedRuns := make(map[string]bool)
	each(tableQueue, func(_, v []byte) {
		row := new(metapb.QueueRow)
		require.NoError(t, decodeRow(v, row))
		if row.Run != nil {
			queuedRuns[string(row.Run.Base)] = true
		}
	})
	found := 0
	each(tableRuns, func(k, v []byte) {
		row := new(metapb.RunRow)
		require.NoError(t, decodeRow(v, row))
		require.Equal(t, runs[string(k[1:])], row.References, "M3, M4")
		require.Equal(t, row.References == 0, queuedRuns[string(k[1:])], "M3")
		if row.References > 0 {
			found++
		}
	})
	require.Equal(t, len(runs), found, "M4")
	each(tableBodies, func(k, v []byte) {
		row := new(metapb.BodyRow)
		require.NoError(t, decodeRow(v, row))
		require.Equal(t, bodies[string(k[1:])], row.References, "M4")
		delete(bodies, string(k[1:]))
	})
	require.Empty(t, bodies, "M4")
	s := h.stats()
	require.Equal(t, []uint64{objects, bytes, uint64(h.rows(tableQueue)), uint64(h.rows(tableUploads)), uint64(h.rows(tableBuckets)), uint64(h.rows(tableSessions))},
		[]uint64{s.Objects, s.Bytes, s.Queued, s.Uploads, s.Buckets, s.Sessions})
}

func TestUnknownLevelOrFieldStopsApply(t *testing.T) { // M7
	for name, edit := range map[string]func(*metapb.Entry){
		"entry level":   func(e *metapb.Entry) { e.Level = Level + 1 },
		"no level":      func(e *metapb.Entry) { e.Level = 0 },
		"command level": func(e *metapb.Entry) { e.Commands[1].Level = Level + 1 },
		"entry field":   func(e *metapb.Entry) { e.ProtoReflect().SetUnknown([]byte{0xF8, 0x7F, 1}) },
		"command field": func(e *metapb.Entry) { e.Commands[1].ProtoReflect().SetUnknown([]byte{0xF8, 0x7F, 1}) },
		"deep field": func(e *metapb.Entry) {
			e.Commands[1].GetPutObject().Written.Run.Ranges[0].ProtoReflect().SetUnknown([]byte{0xF8, 0x7F, 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, 1)
			b := h.bucket("photos")
			before := h.hash()
			e := &metapb.Entry{Level: Level, Commands: []*metapb.Command{
				h.stamped(createBucket("x", "alice")), h.stamped(putCommand(b, "k", newObject("x", 5), h.written(5), nil)),
			}}
			edit(e)
			raw, err := EncodeEntry(nil, e)
			require.NoError(t, err)
			e, err = DecodeEntry(raw)
			require.NoError(t, err)
			batch := h.db.NewBatch()
			_, err = h.m.Apply(batch, h.index+1, e)
			require.Equal(t, errs.Unsupported, errs.KindOf(err))
			require.NoError(t, batch.Close())
			require.Equal(t, before, h.hash())
			_, err = h.m.Apply(h.db.NewBatch(), h.index+1, &metapb.Entry{Level: Level})
			require.Error(t, err, "it must not go on")
		})
	}
}

func TestEmptyCommandIsRefused(t *testing.T) {
	h := newHarness(t, 1)
	h.refused(errs.Invalid, &metapb.Command{})
}
