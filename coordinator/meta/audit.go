package meta

import (
	"bytes"
	"fmt"

	"minikv/internal/digest"
	"minikv/proto/metapb"
)

// audit looks whether what objects and parts point to is alive, all in one state. A page may be empty and not the last.
func (v *view) audit(q *metapb.AuditQuery) (*metapb.AuditAnswer, error) {
	a := auditor{v: v, sums: q.Sums, left: int(limited(q.Limit, queueLimitDefault, listLimitMax)), r: new(metapb.AuditAnswer)}
	for _, table := range []byte{tableObjects, tableParts, tableVersions} {
		lower := []byte{table}
		if len(q.After) > 0 {
			if q.After[0] > table {
				continue
			}
			if q.After[0] == table {
				lower = append(bytes.Clone(q.After), 0)
			}
		}
		err := scan(v.s, lower, []byte{table + 1}, a.row)
		if err != nil || len(a.r.Next) > 0 {
			return a.r, err
		}
	}
	return a.r, nil
}

type auditor struct {
	v    *view
	sums bool
	left int
	r    *metapb.AuditAnswer
}

func (a *auditor) row(key, value []byte) (more bool, err error) {
	if key[0] == tableParts {
		err = a.part(key, value)
	} else {
		err = a.object(key, value)
	}
	if a.left--; a.left == 0 {
		a.r.Next = bytes.Clone(key)
	}
	return a.left > 0, err
}

func (a *auditor) object(key, value []byte) error {
	a.r.Objects++
	o := new(metapb.ObjectRow)
	if err := decodeRow(value, o); err != nil {
		return err
	}
	switch {
	case o.Run != nil:
		if alive, err := a.run(o.Run.Base); err != nil || !alive {
			a.dangling(alive, key, "run %x", o.Run.Base)
			return err
		}
		if c := o.Checksum; a.sums && digest.Algorithm(c.GetAlgorithm()).IsCRC() && digest.Type(c.GetType()) == digest.FullObject {
			a.r.Sums = append(a.r.Sums, &metapb.WholeSum{Row: a.name(key), Run: o.Run, Checksum: c})
		}
	case len(o.BodyId) > 0:
		body := new(metapb.BodyRow)
		found, err := load(a.v.s, bodyKey(o.BodyId), body)
		a.dangling(err != nil || (found && body.References > 0), key, "body %x", o.BodyId)
		return err
	}
	return nil
}

func (a *auditor) part(key, value []byte) error {
	a.r.Parts++
	p := new(metapb.PartRow)
	if err := decodeRow(value, p); err != nil {
		return err
	}
	for _, s := range p.Slices {
		alive, err := a.run(s.GetRun().GetBase())
		a.dangling(alive || err != nil, key, "run %x", s.GetRun().GetBase())
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) run(base []byte) (alive bool, err error) {
	row := new(metapb.RunRow)
	found, err := load(a.v.s, runKey(base), row)
	return found && row.References > 0, err
}

func (a *auditor) dangling(alive bool, key []byte, what string, id []byte) {
	if !alive {
		a.r.Dangling = append(a.r.Dangling, &metapb.Dangling{Row: a.name(key), What: fmt.Sprintf(what+" is not alive", id)})
	}
}

// name is a row's key for people.
func (a *auditor) name(key []byte) string {
	switch {
	case key[0] == tableParts:
		return fmt.Sprintf("part %x", key[1:])
	case key[0] == tableObjects && len(key) > 1+bucketIDLen:
		return fmt.Sprintf("object %q of bucket %x", key[1+bucketIDLen:], key[1:1+bucketIDLen])
	case len(key) > 1+bucketIDLen:
		if name, _, err := cutEscaped(key[1+bucketIDLen:]); err == nil {
			return fmt.Sprintf("version of %q of bucket %x", name, key[1:1+bucketIDLen])
		}
	}
	return fmt.Sprintf("row %x", key)
}
