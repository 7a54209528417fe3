package repair

import (
	"context"
	"fmt"

	"minikv/coordinator/meta"
	"minikv/coordinator/pace"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Bounds of a verification.
const (
	auditRows   = 500
	strayPage   = 4096
	problemText = 200 // bytes of a row's name
)

// VerifyOptions say how far a verification goes.
type VerifyOptions struct {
	Deep   bool
	Rate   int64 // bytes per second read by a deep one; 0 or less: no limit
	Repair bool  // make missing rows of what is found, so that it is repaired
}

// Problem is one thing that a verification found.
type Problem struct {
	Kind   string // "missing", "damaged", "of another length", "dangling", "checksum"
	Blob   string // of a replica
	Volume uint32 // of a replica
	Text   string // of others
}

// Verified is what a verification found so far.
type Verified struct {
	Phase string // "references", "replicas", "strays"; empty at the end
	Walked
	Objects, Parts int64 // rows that point to bytes
	Dangling       int64 // of them that point to what is not alive
	Sums           int64 // objects whose checksum was compared with all their bytes
	SumsUnread     int64 // objects of which some bytes could not be had, or that were deleted meanwhile
	WrongSums      int64
	Held           int64 // blobs on volumes
	Orphans        int64 // of them of no run: the collector drops them, or they are about to be published
	Dying          int64 // of them deleted, and waiting to go
	Reported       int64 // replicas that will be repaired and were not known before
}

// Sound says that nothing is wrong, as far as it could be seen.
func (v *Verified) Sound() bool {
	return v.Bad == 0 && v.Dangling == 0 && v.WrongSums == 0 && v.Unchecked == 0
}

// Verifier compares metadata with itself and with the volumes.
type Verifier struct {
	Metadata Metadata
	Volumes  Volumes
	Clock    Clock

	o        VerifyOptions
	problem  func(Problem) error
	progress func(Verified) error
	pace     *pace.Pace
	did      Verified
}

// Verify goes through everything once, in bounded memory. problem is told of what is found as it comes, progress now and then; an error of
// theirs ends it.
func (v *Verifier) Verify(ctx context.Context, o VerifyOptions, problem func(Problem) error, progress func(Verified) error) (Verified, error) {
	const op = "repair.Verify"
	v.o, v.problem, v.progress, v.did = o, problem, progress, Verified{}
	v.pace = pace.New(v.Clock, o.Rate)
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{{"references", v.references}, {"replicas", v.replicas}, {"strays", v.strays}} {
		v.did.Phase = phase.name
		if err := phase.run(ctx); err != nil {
			return v.did, errs.Wrap(op, err)
		}
	}
	v.did.Phase = ""
	return v.did, nil
}

// references looks whether all that objects point to is alive, and deep whether whole objects have the checksums they came with.
func (v *Verifier) references(ctx context.Context) error {
	q := &metapb.AuditQuery{Limit: auditRows, Sums: v.o.Deep}
	for {
		a, err := v.Metadata.Read(ctx, &metapb.Query{Q: &metapb.Query_Audit{Audit: q}})
		if err != nil {
			return err
		}
		page := a.GetAudit()
		v.did.Objects += int64(page.GetObjects())
		v.did.Parts += int64(page.GetParts())
		for _, d := range page.GetDangling() {
			v.did.Dangling++
			if err := v.problem(Problem{Kind: "dangling", Text: short(d.Row) + ": " + d.What}); err != nil {
				return err
			}
		}
		for _, s := range page.GetSums() {
			if err := v.sum(ctx, s); err != nil {
				return err
			}
		}
		if err := v.progress(v.did); err != nil {
			return err
		}
		if q.After = page.GetNext(); len(q.After) == 0 {
			return ctx.Err()
		}
	}
}

func short(s string) string { return s[:min(len(s), problemText)] }

// sum compares the checksum of an object with that of all its bytes, each blob from the first replica that has it good.
func (v *Verifier) sum(ctx context.Context, s *metapb.WholeSum) error {
	algorithm := digest.Algorithm(s.Checksum.GetAlgorithm())
	want, err := digest.New(algorithm, s.Checksum.GetValue())
	if err != nil {
		return v.wrongSum(s, err.Error())
	}
	t, err := readTopology(ctx, v.Metadata)
	if err != nil {
		return err
	}
	j, err := digest.NewJoiner(algorithm, digest.FullObject)
	if err != nil {
		return v.wrongSum(s, err.Error())
	}
	for id, length := range blobsOf(s.Run) {
		if err := v.pace.Wait(ctx, int64(length), nil); err != nil {
			return err
		}
		sum, ok := v.blobSum(ctx, t, id, length, algorithm)
		if !ok {
			v.did.SumsUnread++
			return ctx.Err()
		}
		v.did.Bytes += int64(length)
		if err := j.Add(sum, uint64(length)); err != nil {
			return err
		}
	}
	v.did.Sums++
	if got := j.Checksum(); got != want {
		return v.wrongSum(s, fmt.Sprintf("its bytes have %s %s, not %s", algorithm, got, want))
	}
	return nil
}

func (v *Verifier) wrongSum(s *metapb.WholeSum, text string) error {
	v.did.WrongSums++
	return v.problem(Problem{Kind: "checksum", Text: short(s.Row) + ": " + text})
}

func (v *Verifier) blobSum(ctx context.Context, t *topology, id object.BlobID, length uint32, a digest.Algorithm) (digest.Checksum, bool) {
	for _, number := range t.sources(id, 0, anyVolume) {
		call, cancel := context.WithTimeout(ctx, checkMax)
		got, err := v.Volumes.Check(call, t.volumes[number], object.Check{
			IDs: []object.BlobID{id}, Lengths: []uint32{length}, Deep: true, Algorithm: uint8(a),
		})
		cancel()
		if err != nil || len(got.Verdicts) != 1 || got.Verdicts[0] != object.Good || len(got.Sums) != 1 {
			continue
		}
		if sum, err := digest.New(a, got.Sums[0]); err == nil {
			return sum, true
		}
	}
	return digest.Checksum{}, false
}

// replicas walks.
func (v *Verifier) replicas(ctx context.Context) error {
	w := &Walker{Metadata: v.Metadata, Volumes: v.Volumes, Clock: v.Clock, Rate: v.o.Rate}
	read := v.did.Bytes
	_, err := w.Walk(ctx, Scope{Deep: v.o.Deep}, func(bad []Finding) error { return v.found(ctx, bad) }, func(did Walked) error {
		v.did.Walked = did
		v.did.Bytes += read
		return v.progress(v.did)
	})
	return err
}

func (v *Verifier) found(ctx context.Context, bad []Finding) error {
	for _, f := range bad {
		if err := v.problem(Problem{Kind: f.Verdict.String(), Blob: f.Blob.String(), Volume: f.Volume}); err != nil {
			return err
		}
	}
	if !v.o.Repair {
		return nil
	}
	n, err := ReportFindings(ctx, v.Metadata, bad)
	v.did.Reported += int64(n)
	return err
}

// strays counts what volumes hold that is not alive.
func (v *Verifier) strays(ctx context.Context) error {
	t, err := readTopology(ctx, v.Metadata)
	if err != nil {
		return err
	}
	for _, row := range t.Volumes {
		if err := v.straysOf(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

func (v *Verifier) straysOf(ctx context.Context, row *metapb.VolumeRow) error {
	var after object.BlobID
	for {
		call, cancel := context.WithTimeout(ctx, checkMax)
		page, err := v.Volumes.List(call, row, after, strayPage)
		cancel()
		if err != nil {
			return ctx.Err() // it was told as unchecked
		}
		if err := v.countStrays(ctx, page); err != nil {
			return err
		}
		if err := v.progress(v.did); err != nil {
			return err
		}
		if len(page) < strayPage {
			return nil
		}
		after = page[len(page)-1].ID
	}
}

func (v *Verifier) countStrays(ctx context.Context, page []object.BlobInfo) error {
	q := &metapb.RunStatesQuery{}
	place := map[object.RunBase]int{}
	for i := range page {
		base := page[i].ID.Run()
		if _, ok := place[base]; !ok {
			place[base] = len(q.Bases)
			q.Bases = append(q.Bases, base[:])
		}
	}
	if len(page) == 0 {
		return nil
	}
	a, err := v.Metadata.Read(ctx, &metapb.Query{Q: &metapb.Query_RunStates{RunStates: q}})
	if err != nil {
		return err
	}
	states := a.GetRunStates().GetStates()
	if len(states) != len(q.Bases) {
		return errs.E("repair.strays", errs.Other, "%d states of %d runs", len(states), len(q.Bases))
	}
	for i := range page {
		v.did.Held++
		s := states[place[page[i].ID.Run()]]
		switch {
		case s.State == meta.RunDying:
			v.did.Dying++
		case s.State != meta.RunAlive || !lifeOf(page[i].ID, s).alive:
			v.did.Orphans++
		}
	}
	return nil
}
