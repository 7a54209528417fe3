package config

import (
	"net/netip"
	"strings"
	"time"

	"minikv/internal/object"
)

// setting is one row of the table: a key with everything that follows from it.
type setting struct {
	key     string // flag --key, file key, environment MINIKV_KEY (upper case, '-' and '.' as '_')
	def     string
	usage   string
	allowed string
	group   string
	isBool  bool
	secret  bool // no flag (command lines are public) and never shown
	set     func(c *Config, s string) error
}

// Env is the name of the setting's environment variable.
func (s *setting) Env() string {
	return envPrefix + strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(s.key))
}

const (
	groupServe    = "Serving"
	groupWho      = "Who may use it"
	groupStore    = "Storage"
	groupOps      = "Logs and operation"
	groupAdvanced = "Advanced (tests and unusual machines)"
)

var settings = []*setting{
	{key: "data", def: "./data", group: groupServe, usage: "data directory", allowed: "a path",
		set: to(func(c *Config) *string { return &c.Data }, notEmpty)},
	{key: "s3", def: "127.0.0.1:9000", group: groupServe, usage: "listen address of the S3 API", allowed: allowedAddr,
		set: to(func(c *Config) *string { return &c.S3 }, parseAddr)},
	{key: "rest", def: "127.0.0.1:5000", group: groupServe, usage: "listen address of REST, health and metrics", allowed: allowedAddr,
		set: to(func(c *Config) *string { return &c.REST }, parseAddr)},
	{key: "region", def: "us-east-1", group: groupServe, usage: "region of the buckets; us-east-1 is accepted besides", allowed: "lower-case letters, digits and hyphens",
		set: to(func(c *Config) *string { return &c.Region }, parseRegion)},
	{key: "domain", def: "", group: groupServe, usage: "domains for virtual-host style requests (bucket.DOMAIN)", allowed: "host names, separated by commas",
		set: to(func(c *Config) *[]string { return &c.Domains }, parseDomains)},
	{key: "tls-cert", def: "", group: groupServe, usage: "certificate chain (PEM) for both listeners; with tls-key", allowed: "a path",
		set: to(func(c *Config) *string { return &c.TLSCert }, anyText)},
	{key: "tls-key", def: "", group: groupServe, usage: "private key (PEM) for both listeners; with tls-cert", allowed: "a path",
		set: to(func(c *Config) *string { return &c.TLSKey }, anyText)},
	{key: "rest-bucket", def: "minikv", group: groupServe, usage: "bucket that the REST API reads and writes; made at start, owned by root", allowed: allowedBucket,
		set: to(func(c *Config) *string { return &c.RESTBucket }, parseBucket)},
	{key: "default-buckets", def: "", group: groupServe, usage: "buckets made at start, owned by root", allowed: "bucket names, separated by commas",
		set: to(func(c *Config) *[]string { return &c.DefaultBuckets }, parseBuckets)},

	{key: "root-user", def: "", group: groupWho, secret: true, usage: "access key of the operator; without it, credentials are made at the first start and kept in the data directory", allowed: allowedAccessKey,
		set: to(func(c *Config) *string { return &c.RootUser }, parseAccessKey)},
	{key: "root-password", def: "", group: groupWho, secret: true, usage: "secret key of the operator; with root-user", allowed: allowedSecretKey,
		set: to(func(c *Config) *string { return &c.RootPassword }, parseSecretKey)},
	{key: "dev", def: "false", group: groupWho, isBool: true, usage: "known credentials (" + DevAccessKey + " / " + DevSecretKey + ") and open REST; refused off loopback", allowed: allowedBool,
		set: to(func(c *Config) *bool { return &c.Dev }, parseBool)},
	{key: "plaintext-basic", def: "false", group: groupWho, isBool: true, usage: "accept HTTP Basic without TLS from other machines (behind a proxy that ends TLS)", allowed: allowedBool,
		set: to(func(c *Config) *bool { return &c.PlaintextBasic }, parseBool)},
	{key: "public-metrics", def: "false", group: groupWho, isBool: true, usage: "serve /metrics to other machines without authentication", allowed: allowedBool,
		set: to(func(c *Config) *bool { return &c.PublicMetrics }, parseBool)},

	{key: "fsync", def: "always", group: groupStore, usage: "when a write is on disk: always before it is acknowledged; interval and never lose acknowledged writes on power loss", allowed: "always, interval or never",
		set: to(func(c *Config) *string { return &c.Fsync }, oneOf("always", "interval", "never"))},
	{key: "fsync-interval", def: "100ms", group: groupStore, usage: "time between syncs with fsync=interval", allowed: "a duration from 1ms to 1m",
		set: to(func(c *Config) *time.Duration { return &c.FsyncInterval }, durationIn(time.Millisecond, time.Minute))},
	{key: "volume.reserve", def: "auto", group: groupStore, usage: "free space below which writes answer 507", allowed: "auto (the larger of 1 GiB and 3 %) or a size from 1MiB",
		set: to(func(c *Config) *int64 { return &c.VolumeReserve }, sizeIn(1<<20, 1<<50, true))},
	{key: "ballast.size", def: "256MiB", group: groupStore, usage: "space set aside so that deletes work on a full disk, by the coordinator and by the volume each", allowed: "a size from 0 to 16GiB",
		set: to(func(c *Config) *int64 { return &c.Ballast }, sizeIn(0, 16<<30, false))},

	{key: "log-level", def: "info", group: groupOps, usage: "least level that is logged", allowed: "debug, info, warn or error",
		set: to(func(c *Config) *string { return &c.LogLevel }, oneOf("debug", "info", "warn", "error"))},
	{key: "log-format", def: "console", group: groupOps, usage: "form of the log on standard error", allowed: "console or json",
		set: to(func(c *Config) *string { return &c.LogFormat }, oneOf("console", "json"))},
	{key: "idle-timeout", def: "60s", group: groupOps, usage: "a request that moves no byte for this long is ended", allowed: "a duration from 1s to 1h",
		set: to(func(c *Config) *time.Duration { return &c.IdleTimeout }, durationIn(time.Second, time.Hour))},
	{key: "connections.per-address", def: "1000", group: groupOps, usage: "connections that one remote address may have on each port (of IPv6 one /64); 0: no bound", allowed: "a number from 0 to 100000",
		set: to(func(c *Config) *int { return &c.ConnectionsPerAddress }, intIn(0, 100000))},
	{key: "connections.exempt", def: "127.0.0.0/8,::1", group: groupOps, usage: "addresses that have no such bound: proxies and balancers", allowed: "addresses and networks (10.0.0.0/8), separated by commas",
		set: to(func(c *Config) *[]netip.Prefix { return &c.ConnectionsExempt }, parsePrefixes)},
	{key: "shutdown-timeout", def: "30s", group: groupOps, usage: "longest wait for running requests at SIGTERM", allowed: "a duration from 0s to 1h",
		set: to(func(c *Config) *time.Duration { return &c.ShutdownTimeout }, durationIn(0, time.Hour))},
	{key: "pprof", def: "false", group: groupOps, isBool: true, usage: "serve /debug/pprof to root on the REST port", allowed: allowedBool,
		set: to(func(c *Config) *bool { return &c.Pprof }, parseBool)},
	{key: "memory.limit", def: "auto", group: groupOps, usage: "soft limit of memory for the Go runtime; GOMEMLIMIT wins", allowed: "auto (90 % of the cgroup's limit, if it has one) or a size from 64MiB",
		set: to(func(c *Config) *int64 { return &c.MemoryLimit }, sizeIn(64<<20, 1<<50, true))},

	{key: "body.budget", def: "256MiB", group: groupAdvanced, usage: "memory for the bodies of all requests together", allowed: "a size from 16MiB to 64GiB",
		set: to(func(c *Config) *int64 { return &c.BodyBudget }, sizeIn(16<<20, 64<<30, false))},
	{key: "blob.size", def: "4MiB", group: groupAdvanced, usage: "largest blob a body is cut into; fixed when the data directory is made", allowed: "a size from 64KiB to 8MiB",
		set: to(func(c *Config) *int64 { return &c.BlobSize }, sizeIn(64<<10, 8<<20, false))},
	{key: "shards", def: "256", group: groupAdvanced, usage: "shards that blobs are spread over; fixed when the data directory is made", allowed: "a number from 1 to 65536",
		set: to(func(c *Config) *int { return &c.Shards }, intIn(1, 65536))},
	{key: "epoch.interval", def: "1h", group: groupAdvanced, usage: "time between two epochs", allowed: "a duration from 10ms to 24h",
		set: to(func(c *Config) *time.Duration { return &c.EpochInterval }, durationIn(10*time.Millisecond, 24*time.Hour))},
	{key: "epoch.lag", def: "48", group: groupAdvanced, usage: "epochs after which an undecided write is given up", allowed: "a number from 2 to 10000",
		set: to(func(c *Config) *int { return &c.HorizonLag }, intIn(2, 10000))},
	{key: "collect.interval", def: "30s", group: groupAdvanced, usage: "time between two rounds of the collector of deleted and orphaned bytes", allowed: "a duration from 10ms to 24h",
		set: to(func(c *Config) *time.Duration { return &c.CollectInterval }, durationIn(10*time.Millisecond, 24*time.Hour))},
	{key: "queue.delay", def: "15m", group: groupAdvanced, usage: "time that deleted bytes are kept", allowed: "a duration from 0s to 720h",
		set: to(func(c *Config) *time.Duration { return &c.QueueDelay }, durationIn(0, 720*time.Hour))},
}

// What is allowed, where several settings share it.
const (
	allowedAddr      = "host:port; an empty host is every interface, port 0 a free one"
	allowedBool      = "true or false"
	allowedBucket    = "a bucket name: 3 to 63 lower-case letters, digits, hyphens and periods"
	allowedAccessKey = "3 to 128 letters, digits and . _ @ + -"
	allowedSecretKey = "8 to 128 printable characters without spaces"
)

// to makes the setter of a field.
func to[T any](field func(*Config) *T, parse func(string) (T, error)) func(*Config, string) error {
	return func(c *Config, s string) error {
		v, err := parse(s)
		if err == nil {
			*field(c) = v
		}
		return err
	}
}

func anyText(s string) (string, error) { return s, nil }

func notEmpty(s string) (string, error) {
	if s == "" {
		return "", errValue
	}
	return s, nil
}

func parseRegion(s string) (string, error) {
	if s == "" || len(s) > 63 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", errValue
	}
	return s, nil
}

func parseDomains(s string) ([]string, error) {
	var out []string
	for _, d := range parseList(s) {
		d = strings.ToLower(strings.Trim(d, "."))
		if d == "" || strings.Trim(d, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			return nil, errValue
		}
		out = append(out, d)
	}
	return out, nil
}

func parseBucket(s string) (string, error) {
	b, err := object.ParseBucket(s)
	return string(b), err
}

func parseBuckets(s string) ([]string, error) {
	names := parseList(s)
	for _, n := range names {
		if _, err := object.ParseBucket(n); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// parseAccessKey refuses what would be ambiguous in a credential scope ('/', ','), a Basic header (':') or a shell line.
func parseAccessKey(s string) (string, error) {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-"
	if s == "" {
		return "", nil
	}
	if len(s) < 3 || len(s) > 128 {
		return "", errValue
	}
	for i := range len(s) {
		if strings.IndexByte(plain, s[i]) < 0 {
			return "", errValue
		}
	}
	return s, nil
}

func parseSecretKey(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if len(s) < 8 || len(s) > 128 {
		return "", errValue
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return "", errValue
		}
	}
	return s, nil
}
