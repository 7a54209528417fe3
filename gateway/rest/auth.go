package rest

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"minikv/gateway/iam"
	"minikv/sigv4"
)

// authenticate finds out who asks, by HTTP Basic or by SigV4 for the service s3, and sets body and size. Nothing of the body is read.
func (c *call) authenticate() error {
	if sigv4.Classify(c.req) == sigv4.AuthUnknown {
		if user, pass, ok := c.r.BasicAuth(); ok {
			return c.basic(user, pass)
		}
	}
	res, err := c.s.cfg.Verifier.Verify(c.req, sigv4.ServiceS3)
	if err != nil {
		return err
	}
	if err := checkAmz("", res.QueryHeaders); err != nil {
		return err
	}
	if res.Type == sigv4.AuthAnonymous {
		if !c.s.cfg.Open {
			return newError(http.StatusUnauthorized, "AccessDenied", "Credentials are needed: HTTP Basic with access key and secret key, or AWS Signature Version 4.")
		}
		c.who = c.s.root
	} else {
		c.who = c.s.cfg.Directory.ByKey(res.AccessKey)
	}
	if c.who == nil {
		return newError(http.StatusForbidden, "AccessDenied", "")
	}
	if res.Payload.Mode.Framed() {
		c.size = res.Payload.DecodedLength
	}
	c.body.src, err = res.BodyReader(c.body.src)
	return err
}

// basic checks an access key and its secret. The work is the same whether the key exists or not.
func (c *call) basic(accessKey, secret string) error {
	if !c.s.cfg.PlaintextBasic && c.r.TLS == nil && !onLoopback(c.r) {
		return newError(http.StatusForbidden, "AccessDenied", "HTTP Basic is refused without TLS: anyone on the way could read the secret. Use https, or sign the request.")
	}
	want, known := c.s.cfg.Directory.Secret(accessKey)
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(secret))
	same := subtle.ConstantTimeCompare(a[:], b[:]) == 1
	who := c.s.cfg.Directory.ByKey(accessKey)
	if !known || !same || want == "" || who == nil {
		return newError(http.StatusUnauthorized, "AccessDenied", "The access key or the secret key is wrong.")
	}
	c.who = who
	return nil
}

// operator authenticates and asks for root.
func (c *call) operator() error {
	if err := c.authenticate(); err != nil {
		return err
	}
	if !c.who.Root {
		return newError(http.StatusForbidden, "AccessDenied", "Only root may ask this.")
	}
	return nil
}

// onLoopback says that both ends of the connection are on this machine.
func onLoopback(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && loopback(local.String()) && loopback(r.RemoteAddr)
}

func loopback(addr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// checkOrigin refuses what a foreign web page makes a browser send (R6).
func (c *call) checkOrigin() error {
	if err := c.s.origin.Check(c.r); err != nil {
		return newError(http.StatusForbidden, "AccessDenied", "Cross-origin requests from browsers are refused.")
	}
	if c.s.cfg.Open && !loopbackName(c.r.Host) {
		return newError(http.StatusForbidden, "AccessDenied", "A server without authentication answers only to localhost and loopback addresses.")
	}
	return nil
}

// loopbackName says that a Host header names this machine: else another name was made to point here (DNS rebinding).
func loopbackName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.Unmap().IsLoopback()
}

var _ sigv4.Keys = (*iam.Directory)(nil)
