package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func load(t *testing.T, file string, environ, args []string) (*Config, error) {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(fs)
	if file != "" {
		name := filepath.Join(t.TempDir(), "minikv.yaml")
		require.NoError(t, os.WriteFile(name, []byte(file), 0o600))
		args = append([]string{"--config", name}, args...)
	}
	require.NoError(t, fs.Parse(args))
	return Load(fs, environ)
}

func TestDefaultsAreValid(t *testing.T) {
	c := Default()
	require.NoError(t, c.Validate())
	require.Equal(t, "127.0.0.1:9000", c.S3)
	require.Equal(t, "always", c.Fsync)
	require.EqualValues(t, 4<<20, c.BlobSize)
	require.Zero(t, c.VolumeReserve)
	require.True(t, c.Loopback())
	require.Equal(t, "[127.0.0.0/8 ::1/128]", fmt.Sprint(c.ConnectionsExempt))
}

// C1
func TestLaterSourcesWin(t *testing.T) {
	file := "s3: 127.0.0.1:1\nrest: 127.0.0.1:2\nregion: file-1\nblob:\n  size: 1MiB\ndefault-buckets: [aaa, bbb]\nshards: 16\n"
	environ := []string{"PATH=/bin", "MINIKV_REST=127.0.0.1:3", "MINIKV_REGION=env-1", "MINIKV_FSYNC="}
	c, err := load(t, file, environ, []string{"--region", "flag-1"})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1", c.S3)
	require.Equal(t, "127.0.0.1:3", c.REST)
	require.Equal(t, "flag-1", c.Region)
	require.Equal(t, "always", c.Fsync, "an empty variable counts as unset")
	require.EqualValues(t, 1<<20, c.BlobSize)
	require.Equal(t, 16, c.Shards)
	require.Equal(t, []string{"aaa", "bbb"}, c.DefaultBuckets)
}

func TestConfigFileFromEnvironment(t *testing.T) {
	name := filepath.Join(t.TempDir(), "c.yaml")
	require.NoError(t, os.WriteFile(name, []byte("epoch.interval: 2s\n"), 0o600))
	c, err := load(t, "", []string{"MINIKV_CONFIG=" + name}, nil)
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, c.EpochInterval)
}

// C2
func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		file    string
		environ []string
		args    []string
		want    []string // parts of the error
		hidden  string
	}{
		"unknown key":          {file: "s33: x\n", want: []string{"s33", `"x"`, "unknown key", "allowed: data, s3"}},
		"unknown nested key":   {file: "volume:\n  colour: red\n", want: []string{"volume.colour", `"red"`}},
		"not YAML":             {file: "s3: [", want: []string{"not YAML"}},
		"unknown variable":     {environ: []string{"MINIKV_FSINC=always"}, want: []string{"MINIKV_FSINC", `"always"`, "MINIKV_FSYNC"}},
		"a port alone":         {environ: []string{"MINIKV_S3_PORT=9001"}, want: []string{"MINIKV_S3_PORT", `"9001"`, "MINIKV_S3,"}},
		"misspelt secret":      {environ: []string{"MINIKV_ROOT_PASWORD=hunter2hunter2"}, want: []string{"MINIKV_ROOT_PASWORD"}, hidden: "hunter2"},
		"bad fsync":            {args: []string{"--fsync", "sometimes"}, want: []string{"fsync", `"sometimes"`, "a flag", "always, interval or never"}},
		"bad address":          {environ: []string{"MINIKV_S3=9000"}, want: []string{"s3", `"9000"`, "the environment", "host:port"}},
		"bad port":             {args: []string{"--rest", ":70000"}, want: []string{"rest", `":70000"`}},
		"bad size":             {file: "blob.size: 9MiB\n", want: []string{"blob.size", `"9MiB"`, "the file", "64KiB to 8MiB"}},
		"bad bucket":           {environ: []string{"MINIKV_DEFAULT_BUCKETS=ok-1,No"}, want: []string{"default-buckets", "ok-1,No"}},
		"map for a scalar":     {file: "s3:\n  a: b\n", want: []string{"s3.a"}},
		"short password":       {environ: []string{"MINIKV_ROOT_USER=root", "MINIKV_ROOT_PASSWORD=s3cr3t"}, want: []string{"root-password", "8 to 128"}, hidden: "s3cr3t"},
		"user without secret":  {environ: []string{"MINIKV_ROOT_USER=root"}, want: []string{"only one is set"}},
		"one TLS file":         {args: []string{"--tls-cert", "c.pem"}, want: []string{"tls-cert", "c.pem", "both or neither"}},
		"dev off loopback":     {args: []string{"--dev", "--s3", ":9000"}, want: []string{"dev", ":9000", "loopback"}},
		"known secret outside": {args: []string{"--s3", "0.0.0.0:9000"}, environ: []string{"MINIKV_ROOT_USER=minikv", "MINIKV_ROOT_PASSWORD=minikvdev"}, want: []string{"root-password", "known password"}},
		"bad network":          {args: []string{"--connections.exempt", "10.0.0.0/8,10.0.0"}, want: []string{"connections.exempt", "10.0.0.0/8,10.0.0", "networks"}},
		"mapped network":       {args: []string{"--connections.exempt", "::ffff:10.0.0.0/104"}, want: []string{"connections.exempt"}},
		"same address":         {args: []string{"--rest", "127.0.0.1:9000"}, want: []string{"rest", "two different"}},
		"users not a list":     {file: "users: 3\n", want: []string{"users", "a list"}},
		"user: unknown field":  {file: "users: [{access_key: alice, secret_key: secret-of-alice, colour: red}]\n", want: []string{"users[0].colour", "unknown key"}, hidden: "secret-of-alice"},
		"user: no secret":      {file: "users: [{access_key: alice}]\n", want: []string{"users[0]", "missing"}},
		"user: bad account":    {file: "users: [{access_key: alice, secret_key: secret-of-alice, account_id: \"12\"}]\n", want: []string{"users[0].account_id", `"12"`, "12 digits"}},
		"user twice":           {file: "users: [{access_key: alice, secret_key: secret-of-alice}, {access_key: alice, secret_key: secret-of-alice}]\n", want: []string{"users[1].access_key", `"alice"`, "twice"}},
		"two addresses":        {args: []string{"--node", "n1", "--cluster", "n1=h:1", "--rpc-advertise", "h:2"}, environ: []string{"MINIKV_CLUSTER_SECRET=0123456789abcdef"}, want: []string{"rpc-advertise", "n1"}},
		"advertise to no one":  {args: []string{"--raft-advertise", "0.0.0.0:1"}, want: []string{"raft-advertise", "0.0.0.0:1", "that can be called"}},
		"two at once":          {args: []string{"--fsync", "x", "--log-level", "y"}, want: []string{"fsync", "log-level"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.file, tc.environ, tc.args)
			require.Error(t, err)
			for _, part := range tc.want {
				require.Contains(t, err.Error(), part)
			}
			if tc.hidden != "" {
				require.NotContains(t, err.Error(), tc.hidden)
			}
		})
	}
}

func TestForeignEnvironmentIsIgnored(t *testing.T) {
	_, err := load(t, "", []string{
		"MINIKV_SERVICE_HOST=10.0.0.1", "MINIKV_SERVICE_PORT_S3=9000", "MINIKV_PORT=tcp://10.0.0.1:9000",
		"MINIKV_PORT_9000_TCP=tcp://10.0.0.1:9000", "MINIKV_PORT_9000_TCP_PROTO=tcp", "MINIKV_PORT_9000_TCP_PORT=9000",
		"MINIKV_S3_SERVICE_PORT=9000", "MINIKV_S3_PORT=tcp://10.0.0.1:9000", "MINIKV_S3_SERVICE_HOST=10.0.0.1",
		"MINIKV_ENDPOINT=http://x", "MINIKV_TEST_X=1", "NOTMINIKV_X=1",
	}, nil)
	require.NoError(t, err)
}

func TestUsersAreFilledIn(t *testing.T) {
	c, err := load(t, `
users:
  - {access_key: alice, secret_key: secret-of-alice}
  - {access_key: bob, secret_key: secret-of-bob, canonical_id: "bob's own", account_id: "000000000007", display_name: Bob, email: bob@example.com}
`, nil, nil)
	require.NoError(t, err)
	alice, bob := c.Users[0], c.Users[1]
	require.Len(t, alice.CanonicalID, 64)
	require.Len(t, alice.AccountID, 12)
	require.Equal(t, "alice", alice.DisplayName)
	require.Equal(t, User{"bob", "secret-of-bob", "bob's own", "000000000007", "Bob", "bob@example.com"}, bob)
}

func TestLoopbackAddress(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "[::ffff:127.0.0.1]:1": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "example.com:1": false, "127.0.0.1.example.com:1": false, "bad": false,
	} {
		require.Equal(t, want, LoopbackAddress(addr), addr)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "17": 17, "17B": 17, "4KiB": 4096, "4 KiB": 4096, "1kB": 1000, "2MiB": 2 << 20, "1GB": 1e9, "3TiB": 3 << 40} {
		got, err := ParseSize(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "-1", "1.5MiB", "MiB", "9000000TiB", "1 M", "0x10"} {
		_, err := ParseSize(s)
		require.Error(t, err, s)
	}
}

// Each setting is documented, with its environment name and default, exactly as the table says.
func TestSettingsAreDocumented(t *testing.T) {
	const name = "../../docs/configuration.md"
	const begin, end = "<!-- settings: begin (go test ./internal/config -run Documented; MINIKV_TEST_UPDATE=1 rewrites) -->\n", "<!-- settings: end -->\n"
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(b), begin)
	require.True(t, ok)
	_, tail, ok := strings.Cut(rest, end)
	require.True(t, ok)
	want := head + begin + Markdown() + "\n" + end + tail
	if os.Getenv("MINIKV_TEST_UPDATE") != "" {
		require.NoError(t, os.WriteFile(name, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(b))
}

func TestKeysAreUniqueAndDefaultsAllowed(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range settings {
		require.False(t, seen[s.key], s.key)
		require.False(t, seen[s.Env()], s.Env())
		require.False(t, foreignEnv.MatchString(s.Env()), s.Env())
		seen[s.key], seen[s.Env()] = true, true
		require.NoError(t, s.set(new(Config), s.def), s.key)
		require.NotEmpty(t, s.usage+s.allowed, s.key)
	}
}
