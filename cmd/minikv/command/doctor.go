package command

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"minikv/cmd/minikv/client"
	"minikv/cmd/minikv/doctor"
)

func newDoctor(e *env) *cobra.Command {
	c := &cobra.Command{
		Use: "doctor", Short: "Check what an S3 server promises", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newDoctorCAS(e))
	return c
}

func newDoctorCAS(e *env) *cobra.Command {
	var (
		cfg    doctor.Config
		caCert string
	)
	c := &cobra.Command{
		Use: "cas", Short: "Check that conditional writes are safe to build locks on", Args: noArgs,
		Example: "  minikv doctor cas --endpoint http://127.0.0.1:9000\n  minikv doctor cas --endpoint http://a:9000 --endpoint http://b:9000 --duration 1m --generations 100000",
		Long: "Check compare-and-swap on any S3 server, this one or another: in each generation all writers PUT the same key with If-Match of\n" +
			"the version that is there (every tenth: with If-None-Match: * of a deleted key), at once. Exactly one may succeed, and what it\n" +
			"wrote must stay. Writes without an answer may have happened, once. First every endpoint must prove to be an S3 server of one store that\n" +
			"can be written to; what is none (the REST port, a proxy) is not written to. A bucket is made and removed unless --bucket names one.\n\n" +
			"Ends with 0 when all generations were as they should, with 1 when conditions are ignored or broken, with 5 when the check\n" +
			"could not be made. Credentials: flags, else MINIKV_ACCESS_KEY and MINIKV_SECRET_KEY, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,\n" +
			"MINIKV_ROOT_USER and MINIKV_ROOT_PASSWORD.\n" + exitHelp,
	}
	f := c.Flags()
	f.StringArrayVar(&cfg.Endpoints, "endpoint", nil, "S3 endpoint; given several times, writers are spread over the endpoints of one store")
	f.StringVar(&cfg.AccessKey, "access-key", "", "access key")
	f.StringVar(&cfg.SecretKey, "secret-key", "", "secret key (other users of the machine can see it)")
	f.StringVar(&cfg.Region, "region", "us-east-1", "region to sign for")
	f.StringVar(&cfg.Bucket, "bucket", "", "bucket to use; one key in it is written and deleted")
	f.IntVar(&cfg.Writers, "writers", 50, "writers that race, 2 to 1,000")
	f.IntVar(&cfg.Generations, "generations", 100, "generations at most")
	f.DurationVar(&cfg.Duration, "duration", 0, "time at most; 0: no limit")
	f.DurationVar(&cfg.Timeout, "timeout", 30*time.Second, "time for one request")
	f.StringVar(&caCert, "ca-cert", "", "certificate authority (PEM) to trust besides the system's")
	f.BoolVar(&e.json, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case len(cfg.Endpoints) == 0:
			return usagef("--endpoint: name an S3 endpoint, http://host:port")
		case cfg.Writers < 2 || cfg.Writers > 1000:
			return usagef("--writers: %d is not allowed; allowed: 2 to 1,000", cfg.Writers)
		case cfg.Generations < 1 || cfg.Timeout <= 0 || cfg.Duration < 0:
			return usagef("--generations, --timeout and --duration must be positive")
		}
		if err := doctorCredentials(&cfg); err != nil {
			return err
		}
		if caCert != "" {
			pool, err := client.Trust(caCert)
			if err != nil {
				return usageError{err}
			}
			cfg.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		}
		r, err := doctor.CAS(cmd.Context(), cfg)
		if perr := printCAS(e, r); err == nil {
			err = perr
		}
		return err
	}
	return c
}

func doctorCredentials(cfg *doctor.Config) error {
	for _, p := range [][2]string{
		{cfg.AccessKey, cfg.SecretKey},
		{os.Getenv("MINIKV_ACCESS_KEY"), os.Getenv("MINIKV_SECRET_KEY")},
		{os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")},
		{os.Getenv("MINIKV_ROOT_USER"), os.Getenv("MINIKV_ROOT_PASSWORD")},
	} {
		if (p[0] == "") != (p[1] == "") {
			return usagef("only one of access key and secret key is given; both belong together")
		}
		if p[0] != "" {
			cfg.AccessKey, cfg.SecretKey = p[0], p[1]
			return nil
		}
	}
	return usagef("credentials are missing: MINIKV_ACCESS_KEY and MINIKV_SECRET_KEY, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
}

func printCAS(e *env, r doctor.Report) error {
	if e.json {
		return printJSON(e.out, r)
	}
	for _, v := range r.Violations {
		fmt.Fprintln(e.out, v)
	}
	if r.Generations == 0 { // nothing to count: the error says it all
		return nil
	}
	_, err := fmt.Fprintf(e.out, "%d generations of %d writers in %.1f s: %d writes succeeded, %d were refused, %d without an answer; %d violations\n",
		r.Generations, r.Writers, r.Seconds, r.Succeeded, r.Refused, r.Unknown, len(r.Violations))
	return err
}

// checkFailed says that the doctor could not look.
func checkFailed(err error) bool { return errors.Is(err, doctor.ErrUnavailable) }
