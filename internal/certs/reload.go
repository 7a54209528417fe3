package certs

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"sync"
	"time"

	"minikv/internal/errs"
)

// reloadEvery is how often the files of a Reloader are looked at, at most.
const reloadEvery = time.Second

// Reloader holds a server's certificate chain and key from two PEM files, and notices when they change: the files are looked at
// when a handshake begins. A pair that can't be used leaves the old one in force, and is tried again. Safe for concurrent use.
type Reloader struct {
	certFile, keyFile string
	told              func(*x509.Certificate, error)

	mu     sync.Mutex // guards what follows
	now    func() time.Time
	looked time.Time
	stamps [2]stamp
	pair   *tls.Certificate
	failed string // what was told last
}

type stamp struct {
	mod  time.Time
	size int64
}

// OpenReloader reads the pair. told hears of later changes, once each: the new leaf, or why the changed files can't be used.
// nil: no one does.
func OpenReloader(certFile, keyFile string, told func(leaf *x509.Certificate, err error)) (*Reloader, error) {
	r := &Reloader{certFile: certFile, keyFile: keyFile, told: told, now: time.Now}
	if r.told == nil {
		r.told = func(*x509.Certificate, error) {}
	}
	r.looked, r.stamps = r.now(), r.stat()
	pair, err := r.load()
	if err != nil {
		return nil, err
	}
	r.pair = pair
	return r, nil
}

// GetCertificate is for tls.Config, which must have no Certificates besides.
func (r *Reloader) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.Sub(r.looked) >= reloadEvery || now.Before(r.looked) {
		r.looked = now
		r.refresh()
	}
	return r.pair, nil
}

// refresh takes a changed pair. The stamps are those from before the reading, so that a change in between is seen the next time.
func (r *Reloader) refresh() {
	st := r.stat()
	if st == r.stamps {
		return
	}
	pair, err := r.load()
	switch {
	case err == nil:
		r.pair, r.stamps, r.failed = pair, st, ""
		r.told(pair.Leaf, nil)
	case err.Error() != r.failed: // the certificate may be there before its key: tried again at the next look
		r.failed = err.Error()
		r.told(nil, err)
	}
}

func (r *Reloader) stat() (out [2]stamp) {
	for i, name := range []string{r.certFile, r.keyFile} {
		if fi, err := os.Stat(name); err == nil {
			out[i] = stamp{fi.ModTime(), fi.Size()}
		}
	}
	return out
}

// load reads the pair and refuses one that no client would accept any more.
func (r *Reloader) load() (*tls.Certificate, error) {
	const op = "certs.Reloader"
	pair, err := tls.LoadX509KeyPair(r.certFile, r.keyFile)
	if err != nil {
		return nil, errs.WrapKind(op, errs.Invalid, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, errs.WrapKind(op, errs.Invalid, err)
		}
	}
	if r.pair != nil && r.now().After(pair.Leaf.NotAfter) && r.now().Before(r.pair.Leaf.NotAfter) {
		return nil, errs.E(op, errs.Invalid, "the certificate expired at %s; the one in use is valid longer", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &pair, nil
}
