package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

const (
	envPrefix   = "MINIKV_"
	configKey   = "config"
	usersKey    = "users"
	fileSizeMax = 1 << 20 // bytes of a configuration file
)

// clientEnv are the names that the other commands of minikv read.
var clientEnv = []string{"MINIKV_ENDPOINT", "MINIKV_ACCESS_KEY", "MINIKV_SECRET_KEY", "MINIKV_CA_CERT"}

// foreignEnv are names that others put into the environment: Kubernetes and Docker links for a service called minikv or
// minikv-something, and tests.
var foreignEnv = regexp.MustCompile(`^MINIKV_(BIN|TEST_.*|([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?))$`)

// foreign says whether a variable is of others. Theirs that end in _PORT, but for _SERVICE_PORT and links' parts, are URLs, so that a port alone is
// what somebody took for a setting.
func foreign(name, value string) bool {
	if !foreignEnv.MatchString(name) {
		return false
	}
	return !strings.HasSuffix(name, "_PORT") || strings.HasSuffix(name, "_SERVICE_PORT") || linkPart.MatchString(name) || strings.Contains(value, "://")
}

var linkPart = regexp.MustCompile(`_PORT_[0-9]+_(TCP|UDP|SCTP)_PORT$`)

// AddFlags adds --config and the flag of every setting but the secret ones.
func AddFlags(fs *pflag.FlagSet) {
	fs.String(configKey, "", "configuration file (YAML); also MINIKV_CONFIG")
	for _, s := range settings {
		switch {
		case s.secret:
		case s.isBool:
			fs.Bool(s.key, s.def == "true", s.usage)
		default:
			fs.String(s.key, s.def, s.usage+": "+s.allowed)
		}
	}
}

// Load merges defaults, the file that --config or MINIKV_CONFIG names, environ (lines NAME=value) and the flags that were
// set, and validates the whole. The error joins everything that is wrong.
func Load(fs *pflag.FlagSet, environ []string) (*Config, error) {
	c := &Config{File: fileName(fs, environ)}
	file, err := fileSource(c.File)
	if err != nil {
		return nil, err
	}
	users, userErr := parseUsers(file)
	vars, envErr := envSource(environ)
	flags := koanf.New(".")
	if err := flags.Load(posflag.ProviderWithFlag(fs, ".", nil, changed), nil); err != nil {
		return nil, err
	}
	err = errors.Join(checkKeys(file, c.File), userErr, envErr, c.apply(
		source{"the file " + c.File, file}, source{"the environment", vars}, source{"a flag", flags}))
	c.Users = users
	if err != nil {
		return nil, err
	}
	return c, c.Validate()
}

// Default is the configuration without file, environment and flags.
func Default() *Config {
	c := new(Config)
	if err := c.apply(); err != nil {
		panic(err) // the table itself is wrong
	}
	return c
}

// source is where values come from, with its name for errors.
type source struct {
	name   string
	values *koanf.Koanf
}

// apply sets every setting from the last source that has it, or from its default.
func (c *Config) apply(sources ...source) error {
	var all []error
	for _, s := range settings {
		value, from := any(s.def), "the defaults"
		for _, src := range sources {
			if src.values.Exists(s.key) {
				value, from = src.values.Get(s.key), src.name
			}
		}
		t, ok := text(value)
		if ok && s.set(c, t) == nil {
			continue
		}
		shown := fmt.Sprintf("%q", fmt.Sprint(value))
		if s.secret {
			shown = "the value (not shown)"
		}
		all = append(all, fmt.Errorf("%s: %s from %s is not allowed; allowed: %s", s.key, shown, from, s.allowed))
	}
	return errors.Join(all...)
}

func changed(f *pflag.Flag) (string, any) {
	if !f.Changed || find(f.Name) == nil {
		return "", nil
	}
	return f.Name, f.Value.String()
}

func find(key string) *setting {
	for _, s := range settings {
		if s.key == key {
			return s
		}
	}
	return nil
}

func fileName(fs *pflag.FlagSet, environ []string) string {
	if f := fs.Lookup(configKey); f != nil && f.Changed {
		return f.Value.String()
	}
	for _, line := range environ {
		if v, ok := strings.CutPrefix(line, envPrefix+"CONFIG="); ok {
			return v
		}
	}
	return ""
}

func fileSource(name string) (*koanf.Koanf, error) {
	k := koanf.New(".")
	if name == "" {
		return k, nil
	}
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if st.Size() > fileSizeMax {
		return nil, fmt.Errorf("config: %s has %d bytes; allowed: at most %d", name, st.Size(), fileSizeMax)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := k.Load(rawbytes.Provider(b), yaml.Parser()); err != nil {
		return nil, fmt.Errorf("config: %s is not YAML: %w", name, err)
	}
	return k, nil
}

// checkKeys refuses keys of the file that no setting has.
func checkKeys(file *koanf.Koanf, name string) error {
	var all []error
	for _, key := range file.Keys() {
		if key != usersKey && !strings.HasPrefix(key, usersKey+".") && find(key) == nil {
			shown := ""
			if t, ok := text(file.Get(key)); ok && !secretLooking(key) {
				shown = fmt.Sprintf(" (value %q)", t)
			}
			all = append(all, fmt.Errorf("%s: unknown key in %s%s; allowed: %s", key, name, shown, allowedKeys()))
		}
	}
	return errors.Join(all...)
}

// envSource takes the MINIKV_* variables. An empty one counts as unset, as compose files leave them.
func envSource(environ []string) (*koanf.Koanf, error) {
	byEnv := make(map[string]string, len(settings))
	for _, s := range settings {
		byEnv[s.Env()] = s.key
	}
	var all []error
	known := func(name, value string) (string, any) {
		key, ok := byEnv[name]
		switch {
		case ok && value != "":
			return key, value
		case ok, name == envPrefix+"CONFIG", slices.Contains(clientEnv, name), foreign(name, value):
		default:
			shown := ""
			if !secretLooking(name) {
				shown = fmt.Sprintf(" (value %q)", value)
			}
			all = append(all, fmt.Errorf("%s: unknown environment variable%s; allowed: %s", name, shown, allowedEnv()))
		}
		return "", nil
	}
	k := koanf.New(".")
	err := k.Load(env.Provider(".", env.Opt{
		Prefix: envPrefix, TransformFunc: known, EnvironFunc: func() []string { return environ },
	}), nil)
	return k, errors.Join(append(all, err)...)
}

// secretLooking says that a misspelt name may well hold a secret.
func secretLooking(name string) bool {
	n := strings.ToLower(name)
	return strings.Contains(n, "pass") || strings.Contains(n, "secret") || strings.Contains(n, "key") || strings.Contains(n, "root")
}

func allowedKeys() string {
	keys := make([]string, 0, len(settings)+1)
	for _, s := range settings {
		keys = append(keys, s.key)
	}
	return strings.Join(append(keys, usersKey), ", ")
}

func allowedEnv() string {
	names := []string{envPrefix + "CONFIG"}
	for _, s := range settings {
		names = append(names, s.Env())
	}
	return strings.Join(append(names, clientEnv...), ", ")
}
