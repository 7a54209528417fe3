package store

import (
	"slices"
	"sync"

	"minikv/internal/object"
)

// flights are the blobs being prepared, so that two prepares of one id do not both append. There are about as many as writers, so each part
// has few, which are looked through faster than a map finds one.
type flights struct {
	parts [flightParts]struct {
		mu      sync.Mutex
		landed  sync.Cond
		ids     []object.BlobID
		waiting int
		_       [64]byte
	}
}

const (
	flightBits  = 6
	flightParts = 1 << flightBits
)

func (f *flights) init() {
	for i := range f.parts {
		f.parts[i].landed.L = &f.parts[i].mu
	}
}

// start registers id. If it was being prepared, start waits for that to end and returns false: look into the index again.
func (f *flights) start(id object.BlobID) bool {
	p := &f.parts[id.Hash()>>(64-flightBits)]
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.ids, id) {
		p.ids = append(p.ids, id)
		return true
	}
	p.waiting++
	p.landed.Wait()
	p.waiting--
	return false
}

// land takes id off.
func (f *flights) land(id object.BlobID) {
	p := &f.parts[id.Hash()>>(64-flightBits)]
	p.mu.Lock()
	if i := slices.Index(p.ids, id); i >= 0 {
		last := len(p.ids) - 1
		p.ids[i] = p.ids[last]
		p.ids = p.ids[:last]
	}
	if p.waiting > 0 {
		p.landed.Broadcast()
	}
	p.mu.Unlock()
}
