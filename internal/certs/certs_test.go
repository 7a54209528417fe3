package certs

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

func parse(t *testing.T, b []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(b)
	c, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return c
}

func TestIssueAndReadBack(t *testing.T) {
	ca, err := NewCA("", time.Now(), 0)
	require.NoError(t, err)
	for roles := Roles(1); roles <= AllRoles; roles++ {
		id := Identity{Node: "n-1.example", Roles: roles}
		p, err := ca.Issue(Request{Identity: id, Hosts: []string{"host.example", "10.0.0.1"}})
		require.NoError(t, err)
		c := parse(t, p.Cert)
		got, err := IdentityOf(c)
		require.NoError(t, err)
		require.Equal(t, id, got)
		require.Equal(t, []string{"host.example"}, c.DNSNames)
		require.Len(t, c.IPAddresses, 1)
		pool := x509.NewCertPool()
		pool.AddCert(ca.Cert)
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			_, err = c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}})
			require.NoError(t, err)
		}
		require.False(t, c.IsCA)
	}
}

func TestANodeCanNotSign(t *testing.T) {
	ca, err := NewCA("", time.Now(), 0)
	require.NoError(t, err)
	p, err := ca.Issue(Request{Identity: Identity{Node: "n", Roles: AllRoles}})
	require.NoError(t, err)
	_, err = ParseCA(p)
	require.True(t, errs.Is(err, errs.Invalid), "%v", err)
}

func TestBadRequests(t *testing.T) {
	ca, err := NewCA("", time.Now(), 0)
	require.NoError(t, err)
	for _, id := range []Identity{
		{Node: "", Roles: AllRoles}, {Node: "a/b", Roles: AllRoles}, {Node: "..", Roles: AllRoles}, {Node: "a b", Roles: AllRoles},
		{Node: strings.Repeat("a", NodeMax+1), Roles: AllRoles}, {Node: "n"}, {Node: "n", Roles: AllRoles + 1},
	} {
		_, err := ca.Issue(Request{Identity: id})
		require.True(t, errs.Is(err, errs.Invalid), "%v: %v", id, err)
	}
}

func TestIdentityOfRefuses(t *testing.T) {
	for _, names := range []string{
		"", "https://role/gateway/n", "minikv://role/gateway", "minikv://role/gateway/", "minikv://role/king/n", "minikv://other/gateway/n",
		"minikv://role/gateway/n minikv://role/volume/m", "minikv://role/gateway/n minikv://role/king/n", "minikv://role/gateway/n/m",
		"minikv://role/gateway/n?x=1", "minikv://u@role/gateway/n", "minikv://role/Gateway/n", "minikv://role//gateway/n",
	} {
		c := &x509.Certificate{}
		for _, n := range strings.Fields(names) {
			u, err := url.Parse(n)
			require.NoError(t, err)
			c.URIs = append(c.URIs, u)
		}
		_, err := IdentityOf(c)
		require.True(t, errs.Is(err, errs.AccessDenied), "%q: %v", names, err)
	}
}

func TestParseRoles(t *testing.T) {
	for _, text := range []string{"gateway", "coordinator,volume", "gateway,coordinator,volume"} {
		r, err := ParseRoles(text)
		require.NoError(t, err)
		require.Equal(t, text, r.String())
	}
	for _, text := range []string{"", "king", "gateway,", "gateway;volume"} {
		_, err := ParseRoles(text)
		require.True(t, errs.Is(err, errs.Invalid), "%q", text)
	}
}

func TestFilesArePrivateAndNeverOverwritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	ca, err := NewCA("", time.Now(), 0)
	require.NoError(t, err)
	require.NoError(t, SaveCA(dir, ca))
	again, err := LoadCA(dir)
	require.NoError(t, err)
	require.True(t, again.Cert.Equal(ca.Cert))
	p, err := again.Issue(Request{Identity: Identity{Node: "n1", Roles: AllRoles}})
	require.NoError(t, err)
	require.NoError(t, SaveNode(dir, "n1", p))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, f := range files {
		fi, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), fi.Mode().Perm(), f.Name())
	}
	require.True(t, errs.Is(SaveCA(dir, ca), errs.Conflict))
	require.True(t, errs.Is(SaveNode(dir, "n1", p), errs.Conflict))
	require.True(t, errs.Is(SaveNode(dir, "ca", p), errs.Invalid))
	require.True(t, errs.Is(SaveNode(dir, "../x", p), errs.Invalid))
	cert, _ := NodeFiles(dir, "n1")
	b, err := os.ReadFile(cert)
	require.NoError(t, err)
	require.Equal(t, p.Cert, b)

	// A certificate that is in the way leaves no lone key.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "n2.crt"), nil, 0o600))
	require.True(t, errs.Is(SaveNode(dir, "n2", p), errs.Conflict))
	require.NoFileExists(t, filepath.Join(dir, "n2.key"))
}
