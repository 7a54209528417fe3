package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// Bounds of a request body, beside its length.
const (
	xmlDepthMax    = 32
	xmlTagBytesMax = 4 << 10 // attributes are kept while a tag is read: without a bound 8 MiB of them become 200
)

// xmlReader walks an XML body as a recursive descent: a function that is given an element consumes it with children, text or
// skip. It builds no tree, so memory is bounded by the body and what the caller keeps.
type xmlReader struct {
	d     *xml.Decoder
	depth int
}

func malformedXML() *Error { return NewError(CodeMalformedXML, "") }

// parseXML walks a body whose root element is root, with any namespace or none. fn consumes the root's content. A DTD, an unknown
// entity, too deep nesting, another root, or text after the root is 400 MalformedXML.
func parseXML(body []byte, root string, fn func(x *xmlReader) error) error {
	body = bytes.TrimPrefix(body, []byte("\uFEFF"))
	if !boundedTags(body) {
		return malformedXML()
	}
	x := &xmlReader{d: xml.NewDecoder(bytes.NewReader(body))}
	x.d.Strict = true
	x.d.CharsetReader = knownCharset
	start, err := x.prolog()
	if err != nil {
		return err
	}
	if start.Name.Local != root {
		return malformedXML()
	}
	if err := fn(x); err != nil {
		return err
	}
	return x.epilog()
}

// knownCharset reads bodies that are declared as ASCII, which is UTF-8 too, and UTF-8 by the name that Python gives it: some XML
// writers declare either unasked.
func knownCharset(charset string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "us-ascii", "ascii", "utf8":
		return r, nil
	}
	return nil, errors.New("unknown charset")
}

// prolog reads up to the root element.
func (x *xmlReader) prolog() (xml.StartElement, error) {
	for {
		t, err := x.d.Token()
		if err != nil {
			return xml.StartElement{}, malformedXML()
		}
		switch t := t.(type) {
		case xml.StartElement:
			x.depth = 1
			return t, nil
		case xml.ProcInst:
			if t.Target != "xml" {
				return xml.StartElement{}, malformedXML()
			}
		case xml.CharData:
			if !blank(t) {
				return xml.StartElement{}, malformedXML()
			}
		case xml.Comment:
		default: // a DTD is a directive
			return xml.StartElement{}, malformedXML()
		}
	}
}

// epilog reads what follows the root element: nothing but space and comments.
func (x *xmlReader) epilog() error {
	for {
		t, err := x.d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return malformedXML()
		}
		switch t := t.(type) {
		case xml.Comment:
		case xml.CharData:
			if !blank(t) {
				return malformedXML()
			}
		default:
			return malformedXML()
		}
	}
}

// boundedTags says whether every tag is at most xmlTagBytesMax long and there is no DTD. What is not well-formed otherwise is left
// to the decoder.
func boundedTags(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '<')
		if i < 0 {
			return true
		}
		b = b[i:]
		end := ">"
		switch {
		case bytes.HasPrefix(b, []byte("<!--")):
			end = "-->"
		case bytes.HasPrefix(b, []byte("<![CDATA[")):
			end = "]]>"
		case bytes.HasPrefix(b, []byte("<!")):
			return false
		default:
			n := tagLength(b[:min(len(b), xmlTagBytesMax)])
			if n < 0 {
				return len(b) <= xmlTagBytesMax // cut off: the decoder says so
			}
			b = b[n:]
			continue
		}
		j := bytes.Index(b, []byte(end))
		if j < 0 {
			return true
		}
		b = b[j+len(end):]
	}
}

// tagLength is the length of the tag that b begins with, -1 if it does not end in b. A '>' in quotes ends nothing.
func tagLength(b []byte) int {
	quote := byte(0)
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return -1
}

func blank(b []byte) bool { return len(bytes.TrimLeft(b, " \t\r\n")) == 0 }

// children calls fn with the local name of each child of the open element, up to the element's end. fn consumes the child.
func (x *xmlReader) children(fn func(name string) error) error {
	for {
		t, err := x.d.Token()
		if err != nil {
			return malformedXML()
		}
		switch t := t.(type) {
		case xml.StartElement:
			if x.depth++; x.depth > xmlDepthMax {
				return malformedXML()
			}
			if err := fn(t.Name.Local); err != nil {
				return err
			}
		case xml.EndElement:
			x.depth--
			return nil
		case xml.CharData:
			if !blank(t) {
				return malformedXML()
			}
		case xml.Comment:
		default:
			return malformedXML()
		}
	}
}

// text consumes an element that holds text only.
func (x *xmlReader) text() (string, error) {
	var b strings.Builder
	for {
		t, err := x.d.Token()
		if err != nil {
			return "", malformedXML()
		}
		switch t := t.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.EndElement:
			x.depth--
			return b.String(), nil
		case xml.Comment:
		default:
			return "", malformedXML()
		}
	}
}

// trimmed is text without space around it, for numbers, dates and tags.
func (x *xmlReader) trimmed() (string, error) {
	s, err := x.text()
	return strings.Trim(s, " \t\r\n"), err
}

// skip consumes an element and all below it.
func (x *xmlReader) skip() error {
	for open := 1; open > 0; {
		t, err := x.d.Token()
		if err != nil {
			return malformedXML()
		}
		switch t.(type) {
		case xml.StartElement:
			if x.depth++; x.depth > xmlDepthMax {
				return malformedXML()
			}
			open++
		case xml.EndElement:
			x.depth--
			open--
		case xml.CharData, xml.Comment:
		default:
			return malformedXML()
		}
	}
	return nil
}
