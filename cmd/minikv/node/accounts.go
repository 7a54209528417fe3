package node

import (
	"context"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// rootName is what root's ids are made of, so that root keeps its buckets when its access key changes. No access key has
// parentheses.
const rootName = "(root)"

// accounts finds root's credentials and the configured users; root comes first.
func (n *Node) accounts() error {
	key, secret := n.cfg.RootUser, n.cfg.RootPassword
	switch {
	case n.cfg.Dev:
		key, secret = config.DevAccessKey, config.DevSecretKey
	case key == "":
		stored, made, err := n.dir.Credentials()
		if err != nil {
			return err
		}
		key, secret = stored.AccessKey, stored.SecretKey
		n.made, n.kept = made, true
	}
	id, account := config.DefaultIDs(rootName)
	n.users = []iam.User{{
		Account:   iam.Account{AccessKey: key, CanonicalID: id, AccountID: account, DisplayName: "root", Root: true},
		SecretKey: secret,
	}}
	for _, u := range n.cfg.Users {
		if u.AccessKey == key || u.CanonicalID == id || u.AccountID == account {
			return badSetting("users: %q has an access key or id of root; allowed: ones of its own", u.AccessKey)
		}
		n.users = append(n.users, iam.User{
			Account: iam.Account{
				AccessKey: u.AccessKey, CanonicalID: u.CanonicalID, AccountID: u.AccountID, DisplayName: u.DisplayName, Email: u.Email,
			},
			SecretKey: u.SecretKey,
		})
	}
	return nil
}

// printCredentials shows new credentials, once, with lines to paste.
func (n *Node) printCredentials() {
	key, secret := n.users[0].AccessKey, n.users[0].SecretKey
	scheme := "http"
	if n.cfg.TLS() {
		scheme = "https"
	}
	fmt.Fprintf(n.opt.Out, `New root credentials, kept in %[1]s and shown only now:

  aws configure set aws_access_key_id %[2]s
  aws configure set aws_secret_access_key %[3]s
  aws configure set region %[4]s
  aws --endpoint-url %[5]s://%[6]s s3 ls

  echo hello | curl -u %[2]s:%[3]s -T - %[5]s://%[7]s/greeting
  curl -u %[2]s:%[3]s %[5]s://%[7]s/greeting

`, n.dir.CredentialsFile(), key, secret, n.cfg.Region, scheme, reachable(n.s3L.Addr().String()), reachable(n.restL.Addr().String()))
}

// reachable is an address to paste for a listen address.
func reachable(addr string) string {
	for _, any := range []string{"0.0.0.0:", "[::]:", ":"} {
		if port, ok := strings.CutPrefix(addr, any); ok {
			return "127.0.0.1:" + port
		}
	}
	return addr
}

func (n *Node) restBucket() object.Bucket { return object.Bucket(n.cfg.RESTBucket) }

// buckets makes the bucket of the REST API and the default ones, owned by root. That they exist already is fine, but the REST bucket must be
// root's.
func (n *Node) buckets(ctx context.Context, obj *objects.Objects) error {
	owner := n.users[0].CanonicalID
	for i, name := range append([]string{n.cfg.RESTBucket}, n.cfg.DefaultBuckets...) {
		_, err := obj.CreateBucket(ctx, &metapb.CreateBucket{Name: name, Owner: owner, Region: n.cfg.Region, System: i == 0})
		if errs.Is(err, errs.StorageFull) { // which is found out before what is there
			if row, _ := obj.Bucket(ctx, object.Bucket(name)); row.GetOwner() == owner {
				continue
			}
		}
		switch {
		case err == nil:
			n.log.Info("bucket made", zap.String("bucket", name))
		case errs.Is(err, errs.BucketOwned):
		case errs.Is(err, errs.BucketExists) && i > 0:
			n.log.Warn("a default bucket is another account's", zap.String("bucket", name))
		case errs.Is(err, errs.BucketExists):
			return badSetting("rest-bucket: %q is another account's bucket; allowed: one of root's, or a new name", name)
		case errs.Is(err, errs.StorageFull):
			n.log.Warn("no room to make a bucket", zap.String("bucket", name))
		default:
			return errs.Wrap("making bucket "+name, err)
		}
	}
	return nil
}
