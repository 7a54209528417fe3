package gateway

import (
	"net/http"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

func (c *call) putObject() error {
	body, err := c.openBody(object.PartBytesMax)
	if err != nil {
		return err
	}
	conditions, err := s3.ParseWriteConditions(c.op, c.h)
	if err != nil {
		return err
	}
	attributes, tags, err := c.describe()
	if err != nil {
		return err
	}
	row, err := c.ownedForPut()
	if err != nil {
		return err
	}
	if err := c.authorizeConditions(row, &conditions); err != nil {
		return err
	}
	res, err := c.s.objects.Put(c.r.Context(), objects.PutRequest{
		Scope: c.scope(row, iam.PutObject), Key: c.key, Body: body.objectBody(c), Conditions: writeConditions(&conditions),
		Attributes: attributes, Tags: tags, Owner: c.account.CanonicalID, Checksum: body.sums.Algorithm,
	})
	if err != nil {
		return err
	}
	c.set("ETag", etagOf(res.Etag, res.EtagParts).Quoted())
	s3.SetChecksumHeader(c.w.Header(), checksumOf(res.Checksum))
	c.sendEmpty(http.StatusOK)
	return nil
}

// ownedForPut is owned, but a row that was read a moment ago will do: the decision looks whether the bucket is still that one.
func (c *call) ownedForPut() (*metapb.BucketRow, error) {
	if row := c.s.objects.RecentBucket(c.bucket); row != nil && c.authorize(row, iam.PutObject, expectedOwner) == nil {
		return row, nil
	}
	return c.owned(iam.PutObject)
}

// describe reads the metadata and the tags that come in headers.
func (c *call) describe() (*metapb.Attributes, []*metapb.Pair, error) {
	m, err := s3.ParseMetadata(c.h)
	if err != nil {
		return nil, nil, err
	}
	tags, err := c.headerTags()
	return attributesPB(&m), tags, err
}

func (c *call) headerTags() ([]*metapb.Pair, error) {
	v := c.get("X-Amz-Tagging")
	if v == "" {
		return nil, nil
	}
	tags, err := s3.ParseTagHeader(v)
	return tagsPB(tags), err
}

// authorizeConditions: to learn whether an ETag is the current one takes the right to read.
func (c *call) authorizeConditions(row *metapb.BucketRow, w *s3.WriteConditions) error {
	if !w.IfMatch.Set || w.IfMatch.Any {
		return nil
	}
	return c.authorize(row, iam.GetObject, expectedOwner)
}
