package rest

import (
	"strings"
)

// params reads the query parameters of a request: each of the names at most once, and no others but those of a presigned URL (R4).
func (c *call) params(names ...string) (map[string]string, error) {
	out := make(map[string]string, len(names))
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
		case strings.HasPrefix(strings.ToLower(p.Name), "x-amz-") || p.Name == "x-id":
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
