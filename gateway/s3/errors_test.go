package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

// The statuses of S3's documentation, written down a second time.
func TestEveryCodeHasItsStatus(t *testing.T) {
	want := map[int]string{
		304: "NotModified",
		400: `AuthorizationHeaderMalformed AuthorizationQueryParametersError InvalidArgument InvalidRequest BadDigest InvalidDigest
			XAmzContentSHA256Mismatch IncompleteBody MalformedTrailerError EntityTooSmall EntityTooLarge InvalidPart InvalidPartOrder
			MalformedXML MaxMessageLengthExceeded KeyTooLongError InvalidURI InvalidBucketName MetadataTooLarge
			RequestHeaderSectionTooLarge InvalidTag BadRequest InvalidToken ExpiredToken InvalidStorageClass
			InvalidLocationConstraint RequestTimeout AccessControlListNotSupported InvalidPolicyDocument MalformedPOSTRequest
			MaxPostPreDataLengthExceededError InvalidBucketOwnerAWSAccountID`,
		403: "AccessDenied SignatureDoesNotMatch InvalidAccessKeyId RequestTimeTooSkewed AccessForbidden InvalidObjectState",
		404: `NoSuchBucket NoSuchKey NoSuchVersion NoSuchUpload NoSuchBucketPolicy NoSuchLifecycleConfiguration
			NoSuchCORSConfiguration NoSuchTagSet NoSuchWebsiteConfiguration NoSuchPublicAccessBlockConfiguration
			OwnershipControlsNotFoundError ObjectLockConfigurationNotFoundError ReplicationConfigurationNotFoundError
			ServerSideEncryptionConfigurationNotFoundError NoSuchConfiguration NoSuchObjectLockConfiguration`,
		405: "MethodNotAllowed",
		409: `BucketAlreadyExists BucketAlreadyOwnedByYou BucketNotEmpty InvalidBucketState ConditionalRequestConflict
			OperationAborted`,
		411: "MissingContentLength",
		412: "PreconditionFailed",
		416: "InvalidRange InvalidPartNumber",
		500: "InternalError",
		501: "NotImplemented",
		503: "SlowDown ServiceUnavailable",
		507: "InsufficientStorage",
	}
	n := 0
	for status, names := range want {
		for _, name := range strings.Fields(names) {
			e := NewError(Code(name), "")
			require.Equal(t, status, e.Status, name)
			require.NotEmpty(t, e.Message, name)
			n++
		}
	}
	require.Len(t, codes, n)
}

func TestErrorXML(t *testing.T) {
	e := NewError(CodeNoSuchKey, "").With("Key", "a<b>\x01\r").WithHeader("x-amz-delete-marker", "true")
	got := string(AppendError(nil, e, "/b/a&b", "REQ", ""))
	require.Equal(t, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"+
		`<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>a&lt;b&gt;`+"\uFFFD"+`&#xD;</Key>`+
		`<Resource>/b/a&amp;b</Resource><RequestId>REQ</RequestId></Error>`, got)
	require.NotContains(t, got, "xmlns")

	var parsed struct {
		Code, Message, Region string
		HostID                string `xml:"HostId"`
	}
	b := AppendError(nil, NewError(CodeAuthorizationHeaderMalformed, `the region 'x' is "wrong"`).With("Region", "eu-1"), "", "", "H")
	require.NoError(t, xml.Unmarshal(b, &parsed))
	require.Equal(t, `the region 'x' is "wrong"`, parsed.Message)
	require.Equal(t, "eu-1", parsed.Region)
	require.Equal(t, "H", parsed.HostID)
}

// Every kind but "internal error" has a code of its own choosing.
func TestKindsToCodes(t *testing.T) {
	for k := errs.Kind(1); !strings.HasPrefix(k.String(), "kind "); k++ {
		if k == errs.Corrupt {
			continue
		}
		_, ok := kindCodes[k]
		require.True(t, ok, k)
	}
	for _, c := range []struct {
		err    error
		code   Code
		status int
	}{
		{errs.E("op", errs.NoSuchKey, "x"), CodeNoSuchKey, 404},
		{errs.Wrap("outer", errs.E("op", errs.Precondition, "x")), CodePreconditionFailed, 412},
		{errs.E("op", errs.StorageFull, "x"), CodeInsufficientStorage, 507},
		{errs.E("op", errs.NotLeader, "x"), CodeServiceUnavailable, 503},
		{errs.E("op", errs.SlowDown, "x"), CodeSlowDown, 503},
		{errs.E("op", errs.IndeterminateResult, "x"), CodeServiceUnavailable, 503},
		{errs.E("op", errs.BucketNotEmpty, "x"), CodeBucketNotEmpty, 409},
		{errs.E("op", errs.Corrupt, "x"), CodeInternalError, 500},
		{errors.New("anything"), CodeInternalError, 500},
		{context.DeadlineExceeded, CodeServiceUnavailable, 503},
		{fmt.Errorf("wrapped: %w", NewError(CodeInvalidTag, "")), CodeInvalidTag, 400},
	} {
		requireCode(t, ErrorOf(c.err), c.code, c.status, c.err)
	}
	require.Nil(t, ErrorOf(nil))
	require.Equal(t, "a bad thing", ErrorOf(errs.E("op", errs.Invalid, "a bad thing")).Message)
	require.NotContains(t, ErrorOf(errs.E("op", errs.Unavailable, "10.0.0.3 refused")).Message, "10.0.0.3")
}
