package gateway

import (
	"net/http"

	"minikv/gateway/s3"
	"minikv/internal/errs"
)

// legacyHealth are the paths at which MinIO tells on its S3 port whether it lives and serves: probes of Kubernetes and balancers made for it, and
// `mc ready`, ask there. Nothing anonymous may read a bucket, so no object is hidden by them; a signed request for such a path means the object.
var legacyHealth = map[string]bool{ // true: it must serve, not only live
	"/minio/health/live": false, "/minio/health/ready": true, "/minio/health/cluster": true, "/minio/health/cluster/read": true,
}

var healthOperation = &s3.Operation{Name: "Health"}

// health answers an anonymous request for one of these paths; asked is false for any other request.
func (c *call) health() (asked bool, err error) {
	t := &c.target
	serves, asked := legacyHealth[t.RawPath]
	if !asked || t.VirtualHost || c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return false, nil
	}
	c.op = healthOperation
	if _, asks := c.query.Lookup("maintenance"); asks {
		return true, s3.Errorf(s3.CodeNotImplemented, "Whether a node may be stopped is told by minikv status, not here.")
	}
	if serves && c.s.ready != nil {
		if err := c.s.ready(c.r.Context()); err != nil {
			return true, errs.WrapKind("gateway.health", errs.Unavailable, err)
		}
	}
	c.sendEmpty(http.StatusOK)
	return true, nil
}
