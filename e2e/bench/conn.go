package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// conn is one client's connection: just enough HTTP/1.1 to send a signed request and count its answer. net/http's client costs
// several times as much, on the same cores as the server that is to be measured.
type conn struct {
	net.Conn
	origin string // http://host:port
	in     *bufio.Reader
	head   []byte
}

func dial(ctx context.Context, origin string) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(origin, "http://"))
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, origin: origin, in: bufio.NewReaderSize(c, 4<<10)}, nil
}

// do sends a request and reads its answer into buf, piece by piece; n is the length of the answer's body.
func (c *conn) do(ctx context.Context, method, path string, body []byte, payload string, buf []byte) (status int, n int64, err error) {
	req, err := http.NewRequestWithContext(ctx, method, c.origin+path, nil)
	if err != nil {
		return 0, 0, err
	}
	if _, err := signer.Sign(req, payload, time.Now()); err != nil {
		return 0, 0, err
	}
	h := fmt.Appendf(c.head[:0], "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, req.URL.Host)
	for name, values := range req.Header {
		h = append(append(append(append(h, name...), ": "...), values[0]...), "\r\n"...)
	}
	if method == http.MethodPut {
		h = append(strconv.AppendInt(append(h, "Content-Length: "...), int64(len(body)), 10), "\r\n"...)
	}
	c.head = append(h, "\r\n"...)
	out := net.Buffers{c.head, body}
	if _, err := out.WriteTo(c.Conn); err != nil {
		return 0, 0, err
	}
	return c.answer(method, buf)
}

var lengthName = []byte("content-length")

func (c *conn) answer(method string, buf []byte) (status int, n int64, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil || len(line) < 12 {
		return 0, 0, fmt.Errorf("the status line is %q: %w", line, err)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, err
	}
	length := int64(-1)
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, 0, err
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			break
		}
		if bytes.EqualFold(name, lengthName) {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, 0, err
			}
		}
	}
	if method == http.MethodHead || status == http.StatusNoContent {
		return status, 0, nil
	}
	if length < 0 {
		return 0, 0, fmt.Errorf("%s: an answer of status %d without a length", method, status)
	}
	for n < length {
		m, err := c.in.Read(buf[:min(int64(len(buf)), length-n)]) // large reads go past the buffer
		if n += int64(m); err != nil && (err != io.EOF || n < length) {
			return 0, n, err
		}
	}
	return status, n, nil
}
