// Package iam knows accounts and their keys, and decides who may do what. Pure.
package iam

// Account owns buckets and objects. Every configured user is an account of its own.
type Account struct {
	AccessKey   string
	CanonicalID string // any string; by default 64 hexadecimal digits
	AccountID   string // 12 digits, for ARNs
	DisplayName string
	Email       string
	Root        bool // the operator; no special rights on others' buckets
}

// User is an account with its secret, as configured.
type User struct {
	Account
	SecretKey string
}

// Directory finds accounts. Immutable.
type Directory struct {
	byKey map[string]User
	byID  map[string]*Account
}

// NewDirectory indexes users; later ones with the same access key win.
func NewDirectory(users []User) *Directory {
	d := &Directory{byKey: make(map[string]User, len(users)), byID: make(map[string]*Account, len(users))}
	for _, u := range users {
		d.byKey[u.AccessKey] = u
		a := u.Account
		d.byID[u.CanonicalID] = &a
	}
	return d
}

// Secret gives the secret of an access key.
func (d *Directory) Secret(accessKey string) (string, bool) {
	u, ok := d.byKey[accessKey]
	return u.SecretKey, ok
}

// ByKey gives the account of an access key, nil if there is none.
func (d *Directory) ByKey(accessKey string) *Account {
	u, ok := d.byKey[accessKey]
	if !ok {
		return nil
	}
	return d.byID[u.CanonicalID]
}

// ByID gives the account with a canonical id, nil if there is none.
func (d *Directory) ByID(canonicalID string) *Account { return d.byID[canonicalID] }
