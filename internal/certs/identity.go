package certs

import (
	"crypto/x509"
	"net/url"
	"strings"

	"minikv/internal/errs"
)

// Role is what a node may act as. Methods of internal RPCs list the roles that may call them.
type Role uint8

// The roles, bits of a set. Their numbers travel in handshakes: append only.
const (
	Gateway     Role = 1 << 0
	Coordinator Role = 1 << 1
	Volume      Role = 1 << 2
)

// Roles is a set of roles.
type Roles uint8

// AllRoles is every role there is: a node that does everything.
const AllRoles = Roles(Gateway | Coordinator | Volume)

// RolesOf is the set of the given roles.
func RolesOf(roles ...Role) Roles {
	var s Roles
	for _, r := range roles {
		s |= Roles(r)
	}
	return s
}

var roleNames = []struct {
	role Role
	name string
}{{Gateway, "gateway"}, {Coordinator, "coordinator"}, {Volume, "volume"}}

// Has says whether the role is in the set.
func (s Roles) Has(r Role) bool { return s&Roles(r) != 0 }

// Any says whether the sets share a role.
func (s Roles) Any(other Roles) bool { return s&other != 0 }

// Valid says whether the set has at least one role and none that is unknown.
func (s Roles) Valid() bool { return s != 0 && s&^AllRoles == 0 }

// Names lists the roles in a fixed order.
func (s Roles) Names() []string {
	var out []string
	for _, r := range roleNames {
		if s.Has(r.role) {
			out = append(out, r.name)
		}
	}
	return out
}

func (s Roles) String() string { return strings.Join(s.Names(), ",") }

func (r Role) String() string { return Roles(r).String() }

// ParseRole reads a role's name.
func ParseRole(name string) (Role, error) {
	for _, r := range roleNames {
		if r.name == name {
			return r.role, nil
		}
	}
	return 0, errs.E("certs.ParseRole", errs.Invalid, "unknown role %q: use gateway, coordinator or volume", name)
}

// ParseRoles reads names separated by commas.
func ParseRoles(list string) (Roles, error) {
	var s Roles
	for name := range strings.SplitSeq(list, ",") {
		r, err := ParseRole(strings.TrimSpace(name))
		if err != nil {
			return 0, err
		}
		s |= Roles(r)
	}
	return s, nil
}

// NodeMax is the longest name of a node, in bytes: a DNS label.
const NodeMax = 63

// CheckNode refuses names that are not 1 to 63 letters, digits, '.', '_' and '-'.
func CheckNode(name string) error {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	if name == "" || len(name) > NodeMax || strings.Trim(name, plain) != "" || strings.Trim(name, ".") == "" {
		return errs.E("certs.CheckNode", errs.Invalid, "the node name %q is not 1 to %d letters, digits, '.', '_' and '-'", name, NodeMax)
	}
	return nil
}

// Identity is who a node is: its name and what it may act as.
type Identity struct {
	Node  string
	Roles Roles
}

func (id Identity) String() string { return id.Node + " (" + id.Roles.String() + ")" }

const (
	uriScheme = "minikv"
	uriHost   = "role"
)

// URIs are the names that a certificate carries for the identity: minikv://role/<role>/<node>, one for each role.
func (id Identity) URIs() []*url.URL {
	var out []*url.URL
	for _, name := range id.Roles.Names() {
		out = append(out, &url.URL{Scheme: uriScheme, Host: uriHost, Path: "/" + name + "/" + id.Node})
	}
	return out
}

// IdentityOf reads the identity from a certificate that was verified already. Certificates without a role, with an unknown one
// or with two node names are refused with errs.AccessDenied.
func IdentityOf(c *x509.Certificate) (Identity, error) {
	const op = "certs.IdentityOf"
	var id Identity
	for _, u := range c.URIs {
		if u.Scheme != uriScheme {
			continue
		}
		name, node, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		role, err := ParseRole(name)
		if !ok || err != nil || u.Host != uriHost || u.RawQuery != "" || u.Fragment != "" || u.User != nil || CheckNode(node) != nil {
			return Identity{}, errs.E(op, errs.AccessDenied, "the certificate has the malformed name %s", u)
		}
		if id.Node != "" && id.Node != node {
			return Identity{}, errs.E(op, errs.AccessDenied, "the certificate names two nodes, %s and %s", id.Node, node)
		}
		id.Node = node
		id.Roles |= Roles(role)
	}
	if id.Roles == 0 {
		return Identity{}, errs.E(op, errs.AccessDenied, "the certificate of %q names no role of minikv", c.Subject.CommonName)
	}
	return id, nil
}
