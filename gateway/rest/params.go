package rest

import (
	"net/http"
	"strings"

	"minikv/gateway/s3"
	"minikv/sigv4"
)

// params reads the query parameters of a request: each of the names at most once, and no others but those of a presigned URL (R4).
func (c *call) params(names ...string) (map[string]string, error) {
	out, presigned := make(map[string]string, len(names)), sigv4.Classify(c.req) == sigv4.AuthPresignedV4
	for _, p := range c.req.Query {
		known := false
		for _, n := range names {
			known = known || n == p.Name
		}
		_, twice := out[p.Name]
		switch {
		case known && twice:
			return nil, badRequest("The parameter %q is given twice.", p.Name)
		case known:
			out[p.Name] = p.Value
		case presigned && strings.HasPrefix(strings.ToLower(p.Name), "x-amz-") || p.Name == "x-id":
		case len(names) == 0:
			return nil, badRequest("Unknown parameter %q; this path takes none.", p.Name)
		default:
			return nil, badRequest("Unknown parameter %q; allowed: %s.", p.Name, strings.Join(names, ", "))
		}
	}
	return out, nil
}

func (c *call) noParams() error {
	_, err := c.params()
	return err
}

// amzHeaders are the x-amz-* headers that this API understands, or that say nothing about what is to be done.
var amzHeaders = map[string]bool{
	"x-amz-date": true, "x-amz-content-sha256": true, "x-amz-security-token": true, "x-amz-decoded-content-length": true,
	"x-amz-trailer": true, "x-amz-sdk-checksum-algorithm": true, "x-amz-user-agent": true, "x-amz-cf-id": true, "x-amzn-trace-id": true,
}

// checkAmz refuses the x-amz-* headers that ask for what S3 does and this API does not: encryption, tags, locks, ... (R4). What
// belongs to a put is looked at there.
func checkAmz(method string, h http.Header) error {
	for name := range h {
		low := strings.ToLower(name)
		if !strings.HasPrefix(low, "x-amz-") || amzHeaders[low] {
			continue
		}
		if method == http.MethodPut && (strings.HasPrefix(low, "x-amz-meta-") || strings.HasPrefix(low, "x-amz-checksum-")) {
			continue
		}
		return s3.NewError(s3.CodeNotImplemented, "The native API does not know the header "+low+".")
	}
	return nil
}
