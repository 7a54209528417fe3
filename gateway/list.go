package gateway

import (
	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/digest"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

func (c *call) listObjects() error { return c.listCurrent(false) }

func (c *call) listObjectsV2() error { return c.listCurrent(true) }

func (c *call) listCurrent(v2 bool) error {
	p, err := s3.ParseList(c.query, v2)
	if err != nil {
		return err
	}
	return c.list(&p, iam.ListBucket, s3.AppendList)
}

// listVersions lists the current objects: no bucket has other versions, nor delete markers.
func (c *call) listVersions() error {
	p, err := s3.ParseVersions(c.query)
	if err != nil {
		return err
	}
	return c.list(&p, iam.ListBucketVersions, s3.AppendVersions)
}

// list answers with a page of current objects, written by render.
func (c *call) list(p *s3.ListParams, action iam.Action, render func(dst []byte, r *s3.ListResult) []byte) error {
	res := s3.ListResult{Bucket: string(c.bucket), Params: p}
	if p.MaxKeys == 0 {
		if _, err := c.owned(action); err != nil {
			return err
		}
		c.sendXML(func(dst []byte) []byte { return render(dst, &res) })
		return nil
	}
	page, err := c.s.objects.List(c.r.Context(), &metapb.ListObjectsQuery{
		Bucket: string(c.bucket), Prefix: p.Prefix, Delimiter: p.Delimiter, After: p.After, Limit: uint32(p.MaxKeys),
	})
	if err != nil {
		return err
	}
	c.region = c.s.regionOf(page.Bucket)
	if err := c.authorize(page.Bucket, action, expectedOwner); err != nil {
		return err
	}
	c.s.fillList(&res, page)
	c.sendXML(func(dst []byte) []byte { return render(dst, &res) })
	return nil
}

func (s *Server) fillList(res *s3.ListResult, page *objects.ListPage) {
	res.Entries = make([]s3.Entry, 0, len(page.Entries))
	owner, name := "", "" // of the last entry: mostly all are the same
	for i := range page.Entries {
		e := &page.Entries[i]
		res.Next, res.NextPrefix = e.Key, e.Row == nil
		if e.Row == nil {
			res.Prefixes = append(res.Prefixes, e.Key)
			continue
		}
		out := s3.Entry{
			Key: e.Key, ModifiedMS: e.Row.ModifiedMs, Size: e.Row.Size, ETag: etagOf(e.Row.Etag, e.Row.EtagParts),
			VersionID:         object.VersionText(e.Row.Version, e.Row.NullVersion),
			ChecksumAlgorithm: digest.Algorithm(e.Row.GetChecksum().GetAlgorithm()),
			ChecksumType:      digest.Type(e.Row.GetChecksum().GetType()),
		}
		if res.Params.FetchOwner {
			if e.Row.Owner != owner {
				owner, name = e.Row.Owner, s.ownerName(e.Row.Owner)
			}
			out.OwnerID, out.OwnerName = owner, name
		}
		res.Entries = append(res.Entries, out)
	}
	if res.Truncated = page.Truncated; !res.Truncated {
		res.Next, res.NextPrefix = "", false
	}
}
