package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/gateway/objects"
)

// Many clients send large documents at once, and stand still before their end: their memory is bounded as that of all bodies, those
// that come then are told to slow down or get in, and all of it comes back.
func TestDocumentsAreHeldWithinTheBudget(t *testing.T) {
	store := newFakeStore()
	objs := objects.New(store, store, objects.Options{BudgetBytes: 32 << 20, BudgetWait: time.Second})
	f := newFront(t, func(c *Config) { c.Objects, c.IdleTimeout = objs, time.Hour })
	t.Cleanup(objs.Close)
	f.store = store
	f.expect(200, "", "PUT", "/bkt", nil)
	var doc strings.Builder
	doc.WriteString("<Delete>")
	for i := range 1000 {
		fmt.Fprintf(&doc, "<Object><Key>%s%d</Key></Object>", strings.Repeat("&#x61;", 900), i)
	}
	doc.WriteString("</Delete>")
	body := []byte(doc.String()) // over 5 MiB
	digest := md5Of(body)
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	sent := make(chan error, 60)
	conns := make([]net.Conn, 60)
	for i := range conns {
		req := sign(t, f.request("POST", "/bkt?delete", body, "content-md5", digest), aliceKey, aliceSecret, body)
		var head bytes.Buffer
		fmt.Fprintf(&head, "POST /bkt?delete HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", req.URL.Host, len(body))
		require.NoError(t, req.Header.Write(&head))
		head.WriteString("\r\n")
		c, err := net.Dial("tcp", f.addr)
		require.NoError(t, err)
		conns[i] = c
		defer c.Close()
		go func() {
			_, err := c.Write(append(head.Bytes(), body[:len(body)-10]...))
			sent <- err
		}()
	}
	for range conns { // those that were refused have a broken pipe
		<-sent
	}
	require.Eventually(t, func() bool { return objs.Memory().Writes > 8<<20 }, time.Minute, 10*time.Millisecond)
	require.LessOrEqual(t, objs.Memory().Writes, int64(34<<20))
	runtime.GC()
	runtime.ReadMemStats(&during)
	require.Less(t, int64(during.HeapAlloc)-int64(before.HeapAlloc), int64(120<<20))
	for _, c := range conns {
		_ = c.Close()
	}
	require.Eventually(t, func() bool { return objs.Memory().Writes == 0 }, time.Minute, 10*time.Millisecond, "it comes back")
	a := f.expect(200, "", "POST", "/bkt?delete", body, "content-md5", digest)
	require.Contains(t, string(a.body), "<Deleted>")
	require.Eventually(t, func() bool { return objs.Memory().Writes == 0 }, time.Minute, 10*time.Millisecond)
	held, err := objs.Hold(context.Background(), "x", nil, 1<<40)
	require.NoError(t, err, "what is asked for is bounded")
	held.Release()
}
