package gateway

import (
	"net/http"

	"minikv/gateway/iam"
	"minikv/gateway/s3"
)

func (c *call) getObjectTagging() error {
	obj, err := c.statOwned(iam.GetObjectTagging)
	if err != nil {
		return err
	}
	c.sendXML(func(dst []byte) []byte { return s3.AppendTagging(dst, tagsOf(obj.Row.Tags)) })
	return nil
}

func (c *call) putObjectTagging() error {
	row, err := c.owned(iam.PutObjectTagging)
	if err != nil {
		return err
	}
	body, err := c.readXML(s3.SmallBodyMax)
	if err != nil {
		return err
	}
	tags, err := s3.ParseTagging(body)
	if err != nil {
		return err
	}
	if _, err := c.s.objects.PutTags(c.r.Context(), c.scope(row, iam.PutObjectTagging), c.key, c.version, tagsPB(tags)); err != nil {
		return err
	}
	c.sendEmpty(http.StatusOK)
	return nil
}

func (c *call) deleteObjectTagging() error {
	row, err := c.owned(iam.DeleteObjectTagging)
	if err != nil {
		return err
	}
	if _, err := c.s.objects.PutTags(c.r.Context(), c.scope(row, iam.DeleteObjectTagging), c.key, c.version, nil); err != nil {
		return err
	}
	c.sendEmpty(http.StatusNoContent)
	return nil
}
