package vfs

import (
	"path"
	"slices"
	"sync/atomic"
	"time"
)

// Match picks operations.
type Match func(Op) bool

// Kinds matches operations of the kinds; none given: all that change the disk.
func Kinds(kinds ...OpKind) Match {
	return func(op Op) bool {
		if len(kinds) == 0 {
			return op.Kind.Changes()
		}
		return slices.Contains(kinds, op.Kind)
	}
}

// OnPath matches operations on files whose last path element matches the pattern of path.Match.
func OnPath(pattern string, m Match) Match {
	return func(op Op) bool {
		ok, _ := path.Match(pattern, path.Base(op.Path))
		return ok && m(op)
	}
}

// FailNth makes the nth matching operation (from 1) fail with err, after short bytes if it is a write.
func FailNth(n int64, m Match, err error, short int) func(Op) Fault {
	var seen atomic.Int64
	return func(op Op) Fault {
		if m(op) && seen.Add(1) == n {
			return Fault{Err: err, Short: short}
		}
		return Fault{}
	}
}

// FailFrom makes the nth matching operation and all later ones fail with err.
func FailFrom(n int64, m Match, err error) func(Op) Fault {
	var seen atomic.Int64
	return func(op Op) Fault {
		if m(op) && seen.Add(1) >= n {
			return Fault{Err: err}
		}
		return Fault{}
	}
}

// Slow makes matching operations wait first.
func Slow(m Match, d time.Duration) func(Op) Fault {
	return func(op Op) Fault {
		if m(op) {
			return Fault{Delay: d}
		}
		return Fault{}
	}
}
