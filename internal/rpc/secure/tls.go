package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"minikv/internal/certs"
	"minikv/internal/errs"
)

// Files are PEM files of a node: its certificate chain, its key, and the cluster's CA (several certificates while it changes).
type Files struct {
	Cert, Key, CA string
}

// reloadEvery is how often the files are looked at, at most.
const reloadEvery = time.Second

// Source holds a node's certificate and CA, and notices changed files: they are looked at when a handshake begins. Files that
// can't be used leave the old ones in force.
type Source struct {
	files   Files
	onError func(error)

	mu     sync.Mutex // guards what follows
	looked time.Time
	stamps [3]stamp
	now    func() time.Time
	cert   tls.Certificate
	pool   *x509.CertPool
	node   string // in the certificate: a changed one must name the same
	failed string // what onError heard last
}

type stamp struct {
	mod  time.Time
	size int64
}

// OpenSource reads the files. onError hears of later failures to read changed ones; nil: no one does.
func OpenSource(f Files, onError func(error)) (*Source, error) {
	s := &Source{files: f, onError: onError, now: time.Now}
	if s.onError == nil {
		s.onError = func(error) {}
	}
	s.stamps, s.looked = s.stat(), s.now()
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Source) stat() (out [3]stamp) {
	for i, name := range []string{s.files.Cert, s.files.Key, s.files.CA} {
		if fi, err := os.Stat(name); err == nil {
			out[i] = stamp{fi.ModTime(), fi.Size()}
		}
	}
	return out
}

// load must be called with mu held, or before the source is shared.
func (s *Source) load() error {
	const op = "secure.OpenSource"
	cert, err := tls.LoadX509KeyPair(s.files.Cert, s.files.Key)
	if err != nil {
		return errs.WrapKind(op, errs.Invalid, err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return errs.WrapKind(op, errs.Invalid, err)
		}
	}
	id, err := certs.IdentityOf(cert.Leaf)
	if err != nil {
		return errs.WrapKind(op, errs.Invalid, err)
	}
	if s.node != "" && id.Node != s.node {
		return errs.E(op, errs.Invalid, "%s is now the certificate of %s; this is %q", s.files.Cert, id, s.node)
	}
	pem, err := os.ReadFile(s.files.CA)
	if err != nil {
		return errs.WrapKind(op, errs.Invalid, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return errs.E(op, errs.Invalid, "no certificate in %s", s.files.CA)
	}
	s.cert, s.pool, s.node = cert, pool, id.Node
	return nil
}

// current is the certificate and CA in force now.
func (s *Source) current() (tls.Certificate, *x509.CertPool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.now(); now.Sub(s.looked) >= reloadEvery {
		s.looked = now
		if st := s.stat(); st != s.stamps {
			s.reload(st)
		}
	}
	return s.cert, s.pool
}

// reload takes changed files. What can't be used is looked at again, since a certificate may be there before its key, but told once.
func (s *Source) reload(st [3]stamp) {
	err := s.load()
	switch {
	case err == nil:
		s.stamps, s.failed = st, ""
	case err.Error() != s.failed:
		s.failed = err.Error()
		s.onError(err)
	}
}

// Identity is what our own certificate says.
func (s *Source) Identity() certs.Identity {
	c, _ := s.current()
	id, _ := certs.IdentityOf(c.Leaf) // load refuses others
	return id
}

func (s *Source) base(p Protocol) *tls.Config {
	cert, _ := s.current()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{p.alpn()}, Certificates: []tls.Certificate{cert},
		SessionTicketsDisabled: true, // a resumed session would outlive its certificate
	}
}

// serverConfig demands a certificate of the cluster; who it is of goes to peer.
func (s *Source) serverConfig(peer *certs.Identity, p, also Protocol) *tls.Config {
	c := s.base(p)
	if also != 0 {
		c.NextProtos = append(c.NextProtos, also.alpn())
	}
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(st tls.ConnectionState) (err error) {
		if st.NegotiatedProtocol != p.alpn() && (also == 0 || st.NegotiatedProtocol != also.alpn()) {
			return errs.E("secure.Server", errs.AccessDenied, "the client does not ask for %s", p.alpn())
		}
		*peer, err = s.verify(st, x509.ExtKeyUsageClientAuth)
		return err
	}
	return c
}

// clientConfig verifies roles and node names instead of host names: addresses of nodes change, and several share a host.
func (s *Source) clientConfig(p Protocol, e Expect, peer *certs.Identity) *tls.Config {
	c := s.base(p)
	c.InsecureSkipVerify = true // VerifyConnection below verifies the chain
	c.VerifyConnection = func(st tls.ConnectionState) (err error) {
		if st.NegotiatedProtocol != p.alpn() {
			return errs.E("secure.Client", errs.AccessDenied, "the server does not offer %s", p.alpn())
		}
		if *peer, err = s.verify(st, x509.ExtKeyUsageServerAuth); err != nil {
			return err
		}
		if e.Roles != 0 && !peer.Roles.Any(e.Roles) {
			return errs.E("secure.Client", errs.AccessDenied, "the server is %s, none of %s", peer, e.Roles)
		}
		if e.Node != "" && e.Node != peer.Node {
			return errs.E("secure.Client", errs.AccessDenied, "the server is %s, not %s", peer, e.Node)
		}
		return nil
	}
	return c
}

func (s *Source) verify(st tls.ConnectionState, usage x509.ExtKeyUsage) (certs.Identity, error) {
	const op = "secure.verify"
	_, pool := s.current()
	if len(st.PeerCertificates) == 0 {
		return certs.Identity{}, errs.E(op, errs.AccessDenied, "no certificate")
	}
	o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
	for _, c := range st.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	leaf := st.PeerCertificates[0]
	if _, err := leaf.Verify(o); err != nil {
		return certs.Identity{}, errs.WrapKind(op, errs.AccessDenied, err)
	}
	return certs.IdentityOf(leaf)
}

// refusal classifies what ended a handshake: a broken or silent connection is Unavailable, all else is distrust.
func refusal(op string, err error) error {
	if err == nil {
		return nil
	}
	if k := errs.KindOf(err); k != errs.Other {
		return errs.WrapKind(op, k, err)
	}
	kind := errs.AccessDenied
	var o *net.OpError
	if errors.As(err, &o) && o.Op != "remote error" { // that is a TLS alert: the peer says why it hangs up
		kind = errs.Unavailable
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		kind = errs.Unavailable
	}
	return errs.WrapKind(op, kind, err)
}
