package gateway

import (
	"net/http"

	"minikv/gateway/iam"
	"minikv/gateway/s3"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

func (c *call) deleteObject() error {
	conditions, err := s3.ParseWriteConditions(c.op, c.h)
	if err != nil {
		return err
	}
	row, err := c.owned(iam.DeleteObject)
	if err != nil {
		return err
	}
	if err := c.authorizeConditions(row, &conditions); err != nil {
		return err
	}
	key := deleteKey(string(c.key), c.version, &conditions)
	res, err := c.s.objects.Delete(c.r.Context(), c.scope(row, iam.DeleteObject), []*metapb.DeleteKey{key})
	if err != nil {
		return err
	}
	if len(res.GetResults()) != 1 {
		return errs.E("gateway.deleteObject", errs.Other, "%d results for one key", len(res.GetResults()))
	}
	if err := deleteError(res.Results[0]); err != nil {
		return err
	}
	if res.Results[0].DeleteMarker {
		c.set("x-amz-delete-marker", "true")
	}
	c.sendEmpty(http.StatusNoContent)
	return nil
}

// deleteKey is a key to delete. An ETag must be one of something; a size or a time is wrong only of what is there.
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
func deleteKey(key, version string, w *s3.WriteConditions) *metapb.DeleteKey {
	return &metapb.DeleteKey{Key: key, Version: version, Conditions: writeConditions(w), Strict: w.IfMatch.Set}
}

// deleteError is the refusal of one key; nil if it was deleted.
func deleteError(r *metapb.DeleteResult) error {
	if !r.GetFailed() && r.GetKind() == 0 {
		return nil
	}
	return errs.E("delete", errs.Kind(r.Kind), "%s", r.Message)
}

func (c *call) deleteObjects() error {
	row, err := c.owned(iam.DeleteObject)
	if err != nil {
		return err
	}
	body, err := c.readXML(s3.DeleteBodyMax)
	if err != nil {
		return err
	}
	req, err := s3.ParseDelete(body)
	if err != nil {
		return err
	}
	results, err := c.deleteItems(row, req.Objects)
	if err != nil {
		return err
	}
	c.sendXML(func(dst []byte) []byte { return s3.AppendDeleteResults(dst, results, req.Quiet) })
	return nil
}

// deleteItems deletes what it can; each key has its own result.
func (c *call) deleteItems(row *metapb.BucketRow, items []s3.DeleteItem) ([]s3.DeleteResult, error) {
	results := make([]s3.DeleteResult, len(items))
	keys, at := make([]*metapb.DeleteKey, 0, len(items)), make([]int, 0, len(items))
	for i := range items {
		o := &items[i]
		results[i] = s3.DeleteResult{Key: o.Key, VersionID: o.VersionID}
		_, err := s3.CheckKey(o.Key)
		if err == nil {
			err = c.authorizeConditions(row, &o.Conditions)
		}
		if err != nil {
			results[i].Err = c.failure(err)
			continue
		}
		keys, at = append(keys, deleteKey(o.Key, o.VersionID, &o.Conditions)), append(at, i)
	}
	if len(keys) == 0 {
		return results, nil
	}
	res, err := c.s.objects.Delete(c.r.Context(), c.scope(row, iam.DeleteObject), keys)
	if err != nil {
		return nil, err
	}
	if len(res.GetResults()) != len(keys) {
		return nil, errs.E("gateway.deleteObjects", errs.Other, "%d results for %d keys", len(res.GetResults()), len(keys))
	}
	for n, r := range res.Results {
		results[at[n]].Err = s3.ErrorOf(deleteError(r))
		results[at[n]].DeleteMarker = r.DeleteMarker
	}
	return results, nil
}
