package meta

import (
	"fmt"

	"minikv/internal/errs"
)

// refusal is a command's failure by the rules. It becomes a recorded result; every other error stops Apply.
type refusal struct {
	kind errs.Kind
	msg  string
	op   uint32 // which operation of a batch
}

func (r *refusal) Error() string { return r.kind.String() + ": " + r.msg }

func refuse(kind errs.Kind, format string, args ...any) error {
	return &refusal{kind: kind, msg: fmt.Sprintf(format, args...)}
}

// broken is a violated invariant: going on would make it worse.
func broken(format string, args ...any) error {
	return errs.E("meta.Apply", errs.Corrupt, format, args...)
}
