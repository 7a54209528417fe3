package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"minikv/gateway/iam"
	"minikv/gateway/s3"
	"minikv/sigv4"
)

// verification authenticates a request of one kind, or refuses it.
type verification func(s *Server, r *sigv4.Request) (*sigv4.Result, error)

// verifySignature is for requests to S3 itself; sigv4 refuses the types that it cannot verify, each with its own error.
func verifySignature(s *Server, r *sigv4.Request) (*sigv4.Result, error) {
	return s.verifier.Verify(r, sigv4.ServiceS3)
}

// verifications is the one table from what a request addresses and how it claims to be authenticated to how that is verified.
// What has no entry is refused.
var verifications = map[s3.Level]map[sigv4.AuthType]verification{
	s3.LevelService: everyType(verifySignature),
	s3.LevelBucket:  everyType(verifySignature),
	s3.LevelObject:  everyType(verifySignature),
}

func everyType(v verification) map[sigv4.AuthType]verification {
	return map[sigv4.AuthType]verification{
		sigv4.AuthAnonymous:   v,
		sigv4.AuthHeaderV4:    v,
		sigv4.AuthPresignedV4: v,
		sigv4.AuthHeaderV2:    v,
		sigv4.AuthPresignedV2: v,
		sigv4.AuthPostForm:    v,
		sigv4.AuthUnknown:     v,
		sigv4.AuthConflict:    v,
	}
}

// authenticate verifies the request by the table (F1).
func (s *Server) authenticate(level s3.Level, r *sigv4.Request) (*sigv4.Result, *iam.Account, error) {
	claimed := sigv4.Classify(r)
	verify := verifications[level][claimed]
	if verify == nil {
		return nil, nil, s3.NewError(s3.CodeAccessDenied, "")
	}
	res, err := verify(s, r)
	switch {
	case err != nil:
		return nil, nil, err
	case res.Type != claimed:
		return nil, nil, s3.NewError(s3.CodeAccessDenied, "")
	case claimed == sigv4.AuthAnonymous:
		return res, nil, nil
	case claimed != sigv4.AuthHeaderV4 && claimed != sigv4.AuthPresignedV4:
		return nil, nil, s3.NewError(s3.CodeAccessDenied, "") // nothing else has a signature
	}
	account := s.directory.ByKey(res.AccessKey)
	if account == nil {
		return nil, nil, s3.NewError(s3.CodeInvalidAccessKeyId, "")
	}
	return res, account, nil
}

// host is the Host that the client signed.
func (s *Server) host(r *http.Request) string {
	forwarded := r.Header["X-Forwarded-Host"]
	if len(forwarded) != 1 || len(s.proxies) == 0 {
		return r.Host
	}
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.Host
	}
	addr, err := netip.ParseAddr(peer)
	if err != nil {
		return r.Host
	}
	for _, p := range s.proxies {
		if p.Contains(addr.Unmap()) {
			first, _, _ := strings.Cut(forwarded[0], ",")
			return strings.TrimSpace(first)
		}
	}
	return r.Host
}

// mergedHeader is the request's header with those of a presigned query; the request's own stays as it is.
func mergedHeader(r *http.Request, res *sigv4.Result) http.Header {
	if len(res.QueryHeaders) == 0 {
		return r.Header
	}
	h := r.Header.Clone()
	for name, values := range res.QueryHeaders {
		h[name] = values
	}
	return h
}

const internalPrefix = "X-Minikv-"

// dropInternal removes headers that only parts of minikv may send to each other.
func dropInternal(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, internalPrefix) {
			delete(h, name)
		}
	}
}

func queryOf(q sigv4.Query) s3.Query {
	if len(q) == 0 {
		return nil
	}
	out := make(s3.Query, len(q))
	for i := range q {
		out[i] = s3.Param{Name: q[i].Name, Value: q[i].Value}
	}
	return out
}
