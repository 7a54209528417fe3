package s3

import (
	"net/http"
	"net/textproto"
	"strings"
)

// headerRule says what is done with a request header: nil accepts any value, here or elsewhere in the package.
type headerRule func(name, value string) error

// reject refuses any value with 501.
func reject(name, _ string) error { return NotImplementedHeader(name) }

// headerRules has a rule for every x-amz-* request header of the supported operations that is not evaluated by another function
// of the package. Prefix rules end in '*'.
var headerRules = map[string]headerRule{
	"x-amz-acl":                                 checkACL,
	"x-amz-bucket-namespace":                    only("global"),
	"x-amz-bucket-object-lock-enabled":          only("false"),
	"x-amz-bypass-governance-retention":         only("false"),
	"x-amz-copy-source-server-side-encryption*": reject,
	"x-amz-grant-*":                             reject,
	"x-amz-if-match-initiated-time":             reject,
	"x-amz-mfa":                                 reject,
	"x-amz-object-lock-*":                       reject,
	"x-amz-object-ownership":                    checkOwnership,
	"x-amz-server-side-encryption*":             reject,
	"x-amz-storage-class":                       checkStorageClass,
	"x-amz-website-redirect-location":           reject,
	"x-amz-write-offset-bytes":                  reject,
	"x-amz-rename-source*":                      reject,
	"x-amz-object-annotation-directive":         only("COPY"),
	"x-amz-optional-object-attributes":          checkOptionalAttributes,
}

// singleValued are the headers of which only the first value is looked at, by canonical name.
var singleValued = func() map[string]bool {
	m := make(map[string]bool)
	for _, name := range []string{
		headerCopySource, headerCopySourceRange, "x-amz-copy-source-if-modified-since", "x-amz-copy-source-if-unmodified-since",
		"x-amz-metadata-directive", "x-amz-tagging-directive", "x-amz-tagging", HeaderChecksumAlgorithm, HeaderSDKChecksumAlgorithm,
		HeaderChecksumType, HeaderChecksumMode, HeaderObjectSize, headerMatchModified, headerMatchSize, "x-amz-max-parts",
		"x-amz-part-number-marker",
	} {
		m[textproto.CanonicalMIMEHeaderKey(name)] = true
	}
	return m
}()

// CheckHeaders refuses headers that ask for what this store does not do: encryption, lock, grants, redirects, other storage
// classes, ... 501 NotImplemented naming the header; 400 InvalidStorageClass for an unknown class, InvalidArgument for an unknown
// ACL, or for a header that has one value and is given twice. Headers with an empty value are as good as absent. Operations take
// no notice of headers that are not theirs in AWS; here they are refused for all operations alike, which is safer and simpler.
func CheckHeaders(op *Operation, h http.Header) error {
	for name, values := range h {
		if len(name) < 6 || !strings.EqualFold(name[:6], "x-amz-") {
			continue
		}
		if len(values) > 1 && singleValued[textproto.CanonicalMIMEHeaderKey(name)] {
			return InvalidArgument(strings.ToLower(name), strings.Join(values, ","), "The header is given more than once.")
		}
		rule := ruleOf(name)
		if rule == nil {
			continue
		}
		for _, v := range values {
			if v == "" {
				continue
			}
			if err := rule(strings.ToLower(name), strings.Trim(v, " \t")); err != nil {
				return err
			}
		}
	}
	return nil
}

// ruleOf finds the rule of a header, in canonical or any other letter case.
func ruleOf(name string) headerRule {
	if c := name[0]; 'a' <= c && c <= 'z' { // not from net/http
		name = textproto.CanonicalMIMEHeaderKey(name)
	}
	if r, ok := exactRules[name]; ok {
		return r
	}
	for _, p := range prefixRules {
		if len(name) >= len(p.prefix) && strings.EqualFold(name[:len(p.prefix)], p.prefix) {
			return p.rule
		}
	}
	return nil
}

type prefixRule struct {
	prefix string
	rule   headerRule
}

// exactRules are by canonical name.
var exactRules, prefixRules = func() (map[string]headerRule, []prefixRule) {
	exact := make(map[string]headerRule)
	var prefixes []prefixRule
	for name, rule := range headerRules {
		if p, ok := strings.CutSuffix(name, "*"); ok {
			prefixes = append(prefixes, prefixRule{p, rule})
		} else {
			exact[textproto.CanonicalMIMEHeaderKey(name)] = rule
		}
	}
	return exact, prefixes
}()

// only accepts one value, letter case ignored.
func only(accepted string) headerRule {
	return func(name, value string) error {
		if strings.EqualFold(value, accepted) {
			return nil
		}
		return NotImplementedHeader(name)
	}
}

// checkACL accepts the canned ACLs that say no more than what holds: only a bucket's owner writes to it, and has full control of
// what was written. For buckets S3 ignores the bucket-owner ones.
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#canned-acl
func checkACL(name, value string) error {
	switch value {
	case "private", "bucket-owner-read", "bucket-owner-full-control":
		return nil
	case "public-read", "public-read-write", "aws-exec-read", "authenticated-read", "log-delivery-write":
		return NotImplementedHeader(name)
	}
	return InvalidArgument(name, value, "")
}

// checkOptionalAttributes: RestoreStatus is for archived objects, of which there are none; what else may come is not listed.
func checkOptionalAttributes(name, value string) error {
	for _, a := range strings.Split(value, ",") {
		if strings.Trim(a, " \t") != "RestoreStatus" {
			return InvalidArgument(name, value, "Invalid attribute name specified.")
		}
	}
	return nil
}

func checkStorageClass(name, value string) error {
	switch value {
	case "STANDARD":
		return nil
	case "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR",
		"OUTPOSTS", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP":
		return NotImplementedHeader(name)
	}
	return NewError(CodeInvalidStorageClass, "").With("StorageClassRequested", value)
}

func checkOwnership(name, value string) error {
	switch value {
	case "ObjectWriter":
		return nil
	case "BucketOwnerPreferred", "BucketOwnerEnforced":
		return NotImplementedHeader(name)
	}
	return InvalidArgument(name, value, "Invalid x-amz-object-ownership header: "+value)
}
