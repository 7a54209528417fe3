package s3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"
)

var errCaptured = errors.New("captured")

// capture is an HTTP client that keeps the last request and sends nothing.
type capture struct{ req *http.Request }

func (c *capture) Do(r *http.Request) (*http.Response, error) {
	c.req = r
	return nil, errCaptured
}

func sdkClient(doer s3.HTTPClient) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String("http://127.0.0.1:1"), UsePathStyle: true, Region: "us-east-1", HTTPClient: doer,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "k", SecretAccessKey: "s"}, nil
		}),
		Retryer:                     aws.NopRetryer{},
		RequestChecksumCalculation:  aws.RequestChecksumCalculationWhenRequired,
		DisableS3ExpressSessionAuth: aws.Bool(true),
	})
}

// fill sets every settable value below v that it knows how to set.
func fill(v reflect.Value, depth int) {
	if depth > 16 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.String:
		v.SetString("xyz")
		if v.Type() == reflect.TypeFor[types.ChecksumAlgorithm]() {
			v.SetString("CRC32")
		}
	case reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Struct:
		for i := 0; i < v.NumField(); i++ {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth+1)
			}
		}
	case reflect.Interface:
		switch v.Type() {
		case reflect.TypeFor[io.Reader]():
			v.Set(reflect.ValueOf(strings.NewReader("")))
		case reflect.TypeFor[types.ObjectEncryption]():
			kms := &types.ObjectEncryptionMemberSSEKMS{Value: types.SSEKMSEncryption{KMSKeyArn: aws.String("xyz")}}
			v.Set(reflect.ValueOf(kms))
		}
	}
}

// requestOf runs one operation of the SDK with its required members, and gives the request it would send.
func requestOf(t *testing.T, client *s3.Client, c *capture, m reflect.Method) *http.Request {
	in := reflect.New(m.Type.In(2).Elem())
	for range 5 {
		c.req = nil
		out := reflect.ValueOf(client).MethodByName(m.Name).Call([]reflect.Value{reflect.ValueOf(context.Background()), in})
		if c.req != nil {
			return c.req
		}
		err, _ := out[1].Interface().(error)
		var missing smithy.InvalidParamsError
		require.ErrorAs(t, err, &missing, m.Name)
		for _, e := range missing.Errs() {
			var param interface{ Field() string }
			require.ErrorAs(t, e, &param, m.Name)
			field := strings.TrimPrefix(param.Field(), m.Type.In(2).Elem().Name()+".")
			field, _, _ = strings.Cut(field, ".")
			field, _, _ = strings.Cut(field, "[")
			fill(in.Elem().FieldByName(field), 0)
		}
	}
	t.Fatalf("%s: no request", m.Name)
	return nil
}

// Every operation of the SDK's model routes to itself, and the table has no others but the browser's form.
func TestRouteFindsEveryOperationOfTheSDK(t *testing.T) {
	c := &capture{}
	client := sdkClient(c)
	seen := map[string]bool{"PostObject": true, "ListDirectoryBuckets": true}
	typ := reflect.TypeOf(client)
	for i := 0; i < typ.NumMethod(); i++ {
		m := typ.Method(i)
		if m.Type.NumIn() < 3 || m.Name == "ListDirectoryBuckets" || !strings.HasSuffix(m.Type.In(2).String(), m.Name+"Input") {
			continue
		}
		r := requestOf(t, client, c, m)
		target, err := ParseTarget(r.URL.RequestURI(), "127.0.0.1", nil)
		require.NoError(t, err, m.Name)
		q, err := ParseQuery(target.RawQuery)
		require.NoError(t, err, m.Name)
		op, err := Route(r.Method, target.Level, q, r.Header)
		require.Equal(t, m.Name, op.Name, "%s %s: %v", r.Method, r.URL, err)
		if op.State == NotImplemented {
			requireCode(t, err, CodeNotImplemented, 501)
		} else {
			require.NoError(t, err, m.Name)
		}
		seen[m.Name] = true
	}
	require.Greater(t, len(seen), 100)
	for _, op := range Operations() {
		require.True(t, seen[op.Name], "%s is not in the SDK", op.Name)
	}
}

func requireCode(t testing.TB, err error, code Code, status int, msg ...any) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e, msg...)
	require.Equal(t, code, e.Code, msg...)
	require.Equal(t, status, e.Status, msg...)
	return e
}
