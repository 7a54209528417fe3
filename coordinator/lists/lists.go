// Package lists reads side by side what several volumes list of one shard, in bounded memory.
//
// Invariants:
//
//	L1  Each blob comes once, in the order of the lists (hash, then id), with all the volumes that list it.
//	L2  A page that can't be read, is too long or is not in order is an error, and never the end of a list.
//	L3  At most one page of each volume is at hand, however long the lists are.
package lists

import (
	"bytes"
	"cmp"
	"context"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// SourcesMax is how many lists are read side by side: the bits of Blob.From.
const SourcesMax = 64

// Read gives up to limit blobs of a volume's list after the given one; fewer mean the end.
type Read func(ctx context.Context, after object.BlobID, limit int) ([]object.BlobInfo, error)

// Blob is one that is listed.
type Blob struct {
	ID     object.BlobID
	Length int64
	Epoch  uint64 // of the cluster, that it was prepared under; the highest that is told
	From   uint64 // bit i: the i-th list has it
}

// Merge goes through lists. Not for concurrent use.
type Merge struct {
	limit int
	after object.BlobID // where the lists begin
	all   []*list
}

type list struct {
	read Read
	page []object.BlobInfo
	last object.BlobID
	end  bool
}

// New makes a Merge of lists after the given blob, which are read in pages of limit blobs. Add lists to it.
func New(after object.BlobID, limit int) *Merge { return &Merge{limit: limit, after: after} }

// Add takes a list in and reads its first page. A list that fails is not taken in.
func (m *Merge) Add(ctx context.Context, read Read) error {
	if len(m.all) == SourcesMax {
		return errs.E("lists.Add", errs.LimitExceeded, "more than %d lists", SourcesMax)
	}
	l := &list{read: read, last: m.after}
	if err := l.fill(ctx, m.limit); err != nil {
		return err
	}
	m.all = append(m.all, l)
	return nil
}

// Len is how many lists were taken in.
func (m *Merge) Len() int { return len(m.all) }

// Next is the next blob of all lists; false: there is none.
func (m *Merge) Next(ctx context.Context) (b Blob, ok bool, err error) {
	for _, l := range m.all {
		if len(l.page) == 0 {
			if err := l.fill(ctx, m.limit); err != nil {
				return Blob{}, false, err
			}
		}
		if len(l.page) > 0 && (!ok || compare(l.page[0].ID, b.ID) < 0) {
			b, ok = Blob{ID: l.page[0].ID, Length: l.page[0].Length}, true
		}
	}
	if !ok {
		return b, false, nil
	}
	for i, l := range m.all {
		if len(l.page) > 0 && l.page[0].ID == b.ID {
			b.Epoch = max(b.Epoch, l.page[0].Epochs.Cluster)
			b.From |= 1 << i
			l.page = l.page[1:]
		}
	}
	return b, true, nil
}

// compare orders ids as lists do.
func compare(a, b object.BlobID) int {
	return cmp.Or(cmp.Compare(a.Hash(), b.Hash()), bytes.Compare(a[:], b[:]))
}

// fill reads the next page, unless the list has ended.
func (l *list) fill(ctx context.Context, limit int) error {
	const op = "lists.Next"
	if l.end {
		return nil
	}
	page, err := l.read(ctx, l.last, limit)
	if err != nil {
		return errs.Wrap(op, err)
	}
	if len(page) > limit {
		return errs.E(op, errs.Other, "a page of %d blobs; %d were asked for", len(page), limit)
	}
	before := l.last
	for i := range page {
		if before != (object.BlobID{}) && compare(before, page[i].ID) >= 0 {
			return errs.E(op, errs.Other, "the list is not in order: %s comes after %s", page[i].ID, before)
		}
		before = page[i].ID
	}
	l.page, l.last, l.end = page, before, len(page) < limit
	return nil
}
