package s3

import (
	"net/http"
	"strings"
)

// unknownOperation stands for what no line of the table matches.
func unknownOperation(method string, level Level) *Operation {
	return &Operation{Name: "Unknown", Method: method, Level: level, State: NotImplemented}
}

// Route finds the operation of a request by method, level, query keys and headers. x-id never routes.
//
// The operation is never nil. The error, if any, is the answer to give once the request is authenticated: 501 NotImplemented for
// operations and subresources that are not supported, 405 MethodNotAllowed for methods and subresources that do not go together,
// 400 for query keys that do not, 412 for a POST to a bucket that is no form, 403 AccessForbidden for OPTIONS. Operations with
// State NoneAnswer come without error.
func Route(method string, level Level, q Query, h http.Header) (*Operation, error) {
	if method == http.MethodOptions {
		return &Operation{Name: "Preflight", Method: method, Level: level, State: NotImplemented}, NewError(CodeAccessForbidden, "")
	}
	rows := tableOf(method, level)
	if len(rows) == 0 {
		return unknownOperation(method, level), methodNotAllowed(method, level, "")
	}
	sub, err := subresourceOf(method, level, q)
	if err != nil {
		return unknownOperation(method, level), err
	}
	op := pick(rows, sub, q, h)
	if op == nil {
		return unknownOperation(method, level), noMatch(method, level, sub)
	}
	if err := checkParams(op, q); err != nil {
		return op, err
	}
	if op.State == NotImplemented {
		return op, notImplemented(op.Name)
	}
	return op, nil
}

// pick chooses the matching line with the most selectors. A request with a subresource matches only lines that have it: DELETE
// /b?metrics without its id must never be DeleteBucket.
func pick(rows []*Operation, sub string, q Query, h http.Header) *Operation {
	var best *Operation
	bestScore := -1
	for _, op := range rows {
		if sub != "" && op.Query != sub {
			continue
		}
		if s := op.score(q, h); s > bestScore {
			best, bestScore = op, s
		}
	}
	return best
}

// score is -1 if the line does not match, else how specific it is.
func (o *Operation) score(q Query, h http.Header) int {
	s := 0
	if o.Query != "" {
		v, ok := q.Lookup(o.Query)
		if !ok || (o.Value != "" && v != o.Value) {
			return -1
		}
		s += 4
	}
	if o.Query2 != "" {
		if !q.Has(o.Query2) {
			return -1
		}
		s += 2
	}
	if o.Header != "" {
		v := headerValues(h, o.Header)
		if len(v) == 0 || (o.Name == "PostObject" && !isForm(v[0])) {
			return -1
		}
		s++
	}
	return s
}

func isForm(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.Trim(t, " \t"), "multipart/form-data")
}

// subresources are the query keys of the table that select an operation by themselves, with the levels that know them.
var subresources = func() map[string]bool {
	m := make(map[string]bool)
	for i := range operations {
		if q := operations[i].Query; q != "" && !parameters[q] {
			m[q] = true
		}
	}
	return m
}()

// parameters are query keys that are no subresources: they accompany operations. X-Amz-* (signatures, and headers of presigned
// requests) and response-* belong to them too.
var parameters = map[string]bool{
	"x-id": true, "versionId": true, "partNumber": true, "uploadId": true, "list-type": true, "id": true, "select-type": true,
	"annotationName": true, "annotation-prefix": true, "max-annotation-results": true,
	"prefix": true, "delimiter": true, "encoding-type": true, "max-keys": true, "marker": true, "continuation-token": true,
	"start-after": true, "fetch-owner": true, "key-marker": true, "version-id-marker": true, "upload-id-marker": true,
	"max-uploads": true, "max-parts": true, "part-number-marker": true, "max-buckets": true, "bucket-region": true,
	"max-directory-buckets": true,
	"AWSAccessKeyId":        true, "Signature": true, "Expires": true, // SigV2
	// Left in presigned URLs by the AWS SDK for JavaScript v2; what counts are the headers, as with S3.
	"Content-Type": true, "Content-MD5": true, "Cache-Control": true,
}

func isParameter(name string) bool {
	if parameters[name] {
		return true
	}
	low := strings.ToLower(name)
	return strings.HasPrefix(low, "x-amz-") || strings.HasPrefix(low, "response-")
}

// subresourceOf finds the subresource of a request, "" for none. It refuses two at once, one that the method does not have, and for
// methods that change things every key that is not known: it may be a subresource of tomorrow, and must not be taken for the
// plain operation. Reads ignore unknown keys, as AWS does; no subresource has a HEAD.
func subresourceOf(method string, level Level, q Query) (string, error) {
	found := ""
	for _, p := range q {
		switch {
		case subresources[p.Name]:
			if found != "" && found != p.Name {
				return "", Errorf(CodeInvalidArgument, "Conflicting query parameters: %s, %s", found, p.Name)
			}
			found = p.Name
		case method == http.MethodGet || method == http.MethodHead || isParameter(p.Name):
		default:
			return "", notImplemented("The query parameter " + p.Name)
		}
	}
	if found != "" && !knows(method, level, found) {
		return "", methodNotAllowed(method, level, found)
	}
	return found, nil
}

// knows says whether a line has the method, level and subresource.
func knows(method string, level Level, sub string) bool {
	for _, op := range tableOf(method, level) {
		if op.Query == sub {
			return true
		}
	}
	return false
}

// checkParams refuses parameters that would change the meaning of an operation that does not take them.
func checkParams(op *Operation, q Query) error {
	if len(q) == 0 {
		return nil
	}
	if err := checkRepeated(q); err != nil {
		return err
	}
	switch op.Name {
	case "PutObject", "CopyObject", "CreateMultipartUpload":
		return refuseParams(q, "versionId", "partNumber", "uploadId")
	case "UploadPart", "UploadPartCopy", "CompleteMultipartUpload", "AbortMultipartUpload":
		return refuseParams(q, "versionId")
	case "DeleteObject":
		return refuseParams(q, "partNumber", "uploadId")
	}
	return nil
}

// checkRepeated refuses a parameter that is given twice and differently: others might act on the other value.
func checkRepeated(q Query) error {
	for i, p := range q {
		for _, o := range q[:i] {
			if o.Name == p.Name && o.Value != p.Value && (parameters[p.Name] || strings.HasPrefix(p.Name, "response-")) {
				return InvalidArgument(p.Name, p.Value, "The query parameter "+p.Name+" is given more than once.")
			}
		}
	}
	return nil
}

func refuseParams(q Query, names ...string) error {
	for _, name := range names {
		if v, has := q.Lookup(name); has {
			return InvalidArgument(name, v, "This operation does not accept this value of the parameter "+name+".")
		}
	}
	return nil
}

// noMatch is the answer when a level and method have lines, but none fits.
func noMatch(method string, level Level, sub string) error {
	switch {
	case sub != "": // a second query key is missing
		return InvalidArgument(sub, "", "The query parameter "+sub+" needs another one.")
	case method == http.MethodPost && level == LevelBucket:
		return PreconditionFailed("Bucket POST must be of the enclosure-type multipart/form-data")
	}
	return methodNotAllowed(method, level, "")
}

// methodNotAllowed is the 405, with the methods that the level has for the subresource; with those of the level if it has none.
func methodNotAllowed(method string, level Level, sub string) *Error {
	var allow, all []string
	for _, m := range [...]string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
		if len(tableOf(m, level)) > 0 {
			all = append(all, m)
		}
		if sub != "" && knows(m, level, sub) {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		allow = all
	}
	return NewError(CodeMethodNotAllowed, "").With("Method", method).With("ResourceType", strings.ToUpper(level.String())).
		WithHeader("Allow", strings.Join(allow, ", "))
}

// byMethod is the table by method and level.
var byMethod = func() map[string]*[4][]*Operation {
	m := make(map[string]*[4][]*Operation)
	for i := range operations {
		op := &operations[i]
		if m[op.Method] == nil {
			m[op.Method] = new([4][]*Operation)
		}
		rows := m[op.Method]
		rows[op.Level] = append(rows[op.Level], op)
	}
	return m
}()

func tableOf(method string, level Level) []*Operation {
	if rows := byMethod[method]; rows != nil {
		return rows[level&3]
	}
	return nil
}
