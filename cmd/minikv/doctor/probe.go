package doctor

import (
	"context"
	"fmt"
	"net/http"
)

// speaksS3 asks for a key that is not there: every S3 server says so, or that it does not tell, as an XML error. What answers HTML, JSON or
// nothing is another server (the REST port of this one, a proxy, a console), and nothing is written to it.
func (c *cas) speaksS3(ctx context.Context, s *server) error {
	a := s.do(ctx, http.MethodGet, c.key, nil)
	code := a.code()
	switch {
	case a.err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, a.err)
	case code == "NoSuchKey" || code == "NoSuchBucket" && c.made || code == "AccessDenied":
		return nil
	case code != "":
		return fmt.Errorf("%w: %s answers a GET of a key that does not exist with %s", ErrUnavailable, s.base, a)
	}
	hint := ""
	if a.kind == "application/json" {
		hint = "; is it the REST port? S3 has a port of its own, by default 9000"
	}
	return fmt.Errorf("%w: %s is no S3 server: a GET of a key that does not exist answers %s%s", ErrUnavailable, s.base, a, hint)
}

// probe makes the key, reads it at every endpoint, and looks whether false conditions are refused at all. It gives the key's ETag.
func (c *cas) probe(ctx context.Context) (etag string, err error) {
	s := c.servers[0]
	first := s.do(ctx, http.MethodPut, c.key, []byte("first"), "If-None-Match", "*")
	if !first.done() {
		return "", fmt.Errorf("%w: PUT with If-None-Match: * of a new key answers %s", ErrUnavailable, first)
	}
	for i, s := range c.servers {
		a := c.read(ctx, i, 0)
		if !a.done() || string(a.body) != "first" || a.etag == "" {
			return "", fmt.Errorf("%w: a key was written at %s and reads at %s as %s", ErrUnavailable, c.servers[0].base, s.base, a)
		}
		etag = a.etag
	}
	ignored := []string{}
	for _, condition := range [][2]string{{"If-None-Match", "*"}, {"If-Match", `"00000000000000000000000000000000"`}} {
		a := s.do(ctx, http.MethodPut, c.key, []byte("second"), condition[0], condition[1])
		switch {
		case a.done():
			ignored = append(ignored, condition[0])
			c.report.Violations = append(c.report.Violations, fmt.Sprintf("a PUT whose %s: %s was false was taken", condition[0], condition[1]))
		case a.err != nil || a.status != http.StatusPreconditionFailed:
			return "", fmt.Errorf("%w: PUT with a false %s answers %s, not 412", ErrUnavailable, condition[0], a)
		}
	}
	if len(ignored) > 0 {
		return "", fmt.Errorf("%w (%v was false, and the write was taken)", ErrIgnored, ignored)
	}
	if a := c.read(ctx, 0, 0); !a.done() || string(a.body) != "first" {
		return "", fmt.Errorf("%w: the key was written and reads as %s", ErrUnavailable, a)
	}
	return etag, nil
}
