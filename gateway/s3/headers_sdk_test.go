package s3

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// evaluated are the x-amz-* headers that a function of this package or the handlers evaluate, or that ask for nothing. A '*' ends
// a prefix.
var evaluated = strings.Fields(`
	x-amz-checksum-* x-amz-sdk-checksum-algorithm x-amz-trailer x-amz-mp-object-size
	x-amz-copy-source x-amz-copy-source-range x-amz-copy-source-if-match x-amz-copy-source-if-none-match
	x-amz-copy-source-if-modified-since x-amz-copy-source-if-unmodified-since
	x-amz-metadata-directive x-amz-tagging-directive x-amz-tagging x-amz-meta-*
	x-amz-if-match-last-modified-time x-amz-if-match-size
	x-amz-object-attributes x-amz-max-parts x-amz-part-number-marker
	x-amz-expected-bucket-owner x-amz-source-expected-bucket-owner
	x-amz-date x-amz-content-sha256 x-amz-decoded-content-length x-amz-security-token
	x-amz-request-payer x-amz-optional-object-attributes`)

func isEvaluated(low string) bool {
	for _, e := range evaluated {
		p, prefix := strings.CutSuffix(e, "*")
		if low == e || (prefix && strings.HasPrefix(low, p)) {
			return true
		}
	}
	return false
}

// W5: every header that the SDK can send with a supported operation is evaluated or refused; none is passed over by accident.
func TestEveryHeaderOfTheSDKIsDecided(t *testing.T) {
	c := &capture{}
	client := sdkClient(c)
	seen := map[string]bool{}
	for _, op := range Operations() {
		m, ok := reflect.TypeOf(client).MethodByName(op.Name)
		if op.State != Supported || !ok {
			continue
		}
		in := reflect.New(m.Type.In(2).Elem())
		fill(in.Elem(), 0)
		c.req = nil
		reflect.ValueOf(client).MethodByName(op.Name).Call([]reflect.Value{reflect.ValueOf(context.Background()), in})
		require.NotNil(t, c.req, op.Name)
		for name := range c.req.Header {
			low := strings.ToLower(name)
			if strings.HasPrefix(low, "x-amz-") {
				seen[low] = true
				require.True(t, isEvaluated(low) || ruleOf(name) != nil, "%s: %s is neither evaluated nor refused", op.Name, low)
			}
		}
	}
	require.Greater(t, len(seen), 40)
	for _, low := range []string{"x-amz-server-side-encryption", "x-amz-object-lock-mode", "x-amz-grant-read", "x-amz-mfa"} {
		require.True(t, seen[low], low)
	}
}
