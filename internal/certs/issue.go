package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"

	"minikv/internal/errs"
)

// Validity of what is made here, unless told otherwise.
const (
	caValidity   = 10 * 365 * 24 * time.Hour
	nodeValidity = 2 * 365 * 24 * time.Hour
	backdate     = time.Hour // clocks of nodes differ
)

// Pair is a certificate with its private key, both PEM (PKCS #8).
type Pair struct {
	Cert []byte
	Key  []byte
}

// CA signs the certificates of one cluster's nodes.
type CA struct {
	Cert *x509.Certificate
	key  crypto.Signer
	pair Pair
}

// Pair is the CA's own certificate and key.
func (ca *CA) Pair() Pair { return ca.pair }

// NewCA makes a certificate authority with an ECDSA P-256 key. A zero validity is 10 years.
func NewCA(name string, now time.Time, validity time.Duration) (*CA, error) {
	const op = "certs.NewCA"
	if name == "" {
		name = "minikv cluster CA"
	}
	if validity <= 0 {
		validity = caValidity
	}
	serial, err := newSerial()
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(validity),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	pair, err := sign(t, t, key, key)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	return ParseCA(pair)
}

// ParseCA reads a CA from PEM.
func ParseCA(p Pair) (*CA, error) {
	const op = "certs.ParseCA"
	c, _ := pem.Decode(p.Cert)
	k, _ := pem.Decode(p.Key)
	if c == nil || c.Type != pemCert || k == nil || k.Type != pemKey {
		return nil, errs.E(op, errs.Invalid, "not PEM blocks %q and %q", pemCert, pemKey)
	}
	cert, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return nil, errs.WrapKind(op, errs.Invalid, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return nil, errs.WrapKind(op, errs.Invalid, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !cert.IsCA || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errs.E(op, errs.Invalid, "not a CA certificate with its ECDSA key")
	}
	return &CA{Cert: cert, key: key, pair: p}, nil
}

// Request asks for a node's certificate.
type Request struct {
	Identity
	Hosts    []string      // DNS names and IP addresses, for clients that look at those
	Now      time.Time     // zero: the clock's
	Validity time.Duration // 0: 2 years
}

// Issue makes a node's key and certificate, good for both ends of a connection.
func (ca *CA) Issue(r Request) (Pair, error) {
	const op = "certs.Issue"
	if err := CheckNode(r.Node); err != nil {
		return Pair{}, errs.Wrap(op, err)
	}
	if !r.Roles.Valid() {
		return Pair{}, errs.E(op, errs.Invalid, "a node needs at least one role")
	}
	if r.Now.IsZero() {
		r.Now = time.Now()
	}
	if r.Validity <= 0 {
		r.Validity = nodeValidity
	}
	serial, err := newSerial()
	if err != nil {
		return Pair{}, errs.Wrap(op, err)
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: r.Node},
		NotBefore: r.Now.Add(-backdate), NotAfter: r.Now.Add(r.Validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        r.URIs(),
	}
	for _, h := range r.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, errs.Wrap(op, err)
	}
	pair, err := sign(t, ca.Cert, key, ca.key)
	return pair, errs.Wrap(op, err)
}

const (
	pemCert = "CERTIFICATE"
	pemKey  = "PRIVATE KEY"
)

func sign(t, parent *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: private}),
	}, nil
}

// newSerial draws 127 bits (RFC 5280, section 4.1.2.2: positive, at most 20 bytes).
func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}
