// Package config is the settings of `minikv serve`: one table of settings (settings.go) from which flags, environment names, file
// keys, defaults, checks and documentation all come.
//
//	C1 Sources in rising order: defaults, file, environment, flags. A later source wins key by key.
//	C2 An unknown key, in the file or as MINIKV_*, and a bad value are refused; the error names the key, the value, where
//	   it came from and what is allowed. Values of secret settings are never shown.
//	C3 A Config that Load returned is valid as a whole: Validate ran, after all defaults were applied.
package config

import (
	"net"
	"net/netip"
	"strings"
	"time"
)

// The known credentials of --dev. They are refused off loopback.
const (
	DevAccessKey = "minikv"
	DevSecretKey = "minikvdev"
)

// Config is everything `minikv serve` can be told. Sizes are in bytes.
type Config struct {
	File string // the configuration file that was read; empty: none
	Data string

	S3      string // listen address, host:port
	REST    string // listen address, host:port
	Region  string
	Domains []string // virtual-host suffixes, lower case
	TLSCert string
	TLSKey  string

	RootUser       string // empty, with RootPassword: stored or made at first start
	RootPassword   string
	Users          []User
	Dev            bool
	DefaultBuckets []string
	RESTBucket     string

	Fsync         string // always, interval, never
	FsyncInterval time.Duration

	Node             string // empty: a process alone
	Cluster          []Peer
	Join             []string
	Roles            []string
	RPC, Raft        string // listen addresses; empty: from Cluster
	RPCAdvertise     string // that other nodes are told; empty: from Cluster or RPC
	RaftAdvertise    string // empty: from RPCAdvertise and Raft
	Zone             string
	ClusterSecret    string
	ClusterPlaintext bool
	ClusterTLS       string // folder
	Replication      int
	VolumeWeight     *uint64       // nil: by capacity
	ClusterVolumes   int           // 0: as many as the founding nodes
	DownAfter        time.Duration // silence of a volume
	OutAfter         time.Duration
	CompareInterval  time.Duration
	RepairRate       int64 // bytes per second; 0: no bound

	LogLevel  string
	LogFormat string // console, json

	ConnectionsPerAddress int            // 0: no bound
	ConnectionsExempt     []netip.Prefix // from that

	IdleTimeout     time.Duration // no byte for this long ends a request
	ShutdownTimeout time.Duration // bound on draining
	Pprof           bool
	PublicMetrics   bool // metrics without authentication off loopback
	PlaintextBasic  bool // accept Basic over plaintext off loopback

	MemoryLimit     int64 // soft limit of the Go heap; 0: from the cgroup
	BodyBudget      int64
	BlobSize        int64
	Shards          int
	EpochInterval   time.Duration
	HorizonLag      int // epochs
	QueueDelay      time.Duration
	CollectInterval time.Duration
	VolumeReserve   int64 // free space below which writes are refused; 0: max(1 GiB, 3 %)
	Ballast         int64
}

// User is an account from the configuration file.
type User struct {
	AccessKey   string `yaml:"access_key"`
	SecretKey   string `yaml:"secret_key"`
	CanonicalID string `yaml:"canonical_id"` // any string; by default 64 hexadecimal digits made of the access key
	AccountID   string `yaml:"account_id"`   // 12 digits; by default made of the access key
	DisplayName string `yaml:"display_name"` // by default the access key
	Email       string `yaml:"email"`
}

// TLS says that both listeners speak TLS.
func (c *Config) TLS() bool { return c.TLSCert != "" }

// Loopback says that neither listener can be reached from another machine.
func (c *Config) Loopback() bool { return LoopbackAddress(c.S3) && LoopbackAddress(c.REST) }

// LoopbackAddress says that a listen address is bound to loopback only: an address of 127.0.0.0/8, ::1 or the name localhost.
// An empty host means every interface.
func LoopbackAddress(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
