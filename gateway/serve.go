package gateway

import (
	"net/http"
	"strings"

	"minikv/gateway/iam"
	"minikv/gateway/objects"
	"minikv/gateway/s3"
	"minikv/internal/errs"
	"minikv/proto/metapb"
	"minikv/sigv4"
)

// serve answers the request.
func (c *call) serve() {
	if err := c.handle(); err != nil {
		c.fail(err)
	}
}

func (c *call) handle() error {
	c.commonHeaders()
	if err := c.admit(); err != nil {
		return err
	}
	if c.r.Method == http.MethodOptions {
		return c.preflight()
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	op, routeErr := s3.Route(c.r.Method, c.target.Level, c.query, c.h)
	c.op = op
	if c.account == nil {
		if asked, err := c.health(); asked {
			return err
		}
		return c.denyAnonymous(routeErr)
	}
	if routeErr != nil {
		return routeErr
	}
	if err := s3.CheckHeaders(op, c.h); err != nil {
		return err
	}
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		if _, err := s3.ParseWriteConditions(op, c.h); err != nil { // whatever the handler does with them: none is ignored
			return err
		}
	}
	if err := c.names(); err != nil {
		return err
	}
	if op.State == s3.NoneAnswer {
		return c.noneAnswer()
	}
	do, ok := operations[op.Name]
	if !ok {
		return s3.Errorf(s3.CodeNotImplemented, "%s is not implemented.", op.Name)
	}
	return do(c)
}

// admit looks at the request as a whole: refused heads, and header sections that came past the guard (HTTP/2).
func (c *call) admit() error {
	if v := c.r.Header[refusedHeader]; len(v) == 1 && v[0] == refusedNonce {
		if g := c.guard(); g != nil && g.refusal != nil {
			c.unusable = true
			return s3.NewError(s3.Code(g.refusal.code), g.refusal.message)
		}
	}
	if c.r.ProtoMajor < 2 {
		return nil
	}
	size := 0
	for name, values := range c.r.Header {
		for _, v := range values {
			size += len(name) + len(v) + 4
		}
	}
	if size > headerSectionMax || len(c.r.RequestURI) > requestLineMax {
		return s3.NewError(s3.CodeRequestHeaderSectionTooLarge, "")
	}
	return nil
}

// preflight answers OPTIONS. It is never authenticated; without CORS rules nothing is allowed.
func (c *call) preflight() error {
	c.h = c.r.Header
	c.target, _ = s3.ParseTarget(c.r.RequestURI, c.s.host(c.r), c.s.domains) // for the log only
	switch {
	case len(c.h["Origin"]) == 0:
		return s3.NewError(s3.CodeBadRequest, "Insufficient information. Origin request header needed.")
	case len(c.h["Access-Control-Request-Method"]) == 0:
		return s3.NewError(s3.CodeBadRequest, "Invalid Access-Control-Request-Method: null")
	}
	return s3.NewError(s3.CodeAccessForbidden, "CORSResponse: CORS is not enabled for this bucket.").
		With("Method", c.h["Access-Control-Request-Method"][0]).With("ResourceType", strings.ToUpper(c.target.Level.String()))
}

// authenticate splits the target and verifies the signature over exactly those parts (F2).
func (c *call) authenticate() (err error) {
	host := c.s.host(c.r)
	if c.target, err = s3.ParseTarget(c.r.RequestURI, host, c.s.domains); err != nil {
		return err
	}
	r := c.r
	signed, err := sigv4.ParseRequest(r.Method, r.RequestURI, host, r.Header, r.ContentLength, r.TransferEncoding)
	if err != nil {
		return err
	}
	c.query = queryOf(signed.Query)
	c.h = r.Header
	if c.auth, c.account, err = c.s.authenticate(c.target.Level, signed); err != nil {
		return err
	}
	dropInternal(r.Header)
	c.h = mergedHeader(r, c.auth)
	return nil
}

// denyAnonymous: a request without credentials may do nothing, but is told what is wrong with it besides, and that a bucket does
// not exist, as AWS does.
func (c *call) denyAnonymous(routeErr error) error {
	if e := s3.ErrorOf(routeErr); e != nil && e.Code == s3.CodeMethodNotAllowed {
		return routeErr
	}
	if err := c.names(); err != nil {
		return err
	}
	if c.op.Name == "GetObject" || c.op.Name == "HeadObject" {
		if _, err := s3.ParseOverrides(c.query, false); err != nil {
			return err
		}
	}
	if c.target.Level != s3.LevelService && c.op.Name != "CreateBucket" {
		row, err := c.s.objects.Bucket(c.r.Context(), c.bucket)
		if errs.Is(err, errs.NoSuchBucket) {
			return err
		}
		if err == nil {
			c.region = c.s.regionOf(row)
		}
	}
	return s3.NewError(s3.CodeAccessDenied, "")
}

// names checks bucket, key and version id.
func (c *call) names() (err error) {
	if c.bucket, c.key, err = c.target.Names(); err != nil {
		return err
	}
	version, given := c.query.Lookup("versionId")
	if given && version == "" && c.target.Level == s3.LevelObject {
		return s3.InvalidArgument("versionId", "", "Version id cannot be the empty string")
	}
	c.version = version
	return nil
}

// authorize decides whether the account may do the action on the bucket of the row, and that the bucket is the one it expects.
func (c *call) authorize(row *metapb.BucketRow, action iam.Action, expectedOwner string) error {
	on := iam.Resource{Bucket: row.GetName(), Owner: row.GetOwner(), Key: string(c.key)}
	if err := iam.Authorize(c.account, action, on); err != nil {
		return err
	}
	want := c.h[expectedOwner]
	if len(want) == 0 {
		return nil
	}
	for _, id := range want {
		if !isAccountID(id) {
			return s3.Errorf(s3.CodeInvalidBucketOwnerAWSAccountID, "The value of the expected bucket owner parameter must be an AWS Account ID... [%s]", id)
		}
	}
	owner := c.s.directory.ByID(row.GetOwner())
	if owner == nil || len(want) != 1 || want[0] != owner.AccountID {
		return s3.NewError(s3.CodeAccessDenied, "")
	}
	return nil
}

// isAccountID says whether s is 12 digits.
func isAccountID(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// Headers that name the account that must own a bucket.
const (
	expectedOwner       = "X-Amz-Expected-Bucket-Owner"
	expectedSourceOwner = "X-Amz-Source-Expected-Bucket-Owner"
)

// owned reads the request's bucket and authorizes the action on it.
func (c *call) owned(action iam.Action) (*metapb.BucketRow, error) {
	row, err := c.s.objects.Bucket(c.r.Context(), c.bucket)
	if err != nil {
		return nil, err
	}
	c.region = c.s.regionOf(row)
	return row, c.authorize(row, action, expectedOwner)
}

// ownerName is the display name of an account, "" if it is not known any more.
func (s *Server) ownerName(canonicalID string) string {
	if a := s.directory.ByID(canonicalID); a != nil {
		return a.DisplayName
	}
	return ""
}

// noneAnswer answers for configuration that was never set.
func (c *call) noneAnswer() error {
	if _, err := c.owned(iam.GetBucketConfiguration); err != nil {
		return err
	}
	if c.target.Level == s3.LevelObject {
		if _, err := c.statOwned(iam.GetObject); err != nil {
			return err
		}
	}
	body, err := c.op.None()
	if err != nil {
		return err
	}
	if body == nil {
		c.sendEmpty(http.StatusOK)
		return nil
	}
	c.send(http.StatusOK, body)
	return nil
}

// statOwned reads the request's object, which must exist, and authorizes the action on its bucket.
func (c *call) statOwned(action iam.Action) (*objects.Object, error) {
	obj, err := c.s.objects.Stat(c.r.Context(), objects.GetRequest{Bucket: c.bucket, Key: c.key, Version: c.version})
	if err != nil {
		return nil, err
	}
	if err := c.authorize(obj.Bucket, action, expectedOwner); err != nil {
		return nil, err
	}
	return obj, c.present(obj.Row)
}

// present refuses an absent object and a delete marker.
func (c *call) present(row *metapb.ObjectRow) error {
	switch {
	case row == nil && c.version != "":
		return s3.NewError(s3.CodeNoSuchVersion, "").With("Key", string(c.key)).With("VersionId", c.version)
	case row == nil:
		return s3.NewError(s3.CodeNoSuchKey, "").With("Key", string(c.key))
	case row.DeleteMarker && c.version != "":
		return s3.NewError(s3.CodeMethodNotAllowed, "").With("Method", c.r.Method).With("ResourceType", "DeleteMarker").
			WithHeader("Allow", "DELETE").WithHeader("x-amz-delete-marker", "true").
			WithHeader("Last-Modified", s3.FormatHTTPTime(row.ModifiedMs))
	case row.DeleteMarker:
		return s3.NewError(s3.CodeNoSuchKey, "").With("Key", string(c.key)).WithHeader("x-amz-delete-marker", "true")
	}
	return nil
}
