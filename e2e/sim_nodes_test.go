package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"minikv/gateway/objects"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/metaclient"
	"minikv/internal/object"
	"minikv/proto/metapb"
	"minikv/volume"

	hist "minikv/e2e/history"
)

// simMeta finds the coordinator that leads, for one node. As internal/rpc's client it turns to another one only when nothing was
// proposed for sure.
type simMeta struct {
	s    *sim
	from string

	mu   sync.Mutex // guards guess
	last int        // the coordinator that answered last
}

var _ metaclient.Coordinator = (*simMeta)(nil)

func (m *simMeta) at(n int) (*simCoord, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := (m.last + n) % simNodes
	return m.s.coords[simName("c", i)], i
}

func (m *simMeta) answered(i int) {
	m.mu.Lock()
	m.last = i
	m.mu.Unlock()
}

// Propose is metaclient.Coordinator's.
func (m *simMeta) Propose(ctx context.Context, cmd *metapb.Command) (res *metapb.Result, err error) {
	for n := range simNodes {
		c, i := m.at(n)
		var sent bool
		sent, err = m.s.call(ctx, m.from, c.name, func() error {
			coord := c.now()
			if coord == nil {
				return errs.E("sim", errs.NotProposed, "down")
			}
			res, err = coord.Propose(ctx, cmd)
			return err
		})
		switch {
		case err == nil:
			m.answered(i)
			return res, nil
		case sent && err == errLost:
			return nil, errs.WrapKind("sim.Propose", errs.IndeterminateResult, err)
		case !sent || errs.Is(err, errs.NotLeader) || errs.Is(err, errs.NotProposed):
			err = errs.WrapKind("sim.Propose", errs.NotProposed, err)
		default:
			return nil, err
		}
	}
	return nil, err
}

// Read is metaclient.Coordinator's.
func (m *simMeta) Read(ctx context.Context, q *metapb.Query) (a *metapb.Answer, err error) {
	for n := range simNodes {
		c, i := m.at(n)
		_, err = m.s.call(ctx, m.from, c.name, func() error {
			coord := c.now()
			if coord == nil {
				return errLost
			}
			a, err = coord.Read(ctx, q)
			return err
		})
		if err == nil {
			m.answered(i)
			return a, nil
		}
	}
	return nil, err
}

// simRuns answers a volume's collector.
type simRuns struct{ m *simMeta }

func (r simRuns) RunStates(ctx context.Context, bases []object.RunBase) ([]object.RunState, uint64, error) {
	q := &metapb.RunStatesQuery{}
	for i := range bases {
		q.Bases = append(q.Bases, bases[i][:])
	}
	a, err := r.m.Read(ctx, &metapb.Query{Q: &metapb.Query_RunStates{RunStates: q}})
	if err != nil {
		return nil, 0, err
	}
	out := make([]object.RunState, len(bases))
	for i, st := range a.GetRunStates().GetStates() {
		out[i].Life = []object.RunLife{object.RunNone, object.RunDying, object.RunAlive}[st.State]
		for _, c := range st.Ranges {
			out[i].Ranges = append(out[i].Ranges, object.CounterRange{First: c.First, Count: c.Count})
		}
	}
	return out, a.GetRunStates().GetHorizon(), nil
}

// simBlobs is the volumes as a coordinator deletes on them.
type simBlobs struct {
	s    *sim
	from string
}

func (b simBlobs) Delete(ctx context.Context, number uint32, ids ...object.BlobID) error {
	return b.s.vols[number].ask(ctx, b.from, func(v *volume.Server) error { return v.Delete(ctx, ids...) })
}

// simVolumes is the volumes as a gateway sees them.
type simVolumes struct {
	s    *sim
	from string
}

func (x simVolumes) Volume(number uint32) (objects.Volume, bool) {
	v := x.s.vols[number]
	return simVolume{v, x.from}, v != nil
}

type simVolume struct {
	v    *simVol
	from string
}

func (x simVolume) Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (durable bool, err error) {
	var copied [][]byte // a request that is late may be read after its sender has gone on
	for _, d := range data {
		copied = append(copied, bytes.Clone(d))
	}
	var stored bool
	err = x.v.ask(ctx, x.from, func(v *volume.Server) (err error) {
		stored, err = v.Prepare(ctx, id, ep, copied)
		return err
	})
	return stored, err
}

func (x simVolume) Commit(ctx context.Context, ids ...object.BlobID) error {
	return x.v.ask(ctx, x.from, func(v *volume.Server) error { return v.Commit(ctx, ids...) })
}

func (x simVolume) Abort(ctx context.Context, ids ...object.BlobID) error {
	return x.v.ask(ctx, x.from, func(v *volume.Server) error { return v.Abort(ctx, ids...) })
}

func (x simVolume) ReadAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (n int, err error) {
	err = x.v.ask(ctx, x.from, func(v *volume.Server) error {
		n, err = v.ReadAt(ctx, id, dst, off)
		return err
	})
	return n, err
}

// simGate is a gateway without a front door.
type simGate struct {
	meta *metaclient.Client
	objs *objects.Objects
	row  *metapb.BucketRow
}

const simBucket = "histories"

// openGate waits for the cluster, and makes the bucket if it is the first.
func openGate(s *sim, name string) (*simGate, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := metaclient.New(ctx, &simMeta{s: s, from: name}, metaclient.Config{RetryFor: time.Second, RenewEvery: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	g := &simGate{meta: m, objs: objects.New(m, simVolumes{s, name}, objects.Options{BudgetBytes: 16 << 20})}
	if _, err = g.objs.CreateBucket(ctx, &metapb.CreateBucket{Name: simBucket, Owner: "o"}); err != nil && !errs.Is(err, errs.BucketOwned) {
		return g, err
	}
	g.row, err = g.objs.Bucket(ctx, simBucket)
	return g, err
}

func (g *simGate) close() {
	g.objs.Close()
	_ = g.meta.Close()
}

var _ hist.Store = (*simStore)(nil)

// simStore is a gateway as a client of histories uses it.
type simStore struct{ g *simGate }

func (x simStore) scope() objects.Scope { return objects.Scope{Bucket: objects.RefOf(x.g.row)} }

// outcome says what an error tells of the state.
func (simStore) outcome(err error) error {
	switch errs.KindOf(err) {
	case errs.Precondition:
		return fmt.Errorf("%w: %w", hist.ErrPrecondition, err)
	case errs.NoSuchKey:
		return fmt.Errorf("%w: %w", hist.ErrAbsent, err)
	}
	return err
}

func tagOf(row *metapb.ObjectRow) string {
	e := digest.ETag{Parts: row.EtagParts}
	copy(e.Sum[:], row.Etag)
	return e.String()
}

func conditionsOf(c hist.Condition) *metapb.Conditions {
	switch c.When {
	case hist.IfAbsent:
		return &metapb.Conditions{IfNoneMatchAny: true}
	case hist.IfMatch:
		return &metapb.Conditions{IfMatch: []string{c.ETag}}
	}
	return nil
}

func (x simStore) Get(ctx context.Context, key string) (hist.Object, error) {
	obj, rd, err := x.g.objs.Open(ctx, objects.GetRequest{Bucket: simBucket, Key: object.Key(key), WantBody: true},
		func(o *objects.Object) (uint64, uint64, error) { return 0, o.Size, nil })
	if err != nil {
		return hist.Object{}, x.outcome(err)
	}
	if rd != nil {
		defer func() { _ = rd.Close() }()
	}
	if obj.Row == nil {
		return hist.Object{}, hist.ErrAbsent
	}
	body, err := io.ReadAll(rd)
	return hist.Object{Key: key, ETag: tagOf(obj.Row), Body: body}, err
}

func (x simStore) Head(ctx context.Context, key string) (hist.Object, error) {
	obj, err := x.g.objs.Stat(ctx, objects.GetRequest{Bucket: simBucket, Key: object.Key(key)})
	if err != nil {
		return hist.Object{}, x.outcome(err)
	}
	if obj.Row == nil {
		return hist.Object{}, hist.ErrAbsent
	}
	return hist.Object{Key: key, ETag: tagOf(obj.Row)}, nil
}

func (x simStore) Put(ctx context.Context, key string, body []byte, c hist.Condition) error {
	_, err := x.g.objs.Put(ctx, objects.PutRequest{
		Scope: x.scope(), Key: object.Key(key), Owner: "o", Conditions: conditionsOf(c),
		Body: objects.Body{Reader: bytes.NewReader(body), Size: int64(len(body))},
	})
	return x.outcome(err)
}

func (x simStore) Delete(ctx context.Context, key string, c hist.Condition) error {
	cond := conditionsOf(c)
	res, err := x.g.objs.Delete(ctx, x.scope(), []*metapb.DeleteKey{{Key: key, Conditions: cond, Strict: cond != nil}})
	if err != nil {
		return x.outcome(err)
	}
	if r := res.Results[0]; r.Failed {
		return x.outcome(errs.E("sim", errs.Kind(r.Kind), "%s", r.Message))
	}
	return nil
}

func (x simStore) Copy(ctx context.Context, from, to string) error {
	_, err := x.g.objs.Copy(ctx, objects.CopyRequest{
		Scope: x.scope(), Key: object.Key(to), Owner: "o", Source: objects.CopySource{Scope: x.scope(), Key: object.Key(from)},
	})
	return x.outcome(err)
}

func (x simStore) List(ctx context.Context, prefix, after string, limit int) (hist.Page, error) {
	page, err := x.g.objs.List(ctx, &metapb.ListObjectsQuery{Bucket: simBucket, Prefix: prefix, After: after, Limit: uint32(limit)})
	if err != nil {
		return hist.Page{}, x.outcome(err)
	}
	p := hist.Page{More: page.Truncated}
	for _, e := range page.Entries {
		p.Objects = append(p.Objects, hist.Object{Key: e.Key, ETag: tagOf(e.Row)})
	}
	return p, nil
}

func (x simStore) Batch(ctx context.Context, ops []hist.BatchOp) ([]hist.BatchResult, error) {
	in := make([]objects.BatchOp, len(ops))
	for i, o := range ops {
		in[i] = objects.BatchOp{Key: object.Key(o.Key), Conditions: conditionsOf(o.Cond), Delete: o.Kind == hist.Delete, Get: o.Kind == hist.Get}
		if o.Kind == hist.Put {
			in[i].Put = &objects.BatchPut{Value: o.Body, Owner: "o"}
		}
	}
	res, err := x.g.objs.Batch(ctx, x.scope(), in)
	if errs.Is(err, errs.NoSuchKey) {
		return nil, fmt.Errorf("%w: %w", hist.ErrPrecondition, err)
	}
	if err != nil {
		return nil, x.outcome(err)
	}
	var out []hist.BatchResult
	for i, r := range res.Results {
		b := hist.BatchResult{Object: hist.Object{Key: ops[i].Key}}
		if ops[i].Kind != hist.Put {
			b.Found = map[bool]hist.Found{true: hist.Yes, false: hist.No}[r.Found]
		}
		if r.Row != nil {
			b.Object.ETag = tagOf(r.Row)
		}
		out = append(out, b)
	}
	return out, nil
}
