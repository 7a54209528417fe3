package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/gateway/s3"
	"minikv/sigv4"
)

// operationTarget is the path, query and headers that select an operation.
func operationTarget(op *s3.Operation) (target string, header []string) {
	switch op.Level {
	case s3.LevelService:
		target = "/"
	case s3.LevelBucket:
		target = "/bkt"
	default:
		target = "/bkt/key"
	}
	var q []string
	if op.Query != "" {
		value := op.Value
		if op.Query == "partNumber" {
			value = "1"
		}
		q = append(q, op.Query+"="+value)
	}
	if op.Query2 != "" {
		q = append(q, op.Query2+"=x")
	}
	if len(q) > 0 {
		target += "?" + strings.Join(q, "&")
	}
	switch op.Header {
	case "":
	case "x-amz-copy-source":
		header = []string{op.Header, "/bkt/key"}
	case "content-type":
		header = []string{op.Header, "multipart/form-data; boundary=x"}
	default:
		header = []string{op.Header, "x"}
	}
	return target, header
}

// forge gives a request credentials of a type, all of them wrong. ok is false for types that have none.
func forge(t *testing.T, req *http.Request, kind sigv4.AuthType) (codes []string) {
	t.Helper()
	addQuery := func(q string) {
		if req.URL.RawQuery != "" {
			q = "&" + q
		}
		req.URL.RawQuery += q
	}
	switch kind {
	case sigv4.AuthAnonymous:
		return []string{"AccessDenied"}
	case sigv4.AuthHeaderV4:
		sign(t, req, aliceKey, "not her secret", nil)
		return []string{"SignatureDoesNotMatch"}
	case sigv4.AuthPresignedV4:
		signed, err := sigv4.Signer{AccessKey: aliceKey, SecretKey: "not her secret", Region: "us-east-1"}.
			Presign(req.Method, req.URL.String(), req.Header, time.Minute, time.Now())
		require.NoError(t, err)
		u, err := req.URL.Parse(signed)
		require.NoError(t, err)
		req.URL = u
		return []string{"SignatureDoesNotMatch"}
	case sigv4.AuthHeaderV2:
		req.Header.Set("Authorization", "AWS "+aliceKey+":c2lnbmF0dXJl")
		return []string{"InvalidRequest"}
	case sigv4.AuthPresignedV2:
		addQuery("AWSAccessKeyId=" + aliceKey + "&Signature=x&Expires=9999999999")
		return []string{"InvalidRequest"}
	case sigv4.AuthConflict:
		sign(t, req, aliceKey, aliceSecret, nil) // even a right one, together with another
		addQuery("X-Amz-Signature=x")
		return []string{"InvalidArgument"}
	case sigv4.AuthUnknown:
		req.Header.Set("Authorization", "Bearer token")
		return []string{"InvalidArgument"}
	case sigv4.AuthPostForm:
		if req.Method != http.MethodPost {
			return nil
		}
		req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		return []string{"NotImplemented"}
	}
	t.Fatalf("no forgery for the new type %v", kind)
	return nil
}

// Attack 5: every operation, with every type of authentication, refuses what is not rightly signed, and changes nothing.
func TestEveryOperationVerifiesEveryType(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/key", []byte("precious"))
	before := f.store.index
	ops := s3.Operations()
	require.Greater(t, len(ops), 100)
	for i := range ops {
		op := &ops[i]
		target, header := operationTarget(op)
		routed, _ := s3.Route(op.Method, op.Level, queryOfTarget(t, target), f.request(op.Method, target, nil, header...).Header)
		require.Equal(t, op.Name, routed.Name, "the walk must reach the operation")
		for _, kind := range sigv4.AuthTypes() {
			req := f.request(op.Method, target, nil, header...)
			codes := forge(t, req, kind)
			if codes == nil || kind == sigv4.AuthAnonymous && op.Header == "content-type" {
				continue
			}
			a := f.send(req)
			require.GreaterOrEqual(t, a.StatusCode, 400, "%s %s", op.Name, kind)
			if a.Request.Method != http.MethodHead {
				require.Contains(t, codes, a.err(t).Code, "%s %s: %s", op.Name, kind, a.body)
			}
			require.Equal(t, before, f.store.index, "%s %s changed something", op.Name, kind)
		}
	}
	require.Equal(t, "precious", string(f.expect(200, "", "GET", "/bkt/key", nil).body))
}

func queryOfTarget(t *testing.T, target string) s3.Query {
	_, raw := sigv4.SplitTarget(target)
	q, err := s3.ParseQuery(raw)
	require.NoError(t, err)
	return q
}

// The table has a line for everything, so that a new type or level is refused until someone decides about it.
func TestVerificationTableIsWhole(t *testing.T) {
	f := newFront(t)
	for _, level := range []s3.Level{s3.LevelService, s3.LevelBucket, s3.LevelObject} {
		for _, kind := range sigv4.AuthTypes() {
			require.NotNil(t, verifications[level][kind], "%v %v", level, kind)
		}
	}
	r, err := sigv4.ParseRequest("GET", "/", "h", http.Header{}, 0, nil)
	require.NoError(t, err)
	_, _, err = f.server.authenticate(s3.Level(99), r)
	require.Error(t, err, "an unknown level is refused")
}

// Every operation that the table calls supported has a handler, and no other.
func TestHandlersMatchOperationTable(t *testing.T) {
	supported := 0
	for _, op := range s3.Operations() {
		_, ok := operations[op.Name]
		require.Equal(t, op.State == s3.Supported, ok, op.Name)
		if ok {
			supported++
		}
	}
	require.Equal(t, supported, len(operations))
}

// Every operation that is not supported is recognised: 501, or the answer for what was never set; nothing is stored.
func TestUnsupportedOperations(t *testing.T) {
	f := newFront(t)
	f.expect(200, "", "PUT", "/bkt", nil)
	f.expect(200, "", "PUT", "/bkt/key", []byte("precious"))
	before := f.store.index
	ops := s3.Operations()
	for i := range ops {
		op := &ops[i]
		target, header := operationTarget(op)
		switch {
		case op.State == s3.Supported || op.Header == "content-type":
		case op.State == s3.NotImplemented:
			f.expect(501, "NotImplemented", op.Method, target, []byte("<x/>"), header...)
		default:
			a := f.do(op.Method, target, nil, header...)
			if a.StatusCode != 200 {
				require.Contains(t, []int{400, 404}, a.StatusCode, "%s: %s", op.Name, a.body)
			}
			f.want(f.doBob(op.Method, target, nil, header...), 403, "AccessDenied")
			missing := strings.Replace(target, "/bkt", "/nosuchbucket", 1)
			f.expect(404, "NoSuchBucket", op.Method, missing, nil, header...)
		}
	}
	require.Equal(t, before, f.store.index)
}
