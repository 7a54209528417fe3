package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/knadh/koanf/v2"
)

// usersMax bounds the list of users.
const usersMax = 10000

// Validate checks what no setting can check alone.
func (c *Config) Validate() error {
	return errors.Join(c.validateTLS(), c.validateRoot(), c.validateDev(), c.validateUsers(), c.validateListeners(), c.validateCluster())
}

func (c *Config) validateTLS() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("tls-cert: %q with tls-key: %q; allowed: both or neither", c.TLSCert, c.TLSKey)
	}
	return nil
}

func (c *Config) validateRoot() error {
	switch {
	case (c.RootUser == "") != (c.RootPassword == ""):
		return errors.New("root-user and root-password: only one is set; allowed: both or neither")
	case c.RootPassword == DevSecretKey && !c.Loopback():
		return fmt.Errorf("root-password: the known password of dev with s3: %q and rest: %q; allowed: a secret of your own, or loopback addresses", c.S3, c.REST)
	}
	return nil
}

func (c *Config) validateDev() error {
	switch {
	case c.Dev && !c.Loopback():
		return fmt.Errorf("dev: \"true\" with s3: %q and rest: %q; allowed: dev only with loopback addresses", c.S3, c.REST)
	case c.Dev && c.RootUser != "":
		return errors.New("dev: \"true\" with root-user; allowed: one of them")
	}
	return nil
}

func (c *Config) validateListeners() error {
	if c.S3 == c.REST && !strings.HasSuffix(c.S3, ":0") {
		return fmt.Errorf("rest: %q is also s3; allowed: two different addresses", c.REST)
	}
	return nil
}

func (c *Config) validateUsers() error {
	if len(c.Users) > usersMax {
		return fmt.Errorf("users: %d of them; allowed: at most %d", len(c.Users), usersMax)
	}
	root := c.RootUser
	if c.Dev {
		root = DevAccessKey
	}
	keys := map[string]bool{root: root != ""}
	ids, accounts := map[string]string{}, map[string]string{}
	var all []error
	for i, u := range c.Users {
		if keys[u.AccessKey] {
			all = append(all, fmt.Errorf("users[%d].access_key: %q is used twice; allowed: each once", i, u.AccessKey))
		}
		if other, dup := ids[u.CanonicalID]; dup {
			all = append(all, fmt.Errorf("users[%d].canonical_id: %q is also %q's; allowed: each once", i, u.CanonicalID, other))
		}
		if other, dup := accounts[u.AccountID]; dup {
			all = append(all, fmt.Errorf("users[%d].account_id: %q is also %q's; allowed: each once", i, u.AccountID, other))
		}
		if u.SecretKey == DevSecretKey && !c.Loopback() {
			all = append(all, fmt.Errorf("users[%d].secret_key: the known secret of dev; allowed: a secret of its own off loopback", i))
		}
		keys[u.AccessKey], ids[u.CanonicalID], accounts[u.AccountID] = true, u.AccessKey, u.AccessKey
	}
	return errors.Join(all...)
}

// userFields says what the fields of a user may hold, and where they go.
var userFields = []struct {
	name, allowed string
	secret        bool
	set           func(*User, string) error
}{
	{"access_key", allowedAccessKey, false, userText(func(u *User) *string { return &u.AccessKey }, parseAccessKey)},
	{"secret_key", allowedSecretKey, true, userText(func(u *User) *string { return &u.SecretKey }, parseSecretKey)},
	{"canonical_id", "1 to 256 printable characters", false, userText(func(u *User) *string { return &u.CanonicalID }, printable(256))},
	{"account_id", "12 digits, in quotes", false, userText(func(u *User) *string { return &u.AccountID }, parseAccountID)},
	{"display_name", "at most 256 printable characters", false, userText(func(u *User) *string { return &u.DisplayName }, printable(256))},
	{"email", "at most 256 printable characters", false, userText(func(u *User) *string { return &u.Email }, printable(256))},
}

func userText(field func(*User) *string, parse func(string) (string, error)) func(*User, string) error {
	return func(u *User, s string) error {
		v, err := parse(s)
		if err == nil {
			*field(u) = v
		}
		return err
	}
}

// parseUsers reads the list of users of the file and fills in what they leave out.
func parseUsers(file *koanf.Koanf) ([]User, error) {
	if !file.Exists(usersKey) {
		return nil, nil
	}
	list, ok := file.Get(usersKey).([]any)
	if !ok {
		return nil, errors.New("users: not a list; allowed: a list of {access_key, secret_key, canonical_id, account_id, display_name, email}")
	}
	var (
		users []User
		all   []error
	)
	for i, entry := range list {
		u, err := parseUser(i, entry)
		users, all = append(users, u), append(all, err)
	}
	return users, errors.Join(all...)
}

func parseUser(i int, entry any) (User, error) {
	m, ok := entry.(map[string]any)
	if !ok {
		return User{}, fmt.Errorf("users[%d]: not a mapping; allowed: access_key, secret_key, canonical_id, account_id, display_name, email", i)
	}
	var (
		u   User
		all []error
	)
	left := len(m)
	for _, f := range userFields {
		v, ok := m[f.name]
		if !ok {
			continue
		}
		left--
		if s, ok := text(v); !ok || f.set(&u, s) != nil {
			shown := fmt.Sprintf("%q", fmt.Sprint(v))
			if f.secret {
				shown = "the value (not shown)"
			}
			all = append(all, fmt.Errorf("users[%d].%s: %s is not allowed; allowed: %s", i, f.name, shown, f.allowed))
		}
	}
	if left > 0 {
		all = append(all, unknownFields(i, m))
	}
	if err := errors.Join(all...); err != nil {
		return u, err
	}
	if u.AccessKey == "" || u.SecretKey == "" {
		return u, fmt.Errorf("users[%d]: access_key or secret_key is missing; allowed: both are needed", i)
	}
	u.fill()
	return u, nil
}

func unknownFields(i int, m map[string]any) error {
	var all []error
	for name := range m {
		known := false
		for _, f := range userFields {
			known = known || f.name == name
		}
		if !known {
			all = append(all, fmt.Errorf("users[%d].%s: unknown key; allowed: access_key, secret_key, canonical_id, account_id, display_name, email", i, name))
		}
	}
	return errors.Join(all...)
}

// fill makes what a user left out from the access key, the same at every start.
func (u *User) fill() {
	id, account := DefaultIDs(u.AccessKey)
	if u.CanonicalID == "" {
		u.CanonicalID = id
	}
	if u.AccountID == "" {
		u.AccountID = account
	}
	if u.DisplayName == "" {
		u.DisplayName = u.AccessKey
	}
}

// DefaultIDs gives the canonical id (64 hexadecimal digits) and the account id (12 digits) of a name.
func DefaultIDs(name string) (canonicalID, accountID string) {
	h := sha256.Sum256([]byte("minikv account " + name))
	return hex.EncodeToString(h[:]), fmt.Sprintf("%012d", binary.BigEndian.Uint64(h[:8])%1e12)
}

func parseAccountID(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if len(s) != 12 || strings.Trim(s, "0123456789") != "" {
		return "", errValue
	}
	return s, nil
}

func printable(bytesMax int) func(string) (string, error) {
	return func(s string) (string, error) {
		if len(s) > bytesMax {
			return "", errValue
		}
		for _, r := range s {
			if r < ' ' || r == 0x7f || r == 0xfffd {
				return "", errValue
			}
		}
		return s, nil
	}
}
