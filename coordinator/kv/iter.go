package kv

import (
	"github.com/cockroachdb/pebble/v2"

	"minikv/internal/errs"
)

// Iter stands on a row or on none. Key and Value are valid until the next move. Not for concurrent use.
type Iter struct {
	it *pebble.Iterator
}

func newIter(r pebble.Reader, lower, upper []byte) (*Iter, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, errs.Wrap("kv.Iter", err)
	}
	return &Iter{it: it}, nil
}

// First goes to the first row; like all moves it says whether there is one. False may be an error: see Close.
func (i *Iter) First() bool { return i.it.First() }

// Last goes to the last row.
func (i *Iter) Last() bool { return i.it.Last() }

// Next goes to the next row.
func (i *Iter) Next() bool { return i.it.Next() }

// Prev goes to the row before.
func (i *Iter) Prev() bool { return i.it.Prev() }

// SeekGE goes to the first row at or after key.
func (i *Iter) SeekGE(key []byte) bool { return i.it.SeekGE(key) }

// SeekLT goes to the last row before key.
func (i *Iter) SeekLT(key []byte) bool { return i.it.SeekLT(key) }

// Valid says whether the iterator stands on a row.
func (i *Iter) Valid() bool { return i.it.Valid() }

// Key of the row.
func (i *Iter) Key() []byte { return i.it.Key() }

// Value of the row.
func (i *Iter) Value() ([]byte, error) {
	v, err := i.it.ValueAndErr()
	return v, errs.Wrap("kv.Iter.Value", err)
}

// Err says why the last move found nothing, if not for lack of rows.
func (i *Iter) Err() error { return errs.Wrap("kv.Iter", i.it.Error()) }

// Close ends the iteration and gives the first error of it.
func (i *Iter) Close() error { return errs.Wrap("kv.Iter", i.it.Close()) }
