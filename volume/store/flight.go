package store

import (
	"sync"

	"minikv/internal/object"
)

// flights are the blobs being prepared, so that two prepares of one id do not both append.
type flights struct {
	parts [16]struct {
		mu      sync.Mutex
		landed  sync.Cond
		ids     map[object.BlobID]struct{}
		waiting int
		_       [64]byte
	}
}

func (f *flights) init() {
	for i := range f.parts {
		p := &f.parts[i]
		p.landed.L = &p.mu
		p.ids = map[object.BlobID]struct{}{}
	}
}

// start registers id. If it was being prepared, start waits for that to end and returns false: look into the index again.
func (f *flights) start(id object.BlobID) bool {
	p := &f.parts[id.Hash()>>60]
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, flying := p.ids[id]; !flying {
		p.ids[id] = struct{}{}
		return true
	}
	p.waiting++
	p.landed.Wait()
	p.waiting--
	return false
}

// land takes id off.
func (f *flights) land(id object.BlobID) {
	p := &f.parts[id.Hash()>>60]
	p.mu.Lock()
	delete(p.ids, id)
	if p.waiting > 0 {
		p.landed.Broadcast()
	}
	p.mu.Unlock()
}
