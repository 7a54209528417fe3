package digest

import "hash"

// sideMD5 is a goroutine that feeds MD5 beside the rest. The hasher owns it and waits for it in Release.
type sideMD5 struct {
	work chan []byte
	done chan struct{}
}

// startSide hands p to the MD5 goroutine, starting it at the first need.
func (h *Hasher) startSide(p []byte) {
	if h.side == nil {
		h.side = &sideMD5{work: make(chan []byte), done: make(chan struct{})}
		go h.side.run(h.md5)
	}
	h.side.work <- p
}

func (s *sideMD5) run(md5 hash.Hash) {
	for p := range s.work {
		md5.Write(p)
		s.done <- struct{}{}
	}
	close(s.done)
}

func (s *sideMD5) wait() { <-s.done }

func (s *sideMD5) stop() {
	if s == nil {
		return
	}
	close(s.work)
	<-s.done
}
