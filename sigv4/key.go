package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"sync"
)

// SigningKey is a secret derived for one scope. It never formats itself (V7).
type SigningKey [32]byte

// String hides the key.
func (SigningKey) String() string { return "[signing key]" }

// GoString hides the key.
func (SigningKey) GoString() string { return "[signing key]" }

// DeriveKey computes the signing key of a scope: HMAC over date, region, service and terminator in turn.
func DeriveKey(secret string, scope Scope) SigningKey {
	var m mac
	key := []byte("AWS4" + secret)
	for _, part := range []string{scope.Date, scope.Region, scope.Service, terminator} {
		m.init(key)
		m.inner = append(m.inner, part...)
		sum := m.sum()
		key = sum[:]
	}
	return SigningKey(key)
}

// mac is HMAC-SHA256 (RFC 2104) over messages built in place: append to inner, then sum. It allocates only to grow.
// Messages are short, so that the standard library's one-shot hash is the fastest.
type mac struct {
	inner []byte                               // key XOR ipad, then the message
	outer [sha256.BlockSize + sha256.Size]byte // key XOR opad, then the inner hash
}

func (m *mac) init(key []byte) {
	var block [sha256.BlockSize]byte
	if len(key) > len(block) {
		sum := sha256.Sum256(key)
		copy(block[:], sum[:])
	} else {
		copy(block[:], key)
	}
	for i, b := range block {
		m.outer[i] = b ^ 0x5c
		block[i] = b ^ 0x36
	}
	m.inner = append(m.inner[:0], block[:]...)
}

// reset starts a new message under the same key.
func (m *mac) reset() { m.inner = m.inner[:sha256.BlockSize] }

func (m *mac) sum() [sha256.Size]byte {
	inner := sha256.Sum256(m.inner)
	copy(m.outer[sha256.BlockSize:], inner[:])
	return sha256.Sum256(m.outer[:])
}

// signature is a sum in hex.
type signature [2 * sha256.Size]byte

func (m *mac) signature() (s signature) {
	sum := m.sum()
	hex.Encode(s[:], sum[:])
	return s
}

// matches compares in constant time (V4). Another length is no match.
func (s *signature) matches(provided string) bool {
	var p signature
	copy(p[:], provided)
	return s.equal(&p) && len(provided) == len(s)
}

// equal compares two signatures in constant time.
func (s *signature) equal(provided *signature) bool {
	return subtle.ConstantTimeCompare(s[:], provided[:]) == 1
}

// keyCache holds signing keys in two generations: when the young one is full it becomes the old one. So it is bounded,
// and what is in use survives. Only keys of requests that verified are put, so that callers without a secret cannot
// evict anything.
type keyCache struct {
	generationMax int

	mu    sync.RWMutex
	young map[cacheKey]SigningKey
	old   map[cacheKey]SigningKey
}

// cacheKey holds a hash of the secret, so that a changed secret misses.
type cacheKey struct {
	accessKey string
	scope     Scope
	secret    [sha256.Size]byte
}

func newKeyCache(entriesMax int) *keyCache {
	return &keyCache{generationMax: max(1, entriesMax/2), young: make(map[cacheKey]SigningKey)}
}

func (c *keyCache) get(k *cacheKey) (SigningKey, bool) {
	c.mu.RLock()
	key, ok := c.young[*k]
	if ok {
		c.mu.RUnlock()
		return key, true
	}
	key, ok = c.old[*k]
	c.mu.RUnlock()
	if ok {
		c.put(k, key)
	}
	return key, ok
}

func (c *keyCache) put(k *cacheKey, key SigningKey) {
	own := *k // the strings are parts of a request's header: do not keep it alive
	own.accessKey = strings.Clone(k.accessKey)
	own.scope = Scope{strings.Clone(k.scope.Date), strings.Clone(k.scope.Region), strings.Clone(k.scope.Service)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.generationMax {
		c.old, c.young = c.young, make(map[cacheKey]SigningKey, c.generationMax)
	}
	c.young[own] = key
}

func (c *keyCache) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.old)
}
