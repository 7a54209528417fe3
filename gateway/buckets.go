package gateway

import (
	"context"
	"net/http"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

func (c *call) listBuckets() error {
	p, err := s3.ParseBuckets(c.query)
	if err != nil {
		return err
	}
	if err := iam.Authorize(c.account, iam.ListAllMyBuckets, iam.Resource{}); err != nil {
		return err
	}
	res := s3.BucketsResult{Params: &p, OwnerID: c.account.CanonicalID, OwnerName: c.account.DisplayName}
	ans, err := c.s.objects.ListBuckets(c.r.Context(), &metapb.ListBucketsQuery{
		Owner: c.account.CanonicalID, Prefix: p.Prefix, After: p.After, Limit: uint32(p.MaxBuckets),
	})
	if err != nil {
		return err
	}
	for _, b := range ans.GetBuckets() {
		if p.Region == "" || p.Region == c.s.regionOf(b) {
			res.Buckets = append(res.Buckets, s3.BucketEntry{Name: b.Name, CreatedMS: b.CreatedMs, Region: c.s.regionOf(b)})
		}
		if ans.Truncated {
			res.Next = b.Name
		}
	}
	c.sendXML(func(dst []byte) []byte { return s3.AppendBuckets(dst, &res) })
	return nil
}

func (s *Server) regionOf(b *metapb.BucketRow) string {
	if b.GetRegion() == "" {
		return s.region
	}
	return b.Region
}

func (c *call) createBucket() error {
	location, err := c.bucketLocation()
	if err != nil {
		return err
	}
	if location != "" && location != c.s.region && (location != "EU" || c.s.region != "eu-west-1") { // EU is its old name
		return s3.NewError(s3.CodeInvalidLocationConstraint, "").With("LocationConstraint", location)
	}
	if err := iam.Authorize(c.account, iam.CreateBucket, iam.Resource{Bucket: string(c.bucket)}); err != nil {
		return err
	}
	_, err = c.s.objects.CreateBucket(c.r.Context(), &metapb.CreateBucket{
		Name: string(c.bucket), Owner: c.account.CanonicalID, Region: c.s.region,
	})
	if errs.Is(err, errs.BucketOwned) && c.s.region == "us-east-1" {
		err = nil // as AWS does there
	}
	if err != nil {
		return err
	}
	c.set("Location", "/"+string(c.bucket))
	c.sendEmpty(http.StatusOK)
	return nil
}

// bucketLocation reads the body of CreateBucket, which may be missing altogether.
func (c *call) bucketLocation() (string, error) {
	if len(c.r.Header["Content-Length"]) == 0 && len(c.r.TransferEncoding) == 0 && !c.auth.Payload.Mode.Framed() {
		return "", nil
	}
	body, err := c.readXML(s3.SmallBodyMax)
	if err != nil {
		return "", err
	}
	return s3.ParseCreateBucket(body)
}

func (c *call) headBucket() error {
	row, err := c.owned(iam.ListBucket)
	if err != nil {
		return err
	}
	c.set("x-amz-bucket-region", c.s.regionOf(row))
	c.set("x-amz-access-point-alias", "false")
	c.w.Header()["Content-Type"] = xmlType
	c.sendEmpty(http.StatusOK)
	return nil
}

func (c *call) deleteBucket() error {
	row, err := c.owned(iam.DeleteBucket)
	if err != nil {
		return err
	}
	if c.s.bound != "" && string(c.bucket) == c.s.bound { // also one that was there before it was bound, which its row does not know
		return s3.Errorf(s3.CodeInvalidRequest, "bucket %q is bound to the native API", c.s.bound)
	}
	if err := c.s.objects.DeleteBucket(c.r.Context(), c.scope(row, iam.DeleteBucket)); err != nil {
		return err
	}
	c.sendEmpty(http.StatusNoContent)
	return nil
}

func (c *call) getBucketLocation() error {
	row, err := c.owned(iam.GetBucketLocation)
	if err != nil {
		return err
	}
	c.sendXML(func(dst []byte) []byte { return s3.AppendLocation(dst, c.s.regionOf(row)) })
	return nil
}

func (c *call) getBucketACL() error {
	row, err := c.owned(iam.GetBucketACL)
	if err != nil {
		return err
	}
	c.sendXML(func(dst []byte) []byte { return s3.AppendACL(dst, row.Owner, c.s.ownerName(row.Owner)) })
	return nil
}

func (c *call) getObjectACL() error {
	obj, err := c.statOwned(iam.GetObjectACL)
	if err != nil {
		return err
	}
	c.sendXML(func(dst []byte) []byte { return s3.AppendACL(dst, obj.Row.Owner, c.s.ownerName(obj.Row.Owner)) })
	return nil
}

// scope is the permission for a write, and how to ask for it again when the bucket has changed meanwhile.
func (c *call) scope(row *metapb.BucketRow, action iam.Action) objects.Scope {
	return c.scopeOf(row, action, c.bucket, expectedOwner)
}

func (c *call) scopeOf(row *metapb.BucketRow, action iam.Action, name object.Bucket, ownerHeader string) objects.Scope {
	var again func(ctx context.Context) (objects.Scope, error)
	again = func(ctx context.Context) (objects.Scope, error) {
		row, err := c.s.objects.Bucket(ctx, name)
		if err == nil {
			err = c.authorize(row, action, ownerHeader)
		}
		if err != nil {
			return objects.Scope{}, err
		}
		return objects.Scope{Bucket: objects.RefOf(row), Reauthorize: again}, nil
	}
	return objects.Scope{Bucket: objects.RefOf(row), Reauthorize: again}
}
