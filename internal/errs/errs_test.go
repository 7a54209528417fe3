package errs

import (
	"errors"
	"testing"
)

// A kind is told once in a chain: where it arose.
func TestErrorTellsAKindOnce(t *testing.T) {
	inner := E("vfs.LockDir", Conflict, "d is in use")
	for want, err := range map[string]error{
		"datadir.Open: vfs.LockDir: conflict: d is in use":                Wrap("datadir.Open", inner),
		"a: b: vfs.LockDir: conflict: d is in use":                        Wrap("a", Wrap("b", inner)),
		"datadir.Open: corrupt: d is damaged":                             Wrap("datadir.Open", E("", Corrupt, "d is damaged")),
		"a: unavailable: vfs.LockDir: conflict: d is in use":              WrapKind("a", Unavailable, inner),
		"a: unavailable: no such file":                                    WrapKind("a", Unavailable, errors.New("no such file")),
		"a: no such file":                                                 Wrap("a", errors.New("no such file")),
		"a: conflict: while it began: vfs.LockDir: conflict: d is in use": &Error{Op: "a", Kind: Conflict, Msg: "while it began", Cause: inner},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
