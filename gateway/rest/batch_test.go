package rest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func results(t *testing.T, a answer) []map[string]any {
	t.Helper()
	require.Equal(t, 200, a.StatusCode, a.text)
	var out struct{ Results []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(a.text), &out))
	return out.Results
}

func TestBatch(t *testing.T) {
	f := newFixture(t)
	r := results(t, f.do("POST", "/batch", `{"ops":[
		{"op":"put","key":"a","value":"ä"},
		{"op":"put","key":"b","value_base64":"/wA=","content_type":"x/y","if_none_match":"*"},
		{"op":"put","key":"empty","value":""}]}`))
	require.Len(t, r, 3)
	require.Equal(t, strings.Trim(tag("ä"), `"`), r[0]["etag"])
	require.EqualValues(t, 2, r[1]["size"])

	r = results(t, f.do("POST", "/batch", `[{"op":"get","key":"a"},{"op":"get","key":"b"},{"op":"get","key":"none"},{"op":"delete","key":"a"},{"op":"get","key":"empty"}]`))
	require.Equal(t, "ä", r[0]["value"])
	require.Equal(t, "/wA=", r[1]["value_base64"])
	require.Equal(t, "x/y", r[1]["content_type"])
	require.Equal(t, map[string]any{"op": "get", "key": "none", "found": false}, r[2])
	require.Equal(t, map[string]any{"op": "delete", "key": "a", "found": true}, r[3])
	require.Equal(t, "", r[4]["value"])
	require.NotContains(t, f.store.rows, "a")

	a := f.do("POST", "/batch", `[{"op":"put","key":"c","value":"1"},{"op":"put","key":"b","value":"2","if_none_match":"*"}]`)
	require.Equal(t, 412, a.StatusCode)
	require.Contains(t, a.text, `"op":1`)
	require.NotContains(t, f.store.rows, "c")
	a = f.do("POST", "/batch", `[{"op":"delete","key":"zz","if_match":"*"}]`)
	require.Equal(t, 404, a.StatusCode)
	require.Contains(t, a.text, `"op":0`)
}

// The message names the field, what it takes and what it got, not what the program calls them.
func TestBatchRefusalsSayWhat(t *testing.T) {
	f := newFixture(t)
	for body, want := range map[string]string{
		`[{"op":"PUT","key":"k","value":"x"}]`:          `op: \"PUT\" is not allowed; allowed: put, get, delete.`,
		`[{"op":"put","key":"k","value":5}]`:            `The body is not a batch: value is a string, not number.`,
		`[{"op":"put","key":["k"]}]`:                    `The body is not a batch: key is a string, not array.`,
		`[5]`:                                           `The body is not a batch: an operation is an object, not number.`,
		`[{"op":"get","key":"k","content_type":"a/b"}]`: `Only a put has a value or a content_type.`,
	} {
		require.Contains(t, f.do("POST", "/batch", body).text, `"`+want, body)
	}
}

func TestBatchRefusals(t *testing.T) {
	f := newFixture(t)
	for body, code := range map[string]string{
		``: "MalformedJSON", `[]`: "MalformedJSON", `{}`: "MalformedJSON", `{"ops":[]}`: "MalformedJSON", `null`: "MalformedJSON", `"x"`: "MalformedJSON",
		`[{"op":"put","key":"k","value":"x"}] x`:                     "MalformedJSON",
		`[{"op":"put","key":"k","value":"x","colour":"red"}]`:        "MalformedJSON",
		`{"ops":[{"op":"get","key":"k"}],"atomic":false}`:            "MalformedJSON",
		`[{"op":"put","key":"k` + "\xff" + `","value":"x"}]`:         "MalformedJSON",
		`[{"op":"put","key":"k\ud800","value":"x"}]`:                 "MalformedJSON",
		`[{"op":"put","key":"k\udc00\ud800","value":"x"}]`:           "MalformedJSON",
		`[{"op":"merge","key":"k"}]`:                                 "InvalidArgument",
		`[{"op":"put","key":"k"}]`:                                   "InvalidArgument",
		`[{"op":"put","key":"k","value":"x","value_base64":"eA=="}]`: "InvalidArgument",
		`[{"op":"put","key":"k","value_base64":"?"}]`:                "InvalidArgument",
		`[{"op":"get","key":"k","value":"x"}]`:                       "InvalidArgument",
		`[{"op":"put","key":"","value":"x"}]`:                        "InvalidArgument",
		`[{"op":"put","key":"k","value":"x","if_match":"abc"}]`:      "InvalidArgument",
		`[{"op":"put","key":"k","value":"x","content_type":"a\nb"}]`: "InvalidArgument",
		`[{"op":"get","key":"` + strings.Repeat("k", 1025) + `"}]`:   "KeyTooLongError",
	} {
		a := f.do("POST", "/batch", body)
		require.Equal(t, code, errorCode(t, a), "%.80q: %s", body, a.text)
		require.Equal(t, 400, a.StatusCode)
	}
	ops := strings.Repeat(`{"op":"get","key":"k"},`, batchOpsMax) + `{"op":"get","key":"k"}`
	require.Equal(t, 413, f.do("POST", "/batch", "["+ops+"]").StatusCode)
	require.Equal(t, 415, f.do("POST", "/batch", "[]", "Content-Type", "image/png").StatusCode)
	require.Zero(t, f.store.puts)
}

// R5
func TestBatchBodyIsBounded(t *testing.T) {
	f := newFixture(t)
	big := `[{"op":"put","key":"k","value":"` + strings.Repeat("x", batchBodyMax) + `"}]`
	a := f.do("POST", "/batch", big)
	require.Equal(t, 413, a.StatusCode, a.text)
	require.Zero(t, f.store.puts)
}

// R5: operations take more memory than their text, so that they are bounded by number while they are read.
func TestBatchBombTakesLittleMemory(t *testing.T) {
	for name, text := range map[string]string{
		"empty operations": "[" + strings.Repeat("{},", 1<<20) + "{}]",
		"in an object":     `{"ops":[` + strings.Repeat("{},", 1<<20) + "{}]}",
		"numbers":          "[" + strings.Repeat("0,", 1<<20) + "0]",
		"nested":           strings.Repeat("[", 1<<20),
		"repeated fields":  "{" + strings.Repeat(`"ops":[{"op":"get","key":"k"}],`, 1<<16) + `"ops":[]}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parseBatch([]byte(text))
		runtime.ReadMemStats(&after)
		require.Error(t, err, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(len(text)+8<<20), name)
	}
}

// R5: what many small requests are answered together is bounded: an answer waits until its values' memory is free.
func TestAnswersWaitForMemory(t *testing.T) {
	f := newFixture(t)
	f.store.set("k", []byte("value"), nil, "root-id")
	require.NoError(t, f.server.answers.Acquire(t.Context(), answerMemoryMax))
	for _, try := range []func() answer{
		func() answer { return f.do("POST", "/batch", `[{"op":"get","key":"k"}]`) },
		func() answer { return f.do("GET", "/range?include_values=true", "") },
	} {
		done := make(chan answer, 1)
		go func() { done <- try() }()
		select {
		case a := <-done:
			t.Fatalf("answered without memory: %d %s", a.StatusCode, a.text)
		case <-time.After(50 * time.Millisecond):
		}
		f.server.answers.Release(answerMemoryMax)
		a := <-done
		require.Equal(t, 200, a.StatusCode, a.text)
		require.Contains(t, a.text, "value")
		require.NoError(t, f.server.answers.Acquire(t.Context(), answerMemoryMax), "given back")
	}
}

// R5: the text of a large batch takes memory that all bodies share; a small one needs none, and clients that stand still in the middle
// of large ones keep nobody waiting.
func TestStalledBatchesKeepNobodyWaiting(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.IdleTimeout = time.Hour })
	auth := base64.StdEncoding.EncodeToString([]byte(rootKey + ":" + rootSecret))
	const stalled = 20
	for range stalled {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "POST /batch HTTP/1.1\r\nHost: x\r\nAuthorization: Basic "+auth+fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n[", batchBodyMax)+strings.Repeat(" ", 100<<10))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return f.store.held.Load() == stalled*batchBodyMax }, time.Minute, 10*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", f.url+"/batch", strings.NewReader(`[{"op":"get","key":"k"}]`))
	require.NoError(t, err)
	req.SetBasicAuth(rootKey, rootSecret)
	require.Equal(t, 200, f.send(req).StatusCode)
	require.EqualValues(t, stalled, f.store.holds.Load(), "a small one takes none")
	f.store.noMemory = true
	a := f.do("POST", "/batch", `[{"op":"put","key":"k","value":"`+strings.Repeat("x", 100<<10)+`"}]`)
	require.Equal(t, 503, a.StatusCode)
	require.Equal(t, "SlowDown", errorCode(t, a))
	f.store.noMemory = false
	require.Equal(t, 200, f.do("POST", "/batch", `[{"op":"put","key":"k","value":"`+strings.Repeat("x", 100<<10)+`"}]`).StatusCode)
	require.Eventually(t, func() bool { return f.store.held.Load() == stalled*batchBodyMax }, time.Minute, 10*time.Millisecond, "given back")
}

func TestBatchOfAThousandKeysOfFullLength(t *testing.T) {
	f := newFixture(t)
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `,{"op":"put","key":"%s%04d","value":"v"}`, strings.Repeat("k", 1020), i)
	}
	require.Len(t, results(t, f.do("POST", "/batch", "["+b.String()[1:]+"]")), 1000)
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte(`[{"op":"put","key":"k","value":"x","if_match":"*"}]`))
	f.Add([]byte(`{"ops":[{"op":"get","key":"\ud83d\ude00"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		ops, err := parseBatch(text)
		if err != nil {
			return
		}
		if len(ops) == 0 || len(ops) > batchOpsMax {
			t.Fatalf("%d operations", len(ops))
		}
		for _, op := range ops { // no key was mended into another
			if strings.ContainsRune(op.Key, '\uFFFD') && !strings.Contains(string(text), "\uFFFD") && !strings.Contains(strings.ToLower(string(text)), `\ufffd`) {
				t.Fatalf("%q became %q", text, op.Key)
			}
		}
	})
}

func rangePage(t require.TestingT, f *fixture, params url.Values) page {
	a := f.do("GET", "/range?"+params.Encode(), "")
	require.Equal(t, 200, a.StatusCode, a.text)
	var p page
	require.NoError(t, json.Unmarshal([]byte(a.text), &p))
	require.Equal(t, len(p.Items), p.Count)
	return p
}

func TestRange(t *testing.T) {
	f := newFixture(t)
	for _, k := range []string{"a", "b/1", "b/2", "b/3", "c", "ü"} {
		f.do("PUT", "/kv/"+url.PathEscape(k), "value of "+k)
	}
	p := rangePage(t, f, url.Values{"prefix": {"b/"}, "limit": {"2"}, "include_values": {"true"}})
	require.True(t, p.Truncated)
	require.Equal(t, "b/1", p.Items[0].Key)
	require.Equal(t, "value of b/1", *p.Items[0].Value)
	p = rangePage(t, f, url.Values{"prefix": {"b/"}, "limit": {"2"}, "cursor": {p.NextCursor}})
	require.False(t, p.Truncated)
	require.Empty(t, p.NextCursor)
	require.Len(t, p.Items, 1)
	require.Nil(t, p.Items[0].Value)
	require.Equal(t, "b/3", p.Items[0].Key)
	require.Empty(t, rangePage(t, f, url.Values{"start": {"x"}, "end": {"x"}}).Items)

	for query, part := range map[string]string{
		"limit=0": "1 to 1000", "limit=x": "1 to 1000", "reverse=maybe": "true or false", "colour=red": "colour", "prefix=a&prefix=b": "twice",
		"cursor=%3F": "cursor", "prefix=%FF": "URI", "start=" + strings.Repeat("k", 1025): "1024",
	} {
		a := f.do("GET", "/range?"+query, "")
		require.Equal(t, 400, a.StatusCode, query)
		require.Contains(t, a.text, part, query)
	}
	forward := rangePage(t, f, url.Values{"limit": {"1"}}).NextCursor
	require.Equal(t, 400, f.do("GET", "/range?reverse=true&cursor="+forward, "").StatusCode, "a cursor keeps its direction")
	require.Equal(t, 200, f.do("GET", "/range?limit=1000000", "").StatusCode, "clamped")
}

// R5
func TestRangeValuesAreBounded(t *testing.T) {
	f := newFixture(t)
	for i := range 12 {
		f.do("PUT", "/v"+strconv.Itoa(10+i), strings.Repeat("x", 1<<20))
	}
	f.do("PUT", "/a-large", strings.Repeat("x", 1<<20+1))
	var keys []string
	params := url.Values{"include_values": {"true"}}
	for pages := 1; ; pages++ {
		p := rangePage(t, f, params)
		total := 0
		for _, it := range p.Items {
			keys = append(keys, it.Key)
			if it.Value != nil {
				total += len(*it.Value)
			} else {
				require.Equal(t, "too large", it.Omitted)
			}
		}
		require.LessOrEqual(t, total, rangeBytesMax)
		require.NotEmpty(t, p.Items)
		if !p.Truncated {
			require.Equal(t, 2, pages)
			break
		}
		params.Set("cursor", p.NextCursor)
	}
	require.Len(t, keys, 13)
	require.True(t, slices.IsSorted(keys))
}

// Pages of any size, in both directions, visit exactly the keys of the range, once, in order.
func TestRangePagesVisitEachKeyOnce(t *testing.T) {
	f := newFixture(t)
	rapid.Check(t, func(rt *rapid.T) {
		f.store.mu.Lock()
		clear(f.store.rows)
		for _, k := range rapid.SliceOfN(rapid.StringMatching(`[ab/ü]{1,4}`), 0, 12).Draw(rt, "keys") {
			f.store.set(k, nil, nil, "root-id")
		}
		f.store.mu.Unlock()
		bound := rapid.StringMatching(`[ab/]{0,2}`)
		params := url.Values{"limit": {strconv.Itoa(rapid.IntRange(1, 4).Draw(rt, "limit"))}}
		prefix, start, end := bound.Draw(rt, "prefix"), bound.Draw(rt, "start"), bound.Draw(rt, "end")
		for name, v := range map[string]string{"prefix": prefix, "start": start, "end": end} {
			if v != "" {
				params.Set(name, v)
			}
		}
		reverse := rapid.Bool().Draw(rt, "reverse")
		if reverse {
			params.Set("reverse", "true")
		}
		want := []string{}
		for k := range f.store.rows {
			if strings.HasPrefix(k, prefix) && k >= start && (end == "" || k < end) {
				want = append(want, k)
			}
		}
		slices.Sort(want)
		if reverse {
			slices.Reverse(want)
		}
		got := []string{}
		for {
			p := rangePage(rt, f, params)
			for _, it := range p.Items {
				got = append(got, it.Key)
			}
			if !p.Truncated {
				break
			}
			params.Set("cursor", p.NextCursor)
		}
		require.Equal(rt, want, got)
	})
}
