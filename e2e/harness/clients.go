package harness

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"
)

// AWS is an aws-sdk-go-v2 client of the node with the root key. Options may change it.
func (n *Node) AWS(options ...func(*s3.Options)) *s3.Client {
	return n.AWSAs(RootUser, RootPassword, options...)
}

// Attempts of Retries, and the longest pause between two: together longer than a machine that stalls again and again keeps a cluster
// without a leader.
const (
	retriesMax      = 60
	retriesPauseMax = time.Second
)

// Retries is an option of AWS: the SDK tries again, as it does by default, what was answered 5xx or not at all. A cluster may elect a
// leader at any moment, as when the machine stands still for a second; it refuses with 503 when that takes longer than a failover.
func Retries(o *s3.Options) {
	o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = retriesMax, retriesPauseMax
	})
}

// AWSAs is an aws-sdk-go-v2 client with a user's key. Retries are off, so that a test sees what the server said. Checksums are those
// of a client made from a loaded configuration: sent and verified wherever they can be.
func (n *Node) AWSAs(key, secret string, options ...func(*s3.Options)) *s3.Client {
	o := s3.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(n.S3),
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(key, secret, ""),
		HTTPClient:   n.HTTPClient(),
		Retryer:      aws.NopRetryer{},

		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	}
	if Tiers() { // suites that are written for one process know of no elections
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = retriesMax, retriesPauseMax
			o.Retryables = []retry.IsErrorRetryable{retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{503: {}}}}
		})
	}
	return s3.New(o, options...)
}

// Minio is a minio-go client of the node with the root key.
func (n *Node) Minio(t testing.TB) *minio.Client {
	t.Helper()
	host := n.S3[len("http://"):]
	secure := n.CA != nil
	if secure {
		host = n.S3[len("https://"):]
	}
	c, err := minio.New(host, &minio.Options{
		Creds:      miniocreds.NewStaticV4(RootUser, RootPassword, ""),
		Secure:     secure,
		Transport:  n.HTTPClient().Transport,
		Region:     "us-east-1",
		MaxRetries: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Bucket makes a bucket with a name of its own for the test.
func (n *Node) Bucket(t testing.TB) string {
	t.Helper()
	name := bucketName(t.Name())
	_, err := n.AWS(Retries).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name})
	if owned := (*types.BucketAlreadyOwnedByYou)(nil); err != nil && !errors.As(err, &owned) { // an attempt without an answer made it
		t.Fatalf("create bucket %s: %v", name, err)
	}
	return name
}

// bucketName turns a test's name into a bucket name: lower-case letters, digits and hyphens, at most 63.
func bucketName(test string) string {
	b := []byte("b-")
	for i := 0; i < len(test) && len(b) < 62; i++ {
		c := test[i]
		switch {
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			b = append(b, c)
		case b[len(b)-1] != '-':
			b = append(b, '-')
		}
	}
	for b[len(b)-1] == '-' {
		b = b[:len(b)-1]
	}
	return string(b)
}
