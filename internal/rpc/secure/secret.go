package secure

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"sync"

	"minikv/internal/errs"
)

// SecretMin is the shortest cluster secret in bytes. It should be random: who can reach a port without TLS can try secrets
// against one recorded proof.
const SecretMin = 16

// Secret is what every node of a cluster knows. It shows nothing of itself.
type Secret struct{ master []byte }

// NewSecret derives the key from a secret of at least SecretMin bytes.
func NewSecret(secret []byte) (Secret, error) {
	const op = "secure.NewSecret"
	if len(secret) < SecretMin {
		return Secret{}, errs.E(op, errs.Invalid, "the cluster secret needs at least %d bytes", SecretMin)
	}
	master, err := hkdf.Key(sha256.New, secret, []byte("minikv"), "cluster secret v1", sha256.Size)
	return Secret{master: master}, errs.Wrap(op, err)
}

func (s Secret) String() string   { return "secret" }
func (s Secret) GoString() string { return "secret" }

// MarshalText keeps the key out of whatever encodes a structure that holds it.
func (s Secret) MarshalText() ([]byte, error) { return []byte("secret"), nil }

func (s Secret) set() bool { return len(s.master) > 0 }

// FingerprintLen is the length of a Fingerprint in bytes.
const FingerprintLen = 16

// Fingerprint stands for a value where nodes of the cluster compare what they were configured with: equal names and values give equal
// fingerprints. It is a MAC keyed by the cluster's secret, so that it tells nothing to those who do not know that, and it is not a way to the
// value: those who do know it can only try values against it.
func (s Secret) Fingerprint(name string, value []byte) []byte {
	key := mac(s.master, []byte("fingerprint v1"), []byte(name))
	m := mac(key[:], value)
	return m[:FingerprintLen]
}

func mac(key []byte, parts ...[]byte) [sha256.Size]byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	var out [sha256.Size]byte
	h.Sum(out[:0])
	return out
}

// proofs are made from a connection's session key.
type proofs struct {
	session [sha256.Size]byte
	mu      sync.RWMutex
	calls   map[string]*[sha256.Size]byte // by method
}

// callsMax bounds the cache of proofs; methods beyond it are computed each time.
const callsMax = 64

func (p *proofs) server(verdict byte) [sha256.Size]byte {
	return mac(p.session[:], []byte("server"), []byte{verdict})
}

func (p *proofs) client() [sha256.Size]byte { return mac(p.session[:], []byte("client")) }

// call is the proof that goes with each call of a method.
func (p *proofs) call(method string) [sha256.Size]byte {
	p.mu.RLock()
	c := p.calls[method]
	p.mu.RUnlock()
	if c != nil {
		return *c
	}
	v := mac(p.session[:], []byte("call"), []byte(method))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls == nil {
		p.calls = map[string]*[sha256.Size]byte{}
	}
	if len(p.calls) < callsMax {
		p.calls[method] = &v
	}
	return v
}
