package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"minikv/internal/certs"
)

func newCert(e *env) *cobra.Command {
	c := &cobra.Command{
		Use: "cert", Short: "Make the certificates that nodes of a cluster trust each other by", Args: noArgs,
		Long: "Make the certificates for TLS between the nodes of a cluster. Give each node a folder with ca.crt, NODE.crt and NODE.key\n" +
			"(minikv serve --cluster-tls DIR); ca.key stays with you. No file is ever overwritten.",
		Example: "  minikv cert ca --dir ./certs\n  minikv cert node --dir ./certs n1",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newCertCA(e), newCertNode(e))
	return c
}

func newCertCA(e *env) *cobra.Command {
	c := &cobra.Command{Use: "ca", Short: "Make the cluster's authority: ca.crt and ca.key", Args: noArgs}
	dir := c.Flags().String("dir", ".", "folder to write to")
	valid := c.Flags().Duration("valid", 10*365*24*time.Hour, "how long it is valid")
	c.RunE = func(*cobra.Command, []string) error {
		if *valid <= 0 {
			return usagef("--valid is %v; allowed: more than 0", *valid)
		}
		ca, err := certs.NewCA("", time.Now(), *valid)
		if err != nil {
			return err
		}
		if err := certs.SaveCA(*dir, ca); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.out, "%s and %s in %s\n", certs.CACertFile, certs.CAKeyFile, *dir)
		return err
	}
	return c
}

func newCertNode(e *env) *cobra.Command {
	c := &cobra.Command{Use: "node NAME", Short: "Make the certificate of a node, signed by the authority in the folder"}
	dir := c.Flags().String("dir", ".", "folder with ca.crt and ca.key, to write to")
	list := c.Flags().String("roles", "gateway,coordinator,volume", "what the node may act as")
	hosts := c.Flags().StringSlice("host", nil, "DNS names and addresses of the node, for clients that check those; nodes do not")
	valid := c.Flags().Duration("valid", 2*365*24*time.Hour, "how long it is valid")
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || certs.CheckNode(args[0]) != nil {
			return usagef("minikv cert node takes the name of one node: 1 to 63 letters, digits, '.', '_' and '-'")
		}
		return nil
	}
	c.RunE = func(_ *cobra.Command, args []string) error {
		roles, err := certs.ParseRoles(*list)
		if err != nil {
			return usageError{err}
		}
		if *valid <= 0 {
			return usagef("--valid is %v; allowed: more than 0", *valid)
		}
		ca, err := certs.LoadCA(*dir)
		if err != nil {
			return err
		}
		pair, err := ca.Issue(certs.Request{Identity: certs.Identity{Node: args[0], Roles: roles}, Hosts: *hosts, Validity: *valid})
		if err != nil {
			return err
		}
		if err := certs.SaveNode(*dir, args[0], pair); err != nil {
			return err
		}
		cert, key := certs.NodeFiles(*dir, args[0])
		_, err = fmt.Fprintf(e.out, "%s\n%s\n", cert, key)
		return err
	}
	return c
}
