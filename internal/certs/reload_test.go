package certs

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pairs makes certificates of one CA and writes them where a Reloader looks.
type pairs struct {
	t          *testing.T
	ca         *CA
	cert, key  string
	now        time.Time
	told       []error
	r          *Reloader
	generation int
}

func newPairs(t *testing.T) *pairs {
	ca, err := NewCA("", time.Now(), 0)
	require.NoError(t, err)
	dir := t.TempDir()
	p := &pairs{t: t, ca: ca, cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), now: time.Now()}
	p.write(p.issue(0))
	p.r, err = OpenReloader(p.cert, p.key, func(_ *x509.Certificate, err error) { p.told = append(p.told, err) })
	require.NoError(t, err)
	p.r.now = func() time.Time { return p.now }
	return p
}

func (p *pairs) issue(validity time.Duration) Pair {
	pair, err := p.ca.Issue(Request{Identity: Identity{Node: "n1", Roles: AllRoles}, Hosts: []string{"localhost"}, Validity: validity})
	require.NoError(p.t, err)
	return pair
}

// put writes a file with a time of its own, as file systems with coarse clocks need.
func (p *pairs) put(name string, b []byte) {
	require.NoError(p.t, os.WriteFile(name, b, 0o600))
	p.generation++
	at := time.Now().Add(time.Duration(p.generation) * time.Hour)
	require.NoError(p.t, os.Chtimes(name, at, at))
}

func (p *pairs) write(pair Pair) {
	p.put(p.cert, pair.Cert)
	p.put(p.key, pair.Key)
}

// served is the certificate that a handshake shows.
func (p *pairs) served() *x509.Certificate {
	p.t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Server(a, &tls.Config{GetCertificate: p.r.GetCertificate}).Handshake() }()
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	require.NoError(p.t, c.Handshake())
	return c.ConnectionState().PeerCertificates[0]
}

// A changed pair is in the next handshake; one that can't be used is told once, and the old one stays.
func TestReloaderTakesChangedPairs(t *testing.T) {
	p := newPairs(t)
	old := p.served()
	next := p.issue(0)
	p.put(p.cert, next.Cert) // the key does not fit yet
	require.Equal(t, old.Raw, p.served().Raw, "not looked at again so soon")
	require.Empty(t, p.told)
	for range 3 {
		p.now = p.now.Add(reloadEvery)
		require.Equal(t, old.Raw, p.served().Raw)
		require.Len(t, p.told, 1, "told once")
		require.Error(t, p.told[0])
	}
	p.put(p.key, next.Key)
	p.now = p.now.Add(reloadEvery)
	require.Equal(t, parse(t, next.Cert).Raw, p.served().Raw)
	require.Len(t, p.told, 2)
	require.NoError(t, p.told[1])

	for name, breakIt := range map[string]func(){
		"no certificate": func() { p.put(p.cert, []byte("nonsense")) },
		"removed":        func() { require.NoError(t, os.Remove(p.key)) },
		"empty":          func() { p.write(Pair{}) },
	} {
		breakIt()
		p.now = p.now.Add(reloadEvery)
		require.Equal(t, parse(t, next.Cert).Raw, p.served().Raw, name)
		require.Error(t, p.told[len(p.told)-1], name)
	}
	again := p.issue(0)
	p.write(again)
	p.now = p.now.Add(reloadEvery)
	require.Equal(t, parse(t, again.Cert).Raw, p.served().Raw, "it recovers")
}

// A pair that is out of date already does not replace one that clients still accept.
func TestReloaderKeepsTheValidPair(t *testing.T) {
	p := newPairs(t)
	old := p.served()
	p.write(p.issue(time.Hour))
	p.now = p.now.Add(2 * time.Hour)
	require.Equal(t, old.Raw, p.served().Raw)
	require.ErrorContains(t, p.told[0], "expired")
}

func TestReloaderNeedsAPairAtFirst(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenReloader(filepath.Join(dir, "a"), filepath.Join(dir, "b"), nil)
	require.Error(t, err)
}
