package iam

import (
	"testing"

	"minikv/internal/errs"
)

func TestAuthorize(t *testing.T) {
	alice, bob, root := &Account{CanonicalID: "alice"}, &Account{CanonicalID: "bob"}, &Account{CanonicalID: "root", Root: true}
	hers := Resource{Bucket: "b", Owner: "alice", Key: "k"}
	for _, c := range []struct {
		name   string
		who    *Account
		action Action
		on     Resource
		ok     bool
	}{
		{"the owner reads", alice, GetObject, hers, true},
		{"the owner writes", alice, PutObject, hers, true},
		{"another does not read", bob, GetObject, hers, false},
		{"root is only another", root, GetObject, hers, false},
		{"anonymous", nil, GetObject, hers, false},
		{"anonymous lists no buckets", nil, ListAllMyBuckets, Resource{}, false},
		{"anonymous makes no buckets", nil, CreateBucket, Resource{Bucket: "b"}, false},
		{"anyone lists its own buckets", bob, ListAllMyBuckets, Resource{}, true},
		{"anyone makes buckets", bob, CreateBucket, Resource{Bucket: "new"}, true},
		{"not in another's name", bob, CreateBucket, hers, false},
		{"no action", alice, "", hers, false},
		{"a bucket without owner belongs to nobody", &Account{}, GetObject, Resource{Bucket: "b"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Authorize(c.who, c.action, c.on)
			if (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
			if err != nil && !errs.Is(err, errs.AccessDenied) {
				t.Fatalf("the refusal is %v", err)
			}
		})
	}
}

func TestDirectory(t *testing.T) {
	d := NewDirectory([]User{{Account{AccessKey: "AK", CanonicalID: "id"}, "secret"}})
	if s, ok := d.Secret("AK"); !ok || s != "secret" {
		t.Fatal("the secret is not found")
	}
	if _, ok := d.Secret("ak"); ok {
		t.Fatal("access keys have letter case")
	}
	if a := d.ByKey("AK"); a == nil || a != d.ByID("id") {
		t.Fatal("the account is not found")
	}
	if d.ByKey("none") != nil || d.ByID("none") != nil {
		t.Fatal("an unknown account is found")
	}
}
