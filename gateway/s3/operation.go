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

// None is the answer of an operation whose State is NoneAnswer, for a bucket that exists: 200 with an XML body (nil: an empty
// one), or an error. The caller checks first that the bucket, and for LevelObject the object, exist.
func (o *Operation) None() (body []byte, err error) {
	n, ok := noneAnswers[o.Name]
	if !ok {
		return nil, notImplemented(o.Name)
	}
	if n.code != "" {
		return nil, NewError(n.code, n.text)
	}
	if n.text == "" {
		return nil, nil
	}
	return []byte(xmlHeader + n.text), nil
}

func notImplemented(what string) *Error {
	if what == "" {
		return NewError(CodeNotImplemented, "")
	}
	return Errorf(CodeNotImplemented, "%s is not implemented.", what)
}
