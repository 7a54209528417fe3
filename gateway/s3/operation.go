package s3

// State says what this store does with an operation.
type State uint8

// The states.
const (
	Supported      State = 1
	NotImplemented State = 2 // 501
	NoneAnswer     State = 3 // answers as AWS does for configuration that was never set; see Operation.None
)

func (s State) String() string {
	return [...]string{"", "supported", "not implemented", "none"}[s&3]
}

// Operation is a line of the operation table.
type Operation struct {
	Name   string // as in the S3 API: "PutObject"
	Method string
	Level  Level
	Query  string // query key that selects it; "" for none
	Value  string // value that Query must have; "" for any
	Query2 string // second query key that it needs; "" for none
	Header string // header that selects it, lower case; "" for none
	State  State
}

// Operations is the operation table. The caller must not change it.
func Operations() []Operation { return operations }

// Writes says whether the operation changes something.
func (o *Operation) Writes() bool {
	return o.Method != "GET" && o.Method != "HEAD" && o.Method != "OPTIONS"
}

// None is the answer of an operation whose State is NoneAnswer, for a bucket that exists: 200 with an XML body, or an error. The
// caller checks first that the bucket, and for LevelObject the object, exist.
func (o *Operation) None() (body []byte, err error) {
	n, ok := noneAnswers[o.Name]
	if !ok {
		return nil, notImplemented(o.Name)
	}
	if n.code != "" {
		return nil, NewError(n.code, n.message)
	}
	body = appendRoot(nil, n.root)
	body = append(body, n.inner...)
	return appendClose(body, n.root), nil
}

// noneAnswer is an error, or a 200 with a root element.
type noneAnswer struct {
	code    Code
	message string // "": the code's usual one
	root    string
	inner   string
}

const noLock = "Bucket is missing Object Lock Configuration"

// noneAnswers are AWS's answers for configuration that was never set.
var noneAnswers = map[string]noneAnswer{
	"GetBucketVersioning":                {root: "VersioningConfiguration"},
	"GetBucketAccelerateConfiguration":   {root: "AccelerateConfiguration"},
	"GetBucketLogging":                   {root: "BucketLoggingStatus"},
	"GetBucketNotificationConfiguration": {root: "NotificationConfiguration"},
	"GetBucketRequestPayment":            {root: "RequestPaymentConfiguration", inner: "<Payer>BucketOwner</Payer>"},

	"GetBucketPolicy":                 {code: CodeNoSuchBucketPolicy},
	"GetBucketPolicyStatus":           {code: CodeNoSuchBucketPolicy},
	"GetBucketLifecycleConfiguration": {code: CodeNoSuchLifecycleConfiguration},
	"GetBucketCors":                   {code: CodeNoSuchCORSConfiguration},
	"GetBucketTagging":                {code: CodeNoSuchTagSet},
	"GetBucketWebsite":                {code: CodeNoSuchWebsiteConfiguration},
	"GetPublicAccessBlock":            {code: CodeNoSuchPublicAccessBlockConfiguration},
	"GetBucketOwnershipControls":      {code: CodeOwnershipControlsNotFoundError},
	"GetObjectLockConfiguration":      {code: CodeObjectLockConfigurationNotFoundError},
	"GetBucketReplication":            {code: CodeReplicationConfigurationNotFoundError},
	"GetBucketEncryption":             {code: CodeServerSideEncryptionConfigurationNotFoundError},
	"GetObjectRetention":              {code: CodeInvalidRequest, message: noLock},
	"GetObjectLegalHold":              {code: CodeInvalidRequest, message: noLock},
}

func notImplemented(what string) *Error {
	if what == "" {
		return NewError(CodeNotImplemented, "")
	}
	return Errorf(CodeNotImplemented, "%s is not implemented.", what)
}
