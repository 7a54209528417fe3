package digest

import "sync"

// side is a goroutine that feeds some digests of a Hasher beside its owner, who waits for it at the latest in Release.
type side struct {
	work    chan []byte
	pending sync.WaitGroup // pieces
	ended   chan struct{}
}

// waitingPieces is how many pieces may wait for a side beside the one that it works on: few, so that Wait is short.
const waitingPieces = 1

func newSide(write func(p []byte)) *side {
	s := &side{work: make(chan []byte, waitingPieces), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		for p := range s.work {
			write(p)
			s.pending.Done()
		}
	}()
	return s
}

func (s *side) give(p []byte) {
	s.pending.Add(1)
	s.work <- p
}

func (s *side) stop() {
	close(s.work)
	<-s.ended
}

// FeedBytesMin is the shortest piece that is worth a hand-over, in bytes: 80 us of MD5.
const FeedBytesMin = 64 << 10

// Feed is Write beside the caller: p must stay as it is until Wait, Write, Sums or Release has returned. It waits while earlier pieces are still
// being hashed. It shortens a stream's time when a core is idle, and costs a hand-over when none is.
func (h *Hasher) Feed(p []byte) {
	h.n += uint64(len(p))
	if len(h.sides) == 0 {
		h.startSides()
	}
	for _, s := range h.sides {
		s.give(p)
	}
}

// startSides begins one goroutine for all digests, or two where something slow is wanted beside MD5.
func (h *Hasher) startSides() {
	if !h.opt.MD5 || !h.slow() {
		h.sides = append(h.sides, newSide(func(p []byte) { h.blocks(p, true) }))
		return
	}
	h.sides = append(h.sides, newSide(func(p []byte) { h.md5.Write(p) }), newSide(func(p []byte) { h.blocks(p, false) }))
}

// Wait returns when all that was fed is hashed.
func (h *Hasher) Wait() {
	for _, s := range h.sides {
		s.pending.Wait()
	}
}

func (h *Hasher) stopSides() {
	for _, s := range h.sides {
		s.stop()
	}
	clear(h.sides)
	h.sides = h.sides[:0]
}
