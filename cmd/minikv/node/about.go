package node

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"minikv/gateway/iam"
	"minikv/internal/buildinfo"
	"minikv/internal/config"
	"minikv/internal/rpc/secure"
	"minikv/proto/coordpb"
)

// about is what a node knows of itself, to be told to others.
type about struct {
	id       []byte // of the data directory; nil: a process alone
	started  time.Time
	version  string
	s3, rest string     // host:port, as listened on; empty: none
	users    []iam.User // root first
}

func newAbout(id []byte, s3, rest string, users []iam.User) *about {
	a := &about{id: id, started: time.Now(), s3: s3, rest: rest, users: users}
	a.version, _ = buildinfo.Get()
	return a
}

// info is what the leader is told.
func (a *about) info(roles []string) *coordpb.NodeInfo {
	return &coordpb.NodeInfo{
		Id: a.id, Roles: roles, Version: a.version, UptimeMs: time.Since(a.started).Milliseconds(), S3: a.s3, Rest: a.rest,
	}
}

// shared are the settings that must be the same on all nodes of a role, as fingerprints: gateways that differ answer clients differently,
// and coordinators do other things when another one leads. Those of the founding count until there is a cluster.
func (a *about) shared(cfg *config.Config, secret secure.Secret, founded bool) (all []*coordpb.Fingerprint) {
	add := func(setting, value string) {
		all = append(all, &coordpb.Fingerprint{Setting: setting, Mac: secret.Fingerprint(setting, []byte(value))})
	}
	if cfg.Has(config.RoleGateway) {
		root := a.users[0]
		add("root-user", root.AccessKey)
		add("root-password", root.SecretKey)
		add("users", usersText(a.users[1:]))
		add("region", cfg.Region)
		add("rest-bucket", cfg.RESTBucket)
	}
	if !cfg.Has(config.RoleCoordinator) {
		return all
	}
	add("epoch.interval", cfg.EpochInterval.String())
	add("epoch.lag", fmt.Sprint(cfg.HorizonLag))
	add("queue.delay", cfg.QueueDelay.String())
	add("down-after", cfg.DownAfter.String())
	add("out-after", cfg.OutAfter.String())
	add("repair.rate", fmt.Sprint(cfg.RepairRate))
	add("compare.interval", cfg.CompareInterval.String())
	if _, founds := cfg.Founding(); founds && !founded {
		add("replication", fmt.Sprint(cfg.Replication))
		add("cluster-volumes", fmt.Sprint(cfg.ClusterVolumes))
		add("shards", fmt.Sprint(cfg.Shards))
		add("blob.size", fmt.Sprint(cfg.BlobSize))
	}
	return all
}

// usersText is an unambiguous text of all that users are, in the order of their access keys.
func usersText(users []iam.User) string {
	users = slices.Clone(users)
	slices.SortFunc(users, func(a, b iam.User) int { return strings.Compare(a.AccessKey, b.AccessKey) })
	var b []byte
	for i := range users {
		u := &users[i]
		for _, s := range []string{u.AccessKey, u.SecretKey, u.CanonicalID, u.AccountID, u.DisplayName, u.Email} {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
	}
	return string(b)
}
