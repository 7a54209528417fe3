package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// Roles of a node.
const (
	RoleGateway     = "gateway"
	RoleCoordinator = "coordinator"
	RoleVolume      = "volume"
)

const groupCluster = "Cluster"

// clusterSecretMin is the shortest cluster secret in bytes.
const clusterSecretMin = 16

const (
	allowedPeers  = "name=host:port, separated by commas"
	allowedListen = "host:port, or empty"

	allowedAdvertise = "host:port that can be called, or empty"
)

// Peer is a node of the cluster by its name and the address of its RPC.
type Peer struct{ Name, Address string }

var clusterSettings = []*setting{
	{key: "node", def: "", group: groupCluster, usage: "name of this node; with it, the process is one of a cluster", allowed: allowedNode,
		set: to(func(c *Config) *string { return &c.Node }, parseNode)},
	{key: "cluster", def: "", group: groupCluster, usage: "coordinators that found the cluster, the same on each: name and RPC address", allowed: allowedPeers,
		set: to(func(c *Config) *[]Peer { return &c.Cluster }, parsePeers)},
	{key: "join", def: "", group: groupCluster, usage: "RPC addresses of coordinators of a cluster to belong to", allowed: "host:port, separated by commas",
		set: to(func(c *Config) *[]string { return &c.Join }, parseAddrs)},
	{key: "roles", def: "gateway,coordinator,volume", group: groupCluster, usage: "what this node does", allowed: "any of gateway, coordinator, volume, separated by commas",
		set: to(func(c *Config) *[]string { return &c.Roles }, parseRoles)},
	{key: "rpc", def: "", group: groupCluster, usage: "listen address of RPC between nodes; empty: the node's own address in cluster, else 127.0.0.1:5001", allowed: allowedListen,
		set: to(func(c *Config) *string { return &c.RPC }, parseAddrOrNone)},
	{key: "raft", def: "", group: groupCluster, usage: "listen address of Raft; empty: one port above rpc", allowed: allowedListen,
		set: to(func(c *Config) *string { return &c.Raft }, parseAddrOrNone)},
	{key: "rpc-advertise", def: "", group: groupCluster, usage: "address at which other nodes reach rpc, through NAT, a container's port or a proxy; empty: the node's own address in cluster, else rpc", allowed: allowedAdvertise,
		set: to(func(c *Config) *string { return &c.RPCAdvertise }, parseReachableOrNone)},
	{key: "raft-advertise", def: "", group: groupCluster, usage: "address at which other nodes reach raft; empty: the host of rpc-advertise with the port of raft", allowed: allowedAdvertise,
		set: to(func(c *Config) *string { return &c.RaftAdvertise }, parseReachableOrNone)},
	{key: "zone", def: "", group: groupCluster, usage: "failure domain above nodes, for example a rack", allowed: "a word, or empty",
		set: to(func(c *Config) *string { return &c.Zone }, parseZone)},
	{key: "cluster-secret", def: "", group: groupCluster, secret: true, usage: "what all nodes know and others do not; it authenticates every call between nodes", allowed: "16 to 128 printable characters without spaces",
		set: to(func(c *Config) *string { return &c.ClusterSecret }, parseClusterSecret)},
	{key: "cluster-plaintext", def: "false", group: groupCluster, isBool: true, usage: "let nodes talk without TLS beyond loopback", allowed: allowedBool,
		set: to(func(c *Config) *bool { return &c.ClusterPlaintext }, parseBool)},
	{key: "cluster-tls", def: "", group: groupCluster, usage: "folder with ca.crt, NODE.crt and NODE.key for TLS between nodes (see minikv cert)", allowed: "a path",
		set: to(func(c *Config) *string { return &c.ClusterTLS }, anyText)},
	{key: "replication", def: "3", group: groupCluster, usage: "replicas of each blob, each on a volume of its own, when the cluster is founded; later: minikv pool set-replication", allowed: "a number from 1 to 7",
		set: to(func(c *Config) *int { return &c.Replication }, intIn(1, 7))},
	{key: "volume-weight", def: "auto", group: groupCluster, usage: "share of the shards that the volume asks for when it joins, beside the capacities or weights of others; 0: none; later: minikv node set-weight", allowed: "auto (its capacity), a number, or a size such as 4TiB, up to 2^60",
		set: to(func(c *Config) **uint64 { return &c.VolumeWeight }, ParseWeight)},
	{key: "repair.rate", def: "64MiB", group: groupCluster, usage: "bytes per second that missing replicas are copied with, in the whole cluster; 0: as fast as it goes", allowed: "a size from 0 to 1TiB",
		set: to(func(c *Config) *int64 { return &c.RepairRate }, sizeIn(0, 1<<40, false))},
	{key: "compare.interval", def: "1h", group: groupCluster, usage: "time between two comparisons of what all replicas hold", allowed: "a duration from 1s to 720h",
		set: to(func(c *Config) *time.Duration { return &c.CompareInterval }, durationIn(time.Second, 720*time.Hour))},
	{key: "cluster-volumes", def: "0", group: groupCluster, usage: "volumes that the cluster is founded with; 0: as many as replication or cluster has members, whichever is more", allowed: "a number from 0 to 4096",
		set: to(func(c *Config) *int { return &c.ClusterVolumes }, intIn(0, 4096))},
	{key: "down-after", def: "30s", group: groupCluster, usage: "a volume that is silent for so long counts as down; on coordinators", allowed: "a duration from 1s to 24h",
		set: to(func(c *Config) *time.Duration { return &c.DownAfter }, durationIn(time.Second, 24*time.Hour))},
	{key: "out-after", def: "10m", group: groupCluster, usage: "the shards of a volume that is silent for so long move to others; on coordinators", allowed: "a duration from 1s to 8760h",
		set: to(func(c *Config) *time.Duration { return &c.OutAfter }, durationIn(time.Second, 8760*time.Hour))},
}

func init() { settings = append(settings, clusterSettings...) }

// Clustered says that the process is a node of a cluster.
func (c *Config) Clustered() bool { return c.Node != "" }

// Has says that the node has a role. A process alone has all.
func (c *Config) Has(role string) bool { return slices.Contains(c.Roles, role) }

// Coordinators are the RPC addresses that the node knows of.
func (c *Config) Coordinators() []string {
	all := slices.Clone(c.Join)
	for _, p := range c.Cluster {
		all = append(all, p.Address)
	}
	return all
}

// Founding is this node's own entry in the list of those that found the cluster.
func (c *Config) Founding() (Peer, bool) {
	for _, p := range c.Cluster {
		if p.Name == c.Node {
			return p, true
		}
	}
	return Peer{}, false
}

func (c *Config) validateCluster() error {
	if !c.Clustered() {
		if len(c.Cluster)+len(c.Join) > 0 || c.RPC+c.Raft+c.RPCAdvertise+c.RaftAdvertise != "" {
			return errors.New("node: empty, with cluster, join, rpc, raft or their advertised addresses; allowed: a name")
		}
		if !c.Has(RoleGateway) || !c.Has(RoleCoordinator) || !c.Has(RoleVolume) {
			return fmt.Errorf("roles: %q without node; allowed: all of them, or a node of a cluster", strings.Join(c.Roles, ","))
		}
		return nil
	}
	_, founds := c.Founding()
	switch {
	case len(c.Cluster)+len(c.Join) == 0:
		return errors.New("cluster and join: both empty with node; allowed: one of them")
	case len(c.Cluster) > 0 && len(c.Join) > 0:
		return errors.New("cluster and join: both are set; allowed: one of them")
	case len(c.ClusterSecret) == 0:
		return fmt.Errorf("cluster-secret: empty with node %q; allowed: at least %d characters, as %sCLUSTER_SECRET or in the file", c.Node, clusterSecretMin, envPrefix)
	case founds && !c.Has(RoleCoordinator):
		return fmt.Errorf("cluster: it lists node %q, which has no role coordinator; allowed: only coordinators", c.Node)
	case c.Has(RoleCoordinator) && len(c.Cluster) > 0 && !founds:
		return fmt.Errorf("cluster: it does not list node %q, a coordinator; allowed: list it, or use join", c.Node)
	case founds && c.RPCAdvertise != "":
		return fmt.Errorf("rpc-advertise: set, and cluster lists node %q; allowed: its address there is the one that others reach", c.Node)
	case c.Has(RoleGateway) && c.RootUser == "" && !c.Dev:
		return errors.New("root-user and root-password: not set; allowed in a cluster: the same ones on every gateway")
	}
	return nil
}

const allowedNode = "1 to 63 letters, digits, '.', '_' and '-', or empty"

func parseNode(s string) (string, error) {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	if len(s) > 63 || strings.Trim(s, plain) != "" {
		return "", errValue
	}
	for i := range len(s) {
		if strings.IndexByte(plain, s[i]) < 0 {
			return "", errValue
		}
	}
	return s, nil
}

func parsePeers(s string) ([]Peer, error) {
	var all []Peer
	for _, entry := range parseList(s) {
		name, addr, ok := strings.Cut(entry, "=")
		if _, err := parseNode(name); !ok || err != nil || name == "" {
			return nil, errValue
		}
		if err := checkReachable(addr); err != nil {
			return nil, err
		}
		for _, p := range all {
			if p.Name == name || p.Address == addr {
				return nil, errValue
			}
		}
		all = append(all, Peer{name, addr})
	}
	return all, nil
}

func parseAddrs(s string) ([]string, error) {
	all := parseList(s)
	for _, a := range all {
		if err := checkReachable(a); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// checkReachable refuses what can be listened on but not called.
func checkReachable(addr string) error {
	if _, err := parseAddr(addr); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || host == "0.0.0.0" || host == "::" || port == "0" {
		return errValue
	}
	return nil
}

func parseRoles(s string) ([]string, error) {
	all := parseList(s)
	for i, r := range all {
		if r != RoleGateway && r != RoleCoordinator && r != RoleVolume || slices.Contains(all[:i], r) {
			return nil, errValue
		}
	}
	if len(all) == 0 {
		return nil, errValue
	}
	return all, nil
}

func parseAddrOrNone(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parseAddr(s)
}

func parseReachableOrNone(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return s, checkReachable(s)
}

// ParseWeight reads a volume's weight: auto, which is nil, a number, or a size.
func ParseWeight(s string) (*uint64, error) {
	if s == "auto" {
		return nil, nil
	}
	n, err := ParseSize(s)
	if err != nil || n < 0 || n > 1<<60 {
		return nil, errValue
	}
	w := uint64(n)
	return &w, nil
}

func parseZone(s string) (string, error) { return printable(63)(s) }

func parseClusterSecret(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if len(s) < clusterSecretMin {
		return "", errValue
	}
	return parseSecretKey(s)
}
