package sigv4

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Service names that occur in scopes.
const (
	ServiceS3  = "s3"
	ServiceSTS = "sts"
	ServiceIAM = "iam"
)

const (
	defaultRegion    = "us-east-1" // accepted by every server, since clients without configuration sign for it
	skewMax          = 15 * time.Minute
	cachedKeysMax    = 4096 // 4096 keys of about 200 bytes: under 1 MiB
	dummySecret      = "an unknown access key costs the same work"
	secretScratchMax = 128
)

// Keys looks up secret keys.
type Keys interface {
	// Secret returns the secret key of an access key, and whether it exists and is enabled. It must not block.
	Secret(accessKey string) (secret string, ok bool)
}

// Options configures a Verifier. Keys is required.
type Options struct {
	Keys          Keys
	Region        string           // us-east-1 if empty; us-east-1 is always accepted too
	Clock         func() time.Time // time.Now if nil
	CachedKeysMax int              // signing keys kept; 4,096 if zero
}

// Verifier verifies requests. It is safe for concurrent use.
type Verifier struct {
	keys    Keys
	regions []string
	now     func() time.Time
	cache   *keyCache
}

// NewVerifier returns a Verifier.
func NewVerifier(o Options) *Verifier {
	v := &Verifier{keys: o.Keys, now: o.Clock, regions: []string{o.Region}}
	if o.Region == "" {
		v.regions[0] = defaultRegion
	}
	if v.regions[0] != defaultRegion {
		v.regions = append(v.regions, defaultRegion)
	}
	if v.now == nil {
		v.now = time.Now
	}
	if o.CachedKeysMax <= 0 {
		o.CachedKeysMax = cachedKeysMax
	}
	v.cache = newKeyCache(o.CachedKeysMax)
	return v
}

// Identity is who made a request, as far as the signature proves it.
type Identity struct {
	Type          AuthType
	AccessKey     string   // empty for anonymous
	Scope         Scope    // zero for anonymous
	SignedHeaders []string // lower case, ascending
}

// Result is a verified request.
type Result struct {
	Identity
	Payload Payload
	Time    time.Time // the request's own

	// QueryHeaders are the x-amz-* query parameters of a presigned URL that act as headers, under canonical names; nil
	// for others. None of them is also in the request's header.
	QueryHeaders http.Header

	seed Seed
}

// verifiers is the dispatch table; a type without an entry is refused.
var verifiers = [authTypes]func(v *Verifier, r *Request, service string) (*Result, error){
	AuthUnknown:     refuseUnknown,
	AuthAnonymous:   (*Verifier).anonymous,
	AuthHeaderV4:    (*Verifier).header,
	AuthPresignedV4: (*Verifier).presigned,
	AuthHeaderV2:    refuseV2,
	AuthPresignedV2: refuseV2,
	AuthPostForm:    refusePostForm,
	AuthConflict:    refuseConflict,
}

// Verify authenticates a request for a service ("s3", "sts", "iam"). A nil error means that the request is anonymous
// (Result.Type is AuthAnonymous) or that its signature is right; the body is checked while it is read, see
// Result.BodyReader. Every error is an *Error.
func (v *Verifier) Verify(r *Request, service string) (*Result, error) {
	t := Classify(r)
	if t >= authTypes || verifiers[t] == nil {
		return refuseUnknown(v, r, service)
	}
	return verifiers[t](v, r, service)
}

func refuseUnknown(_ *Verifier, r *Request, _ string) (*Result, error) {
	switch a := r.Header["Authorization"]; {
	case len(a) == 0:
		return nil, errToken()
	case strings.Trim(a[0], " \t") == "":
		return nil, newError(CodeAccessDenied, "Access Denied")
	}
	return nil, newError(CodeInvalidArgument, "Unsupported Authorization Type").with("ArgumentName", "Authorization")
}

func refuseV2(*Verifier, *Request, string) (*Result, error) { return nil, errV2() }

func refusePostForm(*Verifier, *Request, string) (*Result, error) {
	return nil, newError(CodeNotImplemented, "POST form uploads are not implemented.")
}

func refuseConflict(_ *Verifier, r *Request, _ string) (*Result, error) {
	if len(r.Header["Authorization"]) > 0 {
		return nil, errSeveralMechanisms("Authorization")
	}
	return nil, errSeveralMechanisms(paramSignature)
}

func (v *Verifier) anonymous(r *Request, _ string) (*Result, error) {
	payload, err := parsePayload(r, nil, UnsignedPayload)
	if err != nil {
		return nil, err
	}
	if payload.Mode.signed() {
		return nil, newError(CodeInvalidRequest, "A request without credentials cannot have a signed body.")
	}
	return &Result{Identity: Identity{Type: AuthAnonymous}, Payload: payload, Time: v.now()}, nil
}

func (v *Verifier) header(r *Request, service string) (*Result, error) {
	c, err := parseAuthorization(r.Header["Authorization"][0])
	if err != nil {
		return nil, err
	}
	if len(r.Header["X-Amz-Security-Token"]) > 0 {
		return nil, errToken()
	}
	if err := c.readTime(r.Header); err != nil {
		return nil, err
	}
	if err := c.checkScope(v.regions, service); err != nil {
		return nil, err
	}
	now := v.now()
	if skew := now.Sub(c.time); skew > skewMax || skew < -skewMax {
		return nil, errSkewed(c.timeRaw, now)
	}
	payload, err := headerPayload(r)
	if err != nil {
		return nil, err
	}
	return v.verify(r, &c, &Result{Identity: Identity{Type: AuthHeaderV4}, Payload: payload})
}

// headerPayload: without x-amz-content-sha256 the payload line is the hash of the body that the caller has read (STS,
// IAM), else of no body, and then there must be none.
func headerPayload(r *Request) (Payload, error) {
	fallback := r.BodySHA256
	if fallback == "" {
		fallback = EmptySHA256
		if len(r.Header["X-Amz-Content-Sha256"]) == 0 && (r.ContentLength != 0 || len(r.TransferEncoding) > 0) {
			return Payload{}, newError(CodeInvalidRequest, messageMissingContentSHA256)
		}
	}
	return parsePayload(r, nil, fallback)
}

func (v *Verifier) presigned(r *Request, service string) (*Result, error) {
	if len(r.Header["X-Amz-Security-Token"]) > 0 {
		return nil, errToken()
	}
	c, err := parsePresigned(r.Query)
	if err != nil {
		return nil, err
	}
	headers, err := queryHeaders(r.Query, r.Header)
	if err != nil {
		return nil, err
	}
	if err := c.checkScope(v.regions, service); err != nil {
		return nil, err
	}
	if err := c.checkPresignedTime(v.now()); err != nil {
		return nil, err
	}
	fallback := UnsignedPayload
	if service != ServiceS3 {
		if fallback = r.BodySHA256; fallback == "" {
			fallback = EmptySHA256
		}
	}
	payload, err := parsePayload(r, headers, fallback)
	if err != nil {
		return nil, err
	}
	return v.verify(r, &c, &Result{Identity: Identity{Type: AuthPresignedV4}, Payload: payload, QueryHeaders: headers})
}

// readTime takes the request's time from x-amz-date, else from Date.
func (c *credentials) readTime(h http.Header) error {
	values, isAmz := h["X-Amz-Date"], true
	if len(values) == 0 {
		values, isAmz = h["Date"], false
	}
	if len(values) != 1 {
		return newErrorDate()
	}
	c.timeRaw = values[0]
	t, err := parseTime(values[0])
	if err != nil && !isAmz {
		t, err = http.ParseTime(values[0])
	}
	if err != nil {
		return newErrorDate()
	}
	c.time = t.UTC()
	return nil
}

func newErrorDate() error {
	return newError(CodeAccessDenied, "AWS authentication requires a valid Date or x-amz-date header")
}

// signTime is the time as it stands in the string to sign.
func (c *credentials) signTime() string {
	if len(c.timeRaw) == len(timeFormat) {
		return c.timeRaw
	}
	return c.time.Format(timeFormat)
}

// parseTime parses YYYYMMDDTHHMMSSZ and nothing else: time.Parse alone would let fractions of a second through.
func parseTime(s string) (time.Time, error) {
	if len(s) != len(timeFormat) {
		return time.Time{}, newErrorDate()
	}
	return time.Parse(timeFormat, s)
}

// verify checks the signed headers and the signature and completes the result.
func (v *Verifier) verify(r *Request, c *credentials, res *Result) (*Result, error) {
	if names := unsignedHeaders(r, c.signed); names != nil {
		return nil, errUnsignedHeaders(names)
	}
	s := scratchPool.Get().(*scratch)
	defer s.release()

	id, key, known, cached := v.signingKey(c)
	t := toSign{
		key: key, time: c.signTime(), scope: c.scope, signed: c.signed,
		payload: res.Payload.Line, presigned: c.kind == inQuery,
	}
	ok := s.check(r, &t, c.signature)
	if !known {
		return nil, errUnknownKey(c.accessKey)
	}
	if !ok {
		return nil, errMismatch(c.accessKey, c.signature, s.stringToSign(), string(s.canonical))
	}
	if !cached {
		v.cache.put(&id, key)
	}
	res.AccessKey, res.Scope, res.SignedHeaders, res.Time = c.accessKey, c.scope, c.signed, c.time
	res.seed = Seed{Signature: c.signature, Time: t.time, Scope: c.scope, key: key}
	return res, nil
}

// check compares the request's signature. When a signed Accept-Encoding does not verify, a CDN may have rewritten it:
// it is tried once more as "identity". The strings of the first try are the ones reported.
func (s *scratch) check(r *Request, t *toSign, provided string) bool {
	sig, missing := s.sign(r, t)
	if sig.matches(provided) && missing == "" {
		return true
	}
	if !slices.Contains(t.signed, acceptEncoding) {
		return false
	}
	retry := scratchPool.Get().(*scratch)
	defer retry.release()
	second := *t
	second.identity = true
	sig, missing = retry.sign(r, &second)
	return sig.matches(provided) && (missing == "" || missing == acceptEncoding)
}

// signingKey returns the key for the scope. For an unknown access key the same is done with a dummy secret.
func (v *Verifier) signingKey(c *credentials) (id cacheKey, key SigningKey, known, cached bool) {
	secret, known := v.keys.Secret(c.accessKey)
	id = cacheKey{accessKey: c.accessKey, scope: c.scope}
	if !known {
		secret, id.accessKey = dummySecret, ""
	}
	id.secret = hashSecret(secret)
	if key, cached = v.cache.get(&id); cached {
		return id, key, known, true
	}
	key = DeriveKey(secret, c.scope)
	if !known {
		v.cache.put(&id, key)
	}
	return id, key, known, false
}

// hashSecret hashes without allocation for secrets of usual length.
func hashSecret(secret string) [sha256.Size]byte {
	var buf [secretScratchMax]byte
	return sha256.Sum256(append(buf[:0], secret...))
}

// unsignedHeaders names the headers that must be signed and are not (V3).
func unsignedHeaders(r *Request, signed []string) (names []string) {
	if !isSigned(signed, "host") {
		names = append(names, "host")
	}
	for name := range r.Header {
		if !hasPrefixFold(name, "x-amz-") {
			continue
		}
		lower := lowerName(name)
		if lower == paramContentSHA256 || lower == "x-amz-cf-id" || isSigned(signed, lower) {
			continue
		}
		names = append(names, lower)
	}
	slices.Sort(names)
	return names
}

func isSigned(signed []string, lower string) bool {
	_, ok := slices.BinarySearch(signed, lower)
	return ok
}
