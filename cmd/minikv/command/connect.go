package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/spf13/cobra"

	"minikv/cmd/minikv/client"
	"minikv/cmd/minikv/datadir"
)

const endpointDefault = "http://127.0.0.1:5000"

// connection is how a command finds the server and who it is there.
type connection struct {
	endpoint, accessKey, secretKey, caCert, config, data string
}

// add adds the flags that all client commands have.
func (c *connection) add(cmd *cobra.Command, e *env) {
	f := cmd.Flags()
	f.StringVar(&c.endpoint, "endpoint", "", "address of the REST API (MINIKV_ENDPOINT) (default "+endpointDefault+")")
	f.StringVar(&c.accessKey, "access-key", "", "access key (MINIKV_ACCESS_KEY)")
	f.StringVar(&c.secretKey, "secret-key", "", "secret key (MINIKV_SECRET_KEY, which other users of the machine do not see)")
	f.StringVar(&c.caCert, "ca-cert", "", "certificate authority (PEM) to trust besides the system's (MINIKV_CA_CERT)")
	f.StringVar(&c.config, "config", "", "YAML file with endpoint, access_key, secret_key, ca_cert (default: minikv/client.yaml in the user's configuration folder, if it exists)")
	f.StringVar(&c.data, "data", "./data", "data directory whose stored root credentials to use with a server on this machine, if no others are given")
	f.BoolVar(&e.json, "json", false, "print JSON")
}

// open makes the client: each setting from the flag, else the environment, else the file. Credentials may at last be root's, from the
// environment or the data directory, but those are only shown to this machine.
func (c *connection) open() (*client.Client, error) {
	file, err := c.file()
	if err != nil {
		return nil, usageError{err}
	}
	cfg := client.Config{
		Endpoint: first(c.endpoint, os.Getenv("MINIKV_ENDPOINT"), file["endpoint"], endpointDefault),
		CACert:   first(c.caCert, os.Getenv("MINIKV_CA_CERT"), file["ca_cert"]),
	}
	pairs := [][2]string{
		{c.accessKey, c.secretKey},
		{os.Getenv("MINIKV_ACCESS_KEY"), os.Getenv("MINIKV_SECRET_KEY")},
		{file["access_key"], file["secret_key"]},
	}
	if client.Loopback(cfg.Endpoint) {
		pairs = append(pairs, [2]string{os.Getenv("MINIKV_ROOT_USER"), os.Getenv("MINIKV_ROOT_PASSWORD")})
		if stored, err := datadir.StoredCredentials(c.data); err == nil {
			pairs = append(pairs, [2]string{stored.AccessKey, stored.SecretKey})
		}
	}
	for _, p := range pairs {
		if (p[0] == "") != (p[1] == "") {
			return nil, usagef("only one of access key and secret key is given; both belong together")
		}
		if p[0] != "" {
			cfg.AccessKey, cfg.SecretKey = p[0], p[1]
			break
		}
	}
	cl, err := client.New(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	return cl, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// file reads the client's configuration file.
func (c *connection) file() (map[string]string, error) {
	name := c.config
	if name == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, nil // no home: no file
		}
		name = filepath.Join(dir, "minikv", "client.yaml")
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && c.config == "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	values, err := yaml.Parser().Unmarshal(b)
	if err != nil {
		return nil, fmt.Errorf("config: %s is not YAML: %w", name, err)
	}
	out := map[string]string{}
	for key, v := range values {
		s, ok := v.(string)
		switch key {
		case "endpoint", "access_key", "secret_key", "ca_cert":
		default:
			return nil, fmt.Errorf("config: unknown key %q in %s; allowed: endpoint, access_key, secret_key, ca_cert", key, name)
		}
		if !ok {
			return nil, fmt.Errorf("config: %s in %s is not text", key, name)
		}
		out[key] = s
	}
	return out, nil
}
