package datadir

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"path/filepath"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// Credentials are an access key and its secret. They print without the secret.
type Credentials struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

func (c Credentials) String() string { return c.AccessKey }

// GoString keeps the secret out of %#v.
func (c Credentials) GoString() string { return c.AccessKey }

// CredentialsFile is where stored root credentials are.
func (d *Dir) CredentialsFile() string { return filepath.Join(d.Path, credentialsName) }

// Credentials reads the stored root credentials, or makes and stores random ones; made says which.
func (d *Dir) Credentials() (c Credentials, made bool, err error) {
	name := d.CredentialsFile()
	c, err = readCredentials(d.fs, name)
	if err == nil || !vfs.IsNotExist(err) {
		return c, false, errs.Wrap("datadir.Credentials", err)
	}
	c = Credentials{AccessKey: "MK" + random(18, keyAlphabet), SecretKey: randomSecret()}
	b, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = vfs.AtomicWriteFile(d.fs, name, append(b, '\n'), 0o600)
	}
	return c, true, errs.Wrap("datadir.Credentials", err)
}

// StoredCredentials reads the root credentials of a directory that another process may be serving; for commands on the same
// machine, run by the user who may read them.
func StoredCredentials(path string) (Credentials, error) {
	return readCredentials(vfs.OS(), filepath.Join(path, credentialsName))
}

func readCredentials(fs vfs.FS, name string) (c Credentials, err error) {
	b, err := vfs.ReadFile(fs, name, smallFileMax)
	if err != nil {
		return c, err
	}
	if json.Unmarshal(b, &c) != nil || c.AccessKey == "" || c.SecretKey == "" {
		return Credentials{}, errs.E("", errs.Corrupt, "%s is damaged: remove it to have new credentials made, or set MINIKV_ROOT_USER and MINIKV_ROOT_PASSWORD", name)
	}
	if st, err := fs.Stat(name); err == nil && st.Mode().Perm()&0o077 != 0 {
		return Credentials{}, errs.E("", errs.AccessDenied, "%s can be read by others (mode %04o): chmod 600 it, and consider new credentials", name, st.Mode().Perm())
	}
	return c, nil
}

const keyAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // 32 letters: every byte maps evenly

func random(n int, alphabet string) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

// randomSecret has 40 characters, as AWS's have, from 240 random bits; without '/' and '+', which shells and URLs dislike.
func randomSecret() string {
	for {
		b := make([]byte, 30)
		rand.Read(b)                                                   // never fails
		if s := base64.RawURLEncoding.EncodeToString(b); s[0] != '-' { // would look like a flag
			return s
		}
	}
}
