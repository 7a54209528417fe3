package sigv4

import "strings"

// AuthType is how a request claims to be authenticated. The zero value is refused.
type AuthType uint8

// The authentication types, as found by Classify from which credential fields are present, not from whether they are
// right.
const (
	AuthUnknown     AuthType = iota // an Authorization of another scheme, or a stray security token: 400
	AuthAnonymous                   // no credential field at all, in header or query
	AuthHeaderV4                    // Authorization: AWS4-HMAC-SHA256 ...
	AuthPresignedV4                 // any X-Amz-Algorithm, -Credential, -Signature ... query parameter
	AuthHeaderV2                    // Authorization: AWS ...: 400
	AuthPresignedV2                 // AWSAccessKeyId or Signature query parameter: 400
	AuthPostForm                    // POST multipart/form-data, credentials are form fields
	AuthConflict                    // several mechanisms, or several Authorization headers: 400
	authTypes
)

var authTypeNames = [authTypes]string{
	"unknown", "anonymous", "header-v4", "presigned-v4", "header-v2", "presigned-v2", "post-form", "conflict",
}

// String names the type for logs.
func (t AuthType) String() string {
	if t < authTypes {
		return authTypeNames[t]
	}
	return "invalid"
}

// AuthTypes lists every type, so that a test can walk a dispatch table.
func AuthTypes() []AuthType {
	all := make([]AuthType, authTypes)
	for i := range all {
		all[i] = AuthType(i)
	}
	return all
}

// Classify finds the authentication type of a request by its credential fields.
func Classify(r *Request) AuthType {
	authorization := r.Header["Authorization"]
	v4, v2 := credentialParams(r.Query)
	switch {
	case len(authorization) > 1, len(authorization) == 1 && (v4 || v2), v4 && v2:
		return AuthConflict
	case len(authorization) == 1:
		return classifyScheme(authorization[0])
	case v4:
		return AuthPresignedV4
	case v2:
		return AuthPresignedV2
	case len(r.Header["X-Amz-Security-Token"]) > 0:
		return AuthUnknown
	case isPostForm(r):
		return AuthPostForm
	}
	return AuthAnonymous
}

func classifyScheme(authorization string) AuthType {
	switch scheme, _, _ := strings.Cut(authorization, " "); scheme {
	case algorithm:
		return AuthHeaderV4
	case "AWS":
		return AuthHeaderV2
	}
	return AuthUnknown
}

// credentialParams reports which mechanisms' parameters a query has. SigV4 names are matched in any case, so that a
// misspelt credential is refused later and never taken for anonymous.
func credentialParams(q Query) (v4, v2 bool) {
	for i := range q {
		switch name := q[i].Name; {
		case name == "AWSAccessKeyId", name == "Signature":
			v2 = true
		case isAuthParam(name):
			v4 = true
		}
	}
	return v4, v2
}

func isPostForm(r *Request) bool {
	if r.Method != "POST" || len(r.Header["Content-Type"]) == 0 {
		return false
	}
	media, _, _ := strings.Cut(r.Header["Content-Type"][0], ";")
	return strings.EqualFold(strings.TrimSpace(media), "multipart/form-data")
}
