package gateway

import (
	"net/http"
	"strings"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
	"minikv/sigv4"
)

func (c *call) createUpload() error {
	sums, err := s3.ParseChecksums(c.op, c.h)
	if err != nil {
		return err
	}
	attributes, tags, err := c.describe()
	if err != nil {
		return err
	}
	row, err := c.owned(iam.PutObject)
	if err != nil {
		return err
	}
	upload, err := c.s.objects.CreateUpload(c.r.Context(), objects.CreateUploadRequest{
		Scope: c.scope(row, iam.PutObject), Key: c.key, Owner: c.account.CanonicalID, Attributes: attributes, Tags: tags,
		Checksum: sums.Algorithm, ChecksumType: sums.Type,
	})
	if err != nil {
		return err
	}
	if sums.Algorithm != digest.None {
		c.set(s3.HeaderChecksumAlgorithm, sums.Algorithm.String())
		c.set(s3.HeaderChecksumType, digest.Type(upload.ChecksumType).String())
	}
	c.sendXML(func(dst []byte) []byte {
		return s3.AppendInitiate(dst, string(c.bucket), string(c.key), uploadIDText(upload.Id))
	})
	return nil
}

// partTarget reads part number and upload id.
func (c *call) partTarget() (number uint32, id objects.UploadID, err error) {
	if number, err = s3.ParsePartNumber(c.query); err != nil {
		return 0, id, err
	}
	if number == 0 {
		return 0, id, s3.InvalidArgument("partNumber", "", "Part number must be an integer between 1 and 10000, inclusive")
	}
	id, err = parseUploadID(c.query.Get("uploadId"))
	if err != nil {
		err = c.uploadError(iam.PutObject, err)
	}
	return number, id, err
}

// uploadError is NoSuchUpload, but whose bucket it is comes first.
func (c *call) uploadError(action iam.Action, err error) error {
	if _, denied := c.owned(action); denied != nil {
		return denied
	}
	return err
}

func (c *call) uploadTarget(row *metapb.BucketRow, id objects.UploadID) objects.UploadTarget {
	return objects.UploadTarget{Scope: c.scope(row, iam.PutObject), Key: c.key, ID: id}
}

func (c *call) uploadPart() error {
	body, err := c.openBody(object.PartBytesMax)
	if err != nil {
		return err
	}
	number, id, err := c.partTarget()
	if err != nil {
		return err
	}
	row, err := c.owned(iam.PutObject)
	if err != nil {
		return err
	}
	res, err := c.s.objects.PutPart(c.r.Context(), objects.PutPartRequest{
		UploadTarget: c.uploadTarget(row, id), Number: number, Body: body.objectBody(c),
	})
	if err != nil {
		return err
	}
	c.set("ETag", etagOf(res.ETag[:], 0).Quoted())
	sum := partChecksum(res.Checksums, res.Upload)
	if body.sums.Algorithm != digest.None {
		sum = pickChecksum(res.Checksums, body.sums.Algorithm)
	}
	if !sum.IsZero() {
		c.set(sum.Algorithm.Header(), sum.String())
	}
	c.sendEmpty(http.StatusOK)
	return nil
}

// partChecksum is a part's checksum by the upload's algorithm.
func partChecksum(sums []*metapb.Checksum, upload *metapb.UploadRow) digest.Checksum {
	a := digest.Algorithm(upload.GetChecksumAlgorithm())
	if a == digest.None {
		a = digest.CRC64NVME
	}
	return pickChecksum(sums, a)
}

func (c *call) completeUpload() error {
	conditions, err := s3.ParseWriteConditions(c.op, c.h)
	if err != nil {
		return err
	}
	id, err := parseUploadID(c.query.Get("uploadId"))
	if err != nil {
		return c.uploadError(iam.PutObject, err)
	}
	row, err := c.owned(iam.PutObject)
	if err != nil {
		return err
	}
	if err := c.authorizeConditions(row, &conditions); err != nil {
		return err
	}
	body, err := c.openBody(object.PartBytesMax)
	if err != nil {
		return err
	}
	sums := body.sums // of the object, not of this body
	text, err := body.readAll(c, s3.CompleteBodyMax)
	if err != nil {
		return err
	}
	parts, err := s3.ParseComplete(text)
	if err != nil {
		return err
	}
	res, err := c.s.objects.CompleteUpload(c.r.Context(), objects.CompleteRequest{
		UploadTarget: c.uploadTarget(row, id), Parts: completeParts(parts), Conditions: writeConditions(&conditions),
		Checksum: checksumPB(sums.Value), ObjectSize: sums.ObjectSize, ChecksumType: sums.Type,
	})
	if err != nil {
		return err
	}
	c.sendXML(func(dst []byte) []byte {
		return s3.AppendComplete(dst, c.location(), string(c.bucket), string(c.key), etagOf(res.Etag, res.EtagParts), checksumOf(res.Checksum))
	})
	return nil
}

func completeParts(parts []s3.CompletePart) []*metapb.CompletePart {
	out := make([]*metapb.CompletePart, len(parts))
	for i := range parts {
		out[i] = &metapb.CompletePart{Number: parts[i].Number, Etag: parts[i].ETag.String(), Checksum: checksumPB(parts[i].Checksum)}
	}
	return out
}

// location is the URL of the request's object.
func (c *call) location() string {
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	path := string(c.key)
	if !c.target.VirtualHost {
		path = string(c.bucket) + "/" + path
	}
	return scheme + "://" + strings.ToLower(c.target.Host) + "/" + sigv4.EncodePath(path)
}

func (c *call) abortUpload() error {
	id, err := parseUploadID(c.query.Get("uploadId"))
	if err != nil {
		return c.uploadError(iam.AbortMultipartUpload, err)
	}
	row, err := c.owned(iam.AbortMultipartUpload)
	if err != nil {
		return err
	}
	t := objects.UploadTarget{Scope: c.scope(row, iam.AbortMultipartUpload), Key: c.key, ID: id}
	if err := c.s.objects.AbortUpload(c.r.Context(), t); err != nil {
		return err
	}
	c.sendEmpty(http.StatusNoContent)
	return nil
}

func (c *call) listParts() error {
	p, err := s3.ParseParts(c.query)
	if err != nil {
		return err
	}
	id, err := parseUploadID(p.UploadID)
	if err != nil {
		return c.uploadError(iam.ListMultipartUploadParts, err)
	}
	ans, err := c.s.objects.ListParts(c.r.Context(), &metapb.ListPartsQuery{
		Bucket: string(c.bucket), Key: string(c.key), UploadId: id[:], After: p.Marker, Limit: uint32(max(p.MaxParts, 1)),
	})
	if err != nil {
		return err
	}
	if err := c.authorize(ans.Bucket, iam.ListMultipartUploadParts, expectedOwner); err != nil {
		return err
	}
	if ans.Upload == nil {
		return errs.E("gateway.listParts", errs.NoSuchUpload, "")
	}
	res := s3.PartsResult{
		Bucket: string(c.bucket), Key: string(c.key), Params: &p, OwnerID: ans.Upload.GetOwner(), OwnerName: c.s.ownerName(ans.Upload.GetOwner()),
		ChecksumAlgorithm: digest.Algorithm(ans.Upload.GetChecksumAlgorithm()), ChecksumType: digest.Type(ans.Upload.GetChecksumType()),
		Truncated: ans.Truncated && p.MaxParts > 0,
	}
	for _, row := range ans.Parts[:min(len(ans.Parts), p.MaxParts)] {
		res.Parts = append(res.Parts, s3.Part{Number: row.Number, ModifiedMS: row.ModifiedMs, ETag: etagOf(row.Etag, 0), Size: row.Size,
			Checksum: partChecksum(row.Checksums, ans.Upload)})
	}
	c.sendXML(func(dst []byte) []byte { return s3.AppendParts(dst, &res) })
	return nil
}

func (c *call) listUploads() error {
	p, err := s3.ParseUploads(c.query)
	if err != nil {
		return err
	}
	res := s3.UploadsResult{Bucket: string(c.bucket), Params: &p}
	marker, err := uploadIDMarker(&p)
	if err != nil {
		return err
	}
	ans, err := c.s.objects.ListUploads(c.r.Context(), &metapb.ListUploadsQuery{
		Bucket: string(c.bucket), Prefix: p.Prefix, Delimiter: p.Delimiter, KeyMarker: p.KeyMarker, UploadIdMarker: marker,
		Limit: uint32(max(p.MaxUploads, 1)),
	})
	if err != nil {
		return err
	}
	c.region = c.s.regionOf(ans.Bucket)
	if err := c.authorize(ans.Bucket, iam.ListBucketMultipartUploads, expectedOwner); err != nil {
		return err
	}
	c.s.fillUploads(&res, ans)
	c.sendXML(func(dst []byte) []byte { return s3.AppendUploads(dst, &res) })
	return nil
}

// uploadIDMarker is where the uploads of the marker's key go on; it counts only beside a key.
func uploadIDMarker(p *s3.UploadsParams) ([]byte, error) {
	if p.KeyMarker == "" || p.UploadIDMarker == "" {
		return nil, nil
	}
	id, err := parseUploadID(p.UploadIDMarker)
	if err != nil {
		return nil, s3.InvalidArgument("upload-id-marker", p.UploadIDMarker, "Invalid uploadId marker")
	}
	return id[:], nil
}

func (s *Server) fillUploads(res *s3.UploadsResult, ans *metapb.ListUploadsAnswer) {
	if res.Params.MaxUploads == 0 {
		return
	}
	for _, e := range ans.Entries {
		u := e.Upload
		if u == nil {
			res.Prefixes = append(res.Prefixes, e.CommonPrefix)
			res.NextKey, res.NextUploadID = e.CommonPrefix, ""
			continue
		}
		res.NextKey, res.NextUploadID = u.Key, uploadIDText(u.Id)
		res.Uploads = append(res.Uploads, s3.Upload{
			Key: u.Key, UploadID: uploadIDText(u.Id), InitiatedMS: u.InitiatedMs, OwnerID: u.Owner, OwnerName: s.ownerName(u.Owner),
			ChecksumAlgorithm: digest.Algorithm(u.ChecksumAlgorithm), ChecksumType: digest.Type(u.ChecksumType),
		})
	}
	if res.Truncated = ans.Truncated; !res.Truncated {
		res.NextKey, res.NextUploadID = "", ""
	}
}
