package store

import (
	"context"
	"time"

	"minikv/internal/errs"
	"minikv/volume/segment"
)

// nextSegment takes the spare or makes a segment.
func (l *log) nextSegment(group int64) (*segment.File, error) {
	f := l.takeSpare()
	if f != nil && f.Room() >= group+sealSpace {
		return f, nil
	}
	if f != nil {
		l.st.discard(f)
	}
	return l.st.makeSegment(context.Background(), l.kind, group)
}

// takeSpare is the spare; one that is being made is waited for and gets no more zeros: that takes no longer than to make another. nil if there
// is none.
func (l *log) takeSpare() *segment.File {
	l.mu.Lock()
	making := l.making
	l.mu.Unlock()
	if making != nil {
		l.hurry.Store(true)
		<-making
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.spare
	l.spare = nil
	return f
}

func (l *log) putSpare(f *segment.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare == nil {
		l.spare = f
		return
	}
	l.st.discard(f)
}

// A spare is made when half of the active segment is used, or earlier when the rest will be soon and there is much of it: a sync into zeros
// takes half as long as one into reserved space, and zeros that are there in time keep out of its way.
const (
	spareSoon = 2 * time.Second
	spareUsed = 4 * mib
)

// wantsSpare says whether it is time to make a spare.
func (l *log) wantsSpare() bool {
	a := l.active
	if l.st.o.noSpares || a == nil {
		return false
	}
	if a.Room() <= a.Capacity/2 {
		return true
	}
	used, took := a.Pos(), l.lastWrite.Sub(l.began)
	return l.kind == segment.Small && used >= spareUsed && took.Seconds()*float64(a.Room()) < spareSoon.Seconds()*float64(used)
}

// wantSpare starts making the next segment in the background when it is time.
func (l *log) wantSpare() {
	if !l.wantsSpare() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.making != nil || l.spare != nil || l.closing {
		return
	}
	made := make(chan struct{})
	l.making = made
	l.hurry.Store(false)
	l.st.background.Go(func() {
		defer close(made)
		f, err := l.st.makeSpare(l.kind, l.stopFilling)
		if err != nil && !errs.Is(err, errs.StorageFull) && !errs.Is(err, errs.Unavailable) {
			l.st.o.Logf("making a segment ahead: %v", err)
		}
		if err == nil {
			l.putSpare(f)
		}
		l.mu.Lock()
		l.making = nil
		l.mu.Unlock()
	})
}

// stopFilling ends the filling of a spare with zeros, without an error when it is needed at once.
func (l *log) stopFilling() error {
	switch {
	case l.st.closing.Load():
		return errClosed
	case l.hurry.Load():
		return segment.ErrEnough
	}
	return nil
}
