package e2e

import "time"

// stray is what an attempt that was not answered may do to a key, at most once, while anyone still works on it: also after later
// attempts were answered (I3).
type stray struct {
	v  content
	at time.Time
}

// strayMax is longer than a gateway tries a command whose client has gone.
const strayMax = 30 * time.Second

// strayed remembers an attempt by how it ended, and gives that back.
func (r *faultRun) strayed(key string, v content, err error) error {
	if st, _ := status(err); err != nil && (st == 0 || st >= 500) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.strays[key] = append(r.strays[key], stray{v, time.Now()})
	}
	return err
}

// astray is what the key may become.
func (r *faultRun) astray(key string) (all []content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.strays[key] {
		if time.Since(s.at) < strayMax {
			all = append(all, s.v)
		}
	}
	return all
}

func (r *faultRun) anyAstray() bool {
	for _, key := range r.keys() {
		if len(r.astray(key)) > 0 {
			return true
		}
	}
	return false
}

// claim gives the key to a client of a load: no one else writes it while what it wrote last counts.
func (r *faultRun) claim(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loads[key] = true
	return key
}

// free are the keys that belong to no load.
func (r *faultRun) free() (keys []string) {
	for _, key := range r.keys() {
		r.mu.Lock()
		if !r.loads[key] {
			keys = append(keys, key)
		}
		r.mu.Unlock()
	}
	return keys
}
