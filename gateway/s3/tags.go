package s3

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"minikv/internal/object"
)

// Tag is a key and value of an object's or bucket's tag set.
type Tag struct{ Key, Value string }

// ParseTagHeader reads x-amz-tagging ("k=v&k2=v2", URL-encoded) and checks it like ParseTagging. Not well-formed, an empty key or
// one given twice: 400 InvalidArgument.
func ParseTagHeader(s string) ([]Tag, error) {
	q, err := ParseQuery(s)
	if err != nil {
		return nil, badTagHeader(s)
	}
	tags := make([]Tag, len(q))
	for i, p := range q {
		if _, twice := q[:i].Lookup(p.Name); twice || p.Name == "" {
			return nil, badTagHeader(s)
		}
		tags[i] = Tag{p.Name, p.Value}
	}
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	return tags, nil
}

func badTagHeader(s string) *Error {
	return InvalidArgument("x-amz-tagging", s,
		"The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
}

// ParseTagging reads the body of PutObjectTagging. 400 MalformedXML; InvalidTag (key 1 to 128 characters, value to 256, allowed
// characters, no duplicates, not "aws:"); BadRequest (over 10).
func ParseTagging(body []byte) ([]Tag, error) {
	var tags []Tag
	set := false
	err := parseXML(body, "Tagging", func(x *xmlReader) error {
		return x.children(func(name string) error {
			if name != "TagSet" || set {
				return malformedXML()
			}
			set = true
			return x.children(func(name string) error {
				if name != "Tag" {
					return malformedXML()
				}
				if len(tags) > tagsParsedMax {
					return tooManyTags()
				}
				t, err := x.tag()
				tags = append(tags, t)
				return err
			})
		})
	})
	if err == nil && !set {
		err = malformedXML()
	}
	if err == nil {
		err = checkTags(tags)
	}
	if err != nil {
		return nil, err
	}
	return tags, nil
}

// tagsParsedMax bounds what is read before the number is refused.
const tagsParsedMax = 64

func (x *xmlReader) tag() (Tag, error) {
	var t Tag
	var hasKey, hasValue bool
	err := x.children(func(name string) (err error) {
		switch {
		case name == "Key" && !hasKey:
			hasKey = true
			t.Key, err = x.text()
		case name == "Value" && !hasValue:
			hasValue = true
			t.Value, err = x.text()
		default:
			err = malformedXML()
		}
		return err
	})
	if err == nil && (!hasKey || !hasValue) {
		err = malformedXML()
	}
	return t, err
}

func tooManyTags() *Error {
	return Errorf(CodeBadRequest, "Object tags cannot be greater than %d", object.TagsMax)
}

// checkTags checks a tag set.
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
func checkTags(tags []Tag) error {
	if len(tags) > object.TagsMax {
		return tooManyTags()
	}
	for i, t := range tags {
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > object.TagKeyMax || !tagText(t.Key):
			return NewError(CodeInvalidTag, "The TagKey you have provided is invalid").With("TagKey", t.Key)
		case utf8.RuneCountInString(t.Value) > object.TagValueMax || !tagText(t.Value):
			return NewError(CodeInvalidTag, "The TagValue you have provided is invalid").With("TagKey", t.Key).With("TagValue", t.Value)
		case len(t.Key) >= 4 && strings.EqualFold(t.Key[:4], "aws:"):
			return NewError(CodeInvalidTag, "System tags cannot be added/updated by requester").With("TagKey", t.Key)
		}
		for _, o := range tags[:i] {
			if o.Key == t.Key {
				return NewError(CodeInvalidTag, "Cannot provide multiple Tags with the same key").With("TagKey", t.Key)
			}
		}
	}
	return nil
}

// tagText says whether all characters are letters, marks, numbers, spaces, or one of + - = . _ : / @.
func tagText(s string) bool {
	for _, r := range s {
		if !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.Z) && !strings.ContainsRune("+-=._:/@", r) {
			return false
		}
	}
	return true
}

// AppendTagging appends the answer of GetObjectTagging.
func AppendTagging(dst []byte, tags []Tag) []byte {
	dst = appendRoot(dst, "Tagging")
	dst = append(dst, "<TagSet>"...)
	for _, t := range tags {
		dst = append(dst, "<Tag>"...)
		dst = appendElement(dst, "Key", t.Key)
		dst = appendElement(dst, "Value", t.Value)
		dst = append(dst, "</Tag>"...)
	}
	return append(dst, "</TagSet></Tagging>"...)
}
