package payload

import (
	"context"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of the search for a place.
const (
	staleTriesMax = 3  // shard table refreshes for one blob
	skipRoundsMax = 64 // counters looked at per shard of the table
)

// attempt is one try to get a blob written: an id on the replicas of its shard.
type attempt struct {
	w   *Write
	b   *blob
	id  object.BlobID
	t   table
	row *metapb.ShardRow
	old *attempt // under the same id, by an older table; nil: none

	epoch uint64 // the cluster's that it is prepared under

	verdict chan error // once; nil: written

	// Guarded by w.mu.
	lanes     []*lane
	confirmed []uint32 // volumes that have it
	doubtful  []uint32 // volumes that may have it
	pending   []uint32
	err       error // the worst so far
	decided   bool
	written   bool
	stray     bool // another attempt with another id took its place

	room struct { // for three replicas
		lanes              [3]*lane
		confirmed, pending [3]uint32
	}
}

// place finds a write quorum for a blob, beginning with a first attempt. Counters must ascend along the body, so a blob that was
// placed keeps its bytes until every blob before it has settled; if one of those had to move to a higher counter, it moves too.
func (w *Write) place(ctx context.Context, a *attempt) {
	b := a.b
	defer b.unref()
	defer close(b.settled)
	for {
		var err error
		if a, err = w.settle(ctx, b, a); err != nil {
			w.fail(err)
			return
		}
		if b.before == nil {
			return
		}
		<-b.before.settled
		w.mu.Lock()
		again := w.err == nil && a.id.Counter() < w.attempts[b.index-1].id.Counter()
		w.mu.Unlock()
		if !again {
			b.before = nil // lets go of the chain
			return
		}
		a.abandon()
	}
}

// settle gets the blob written, going on to other counters when a shard cannot be written. It gives the attempt that succeeded.
func (w *Write) settle(ctx context.Context, b *blob, a *attempt) (*attempt, error) {
	for stale := 0; ; {
		t, err := tableOf(w.s.place.Layout())
		if err != nil {
			return nil, err
		}
		if a.isStray() {
			if a, err = w.choose(t, b); err != nil {
				return nil, err
			}
		}
		if err = a.run(ctx); err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		switch errs.KindOf(err) {
		case errs.StaleShardEpoch:
			if stale++; stale > staleTriesMax {
				return nil, errs.WrapKind("payload.place", errs.Unavailable, err)
			}
			if t, err = w.refreshed(ctx); err != nil {
				return nil, err
			}
			a = w.newAttempt(t, b, a.id, a) // the same bytes under the same id
		case errs.StaleEpoch: // our layout was older than the horizon
			if t, rerr := w.refreshed(ctx); rerr == nil && w.rebase(t) {
				a = w.newAttempt(t, b, a.id, a)
				continue
			}
			return nil, errs.WrapKind("payload.place", errs.Unavailable, err) // the client's retry has a newer one
		default:
			a.abandon()
		}
	}
}

// rebase moves the write to a newer epoch, so that an old layout costs no request. Only before any volume has or may have a
// blob of it: those are told apart from orphans by the first epoch. False when that is not so, or nothing is newer.
func (w *Write) rebase(t table) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.attempts) != 1 || t.epoch() <= w.epoch {
		return false
	}
	for a := w.attempts[0]; a != nil; a = a.old {
		if len(a.confirmed)+len(a.doubtful)+len(a.pending) > 0 {
			return false
		}
	}
	w.epoch = t.epoch()
	return true
}

func (w *Write) refreshed(ctx context.Context) (table, error) {
	if err := w.s.place.RefreshLayout(ctx); err != nil {
		return table{}, errs.WrapKind("payload.place", errs.Unavailable, err)
	}
	return tableOf(w.s.place.Layout())
}

// choose takes the next counter whose shard can be written, as far as this write knows.
func (w *Write) choose(t table, b *blob) (*attempt, error) {
	w.mu.Lock()
	for range skipRoundsMax * len(t.l.Shards) {
		id := w.base.Blob(w.counter)
		if w.counter++; w.counter >= object.CountersMax {
			break
		}
		row := t.shard(id)
		if t.written(row, func(v uint32) bool { return w.lane(v).bad == nil }) {
			w.mu.Unlock()
			return w.newAttempt(t, b, id, nil), nil
		}
	}
	defer w.mu.Unlock()
	return nil, w.noQuorum()
}

// noQuorum says why no shard can be written. The caller holds mu.
func (w *Write) noQuorum() error {
	const op = "payload.place"
	var worst error
	for _, l := range w.lanes {
		switch {
		case l.bad == nil:
		case errs.Is(l.bad, errs.StorageFull):
			return errs.Wrap(op, l.bad)
		default:
			worst = l.bad
		}
	}
	if worst == nil {
		return errs.E(op, errs.Unavailable, "no shard has a write quorum of volumes")
	}
	return errs.WrapKind(op, errs.Unavailable, worst)
}

// lane is the write's way to a volume; a volume that is not there is bad from the start. The caller holds mu.
func (w *Write) lane(number uint32) *lane {
	for _, l := range w.lanes {
		if l.number == number {
			return l
		}
	}
	l := &lane{number: number, ctx: w.ctx, cancel: func() {}}
	v, ok := w.s.place.Volume(number)
	if !ok {
		l.bad = errs.E("payload.place", errs.Unavailable, "volume %d is not reachable", number)
	}
	l.volume = v
	if w.t.several() && ok {
		l.ctx, l.cancel = context.WithCancel(w.ctx)
	}
	w.lanes = append(w.lanes, l)
	return l
}

// newAttempt makes the blob's next attempt, on every usable replica of its shard.
func (w *Write) newAttempt(t table, b *blob, id object.BlobID, old *attempt) *attempt {
	a := &attempt{w: w, b: b, id: id, t: t, row: t.shard(id), old: old, verdict: make(chan error, 1)}
	a.lanes, a.confirmed, a.pending = a.room.lanes[:0], a.room.confirmed[:0], a.room.pending[:0]
	w.mu.Lock()
	defer w.mu.Unlock()
	a.epoch = w.epoch
	for _, v := range writers(make([]uint32, 0, 4), a.row) {
		if l := w.lane(v); l.bad == nil {
			a.lanes = append(a.lanes, l)
			a.pending = append(a.pending, v)
			l.pending++
		}
	}
	if b.index == len(w.attempts) {
		w.attempts = append(w.attempts, nil)
	}
	w.attempts[b.index] = a
	w.outstanding += len(a.lanes)
	b.refs += len(a.lanes)
	return a
}

// run prepares the blob everywhere at once and waits for the verdict; replicas that are late go on alone.
func (a *attempt) run(ctx context.Context) error {
	switch len(a.lanes) {
	case 0:
		return errs.E("payload.place", errs.Unavailable, "no replica of shard %d is reachable", a.row.Shard)
	case 1:
		a.prepare(a.lanes[0])
	default:
		for _, l := range a.lanes {
			a.w.s.wg.Go(func() { a.prepare(l) })
		}
	}
	select {
	case err := <-a.verdict:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *attempt) prepare(l *lane) {
	ctx, cancel := context.WithTimeout(l.ctx, a.w.s.opt.VolumeTimeout)
	durable, err := l.volume.Prepare(ctx, a.id, object.Epochs{Cluster: a.epoch, Shard: a.row.Epoch}, a.b.data)
	cancel()
	if err == nil && a.t.durable && !durable {
		err = errs.E("payload.place", errs.Unavailable, "volume %d did not sync", l.number)
	}
	if err != nil && l.ctx.Err() == nil {
		a.w.s.report(l.number, a.id, err)
	}
	a.finish(l, err)
}

// finish takes one replica's answer.
func (a *attempt) finish(l *lane, err error) {
	w, b := a.w, a.b
	w.mu.Lock()
	l.pending--
	if a.written {
		l.lag -= int64(b.size)
	}
	a.pending = remove(a.pending, l.number)
	a.take(l, err)
	if !a.decided {
		a.judge()
	}
	b.refs--
	release := b.refs == 0
	w.outstanding--
	if w.outstanding == 0 && w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
	w.mu.Unlock()
	if release {
		b.release()
	}
}

// take books an answer. The caller holds w.mu.
func (a *attempt) take(l *lane, err error) {
	if err == nil {
		a.confirmed = append(a.confirmed, l.number)
		a.hint(l.number)
		return
	}
	switch errs.KindOf(err) {
	case errs.StaleShardEpoch, errs.StaleEpoch:
		a.err = err
		return
	case errs.StorageFull:
	default:
		a.doubtful = append(a.doubtful, l.number)
		if a.aborting() {
			a.w.s.hints.add(l.number, a.id, true)
		}
	}
	if l.bad == nil {
		l.bad = err
	}
	if a.err == nil {
		a.err = err
	}
}

// judge decides as soon as the answers allow it. The caller holds w.mu.
func (a *attempt) judge() {
	if a.t.written(a.row, func(v uint32) bool { return contains(a.confirmed, v) }) {
		a.decided, a.written = true, true
		a.verdict <- nil
		a.chargeLag()
		return
	}
	if len(a.pending) > 0 && errs.Is(a.err, errs.StaleEpoch) {
		return // rebase needs to know of all
	}
	if !a.t.written(a.row, func(v uint32) bool { return contains(a.confirmed, v) || contains(a.pending, v) }) {
		if a.err == nil {
			a.err = errs.E("payload.place", errs.Unavailable, "too few replicas of shard %d are reachable", a.row.Shard)
		}
		a.decided = true
		a.verdict <- a.err
	}
}

// chargeLag counts the blob against the replicas that are behind, and drops those too far behind. The caller holds w.mu.
func (a *attempt) chargeLag() {
	for _, l := range a.lanes {
		if !contains(a.pending, l.number) {
			continue
		}
		if l.lag += int64(a.b.size); l.lag > lagBytesMax {
			a.w.drop(l)
		}
	}
}

// drop gives up a replica that is behind. The caller holds mu.
func (w *Write) drop(l *lane) {
	if l.bad != nil {
		return
	}
	l.bad = errs.E("payload.place", errs.Timeout, "volume %d is %d bytes behind", l.number, l.lag)
	w.s.suspect(l.number)
	w.s.report(l.number, object.BlobID(w.base), l.bad)
	l.cancel()
}

// relieve drops the replicas that are behind at all: they hold memory that the write itself waits for.
func (w *Write) relieve() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lanes {
		if l.lag > 0 {
			w.drop(l)
		}
	}
}

// abandon gives up the id; what has it or gets it is told to drop it, as no proposal will carry it.
func (a *attempt) abandon() {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	for o := a; o != nil; o = o.old {
		o.stray = true
	}
	a.hintAll()
}

func (a *attempt) isStray() bool {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	return a.stray
}

func (a *attempt) aborting() bool { return a.stray || a.w.end == aborted }

// hint tells a volume that has the blob what became of it, if that is known. The caller holds w.mu.
func (a *attempt) hint(volume uint32) {
	if a.aborting() || a.w.end == committed {
		a.w.s.hints.add(volume, a.id, a.aborting())
	}
}

// hintAll tells every volume that has it or, to abort, may have it. The caller holds w.mu.
func (a *attempt) hintAll() {
	for ; a != nil; a = a.old {
		for _, v := range a.confirmed {
			a.hint(v)
		}
		for _, v := range a.doubtful {
			if a.aborting() {
				a.hint(v)
			}
		}
	}
}

func remove(s []uint32, v uint32) []uint32 {
	for i, x := range s {
		if x == v {
			return append(s[:i], s[i+1:]...)
		}
	}
	return s
}
