package command

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"minikv/cmd/minikv/client"
)

// item is an object in a range.
type item struct {
	Key         string  `json:"key"`
	Size        int64   `json:"size"`
	ETag        string  `json:"etag"`
	Modified    string  `json:"modified"`
	ContentType string  `json:"content_type,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Omitted     string  `json:"value_omitted,omitempty"`
}

type page struct {
	Items      []item `json:"items"`
	Truncated  bool   `json:"truncated"`
	NextCursor string `json:"next_cursor"`
}

func newRange(e *env) *cobra.Command {
	var (
		conn               connection
		start, end, prefix string
		limit              int
		reverse, values    bool
	)
	c := &cobra.Command{
		Use:     "range",
		Short:   "List keys in order",
		Example: "  minikv range --prefix logs/ --reverse --limit 10\n  minikv range --start a --end b --values --json",
		Long: "List keys in the order of their bytes: key, size, time and ETag, separated by tabs; with --values, key and value.\n" +
			"With --json each line is one object. Keys and values that hold control characters are quoted.\n" + exitHelp,
		Args: noArgs,
	}
	conn.add(c, e)
	f := c.Flags()
	f.StringVar(&start, "start", "", "first key (inclusive)")
	f.StringVar(&end, "end", "", "last key (exclusive)")
	f.StringVar(&prefix, "prefix", "", "only keys that begin with this")
	f.IntVar(&limit, "limit", 0, "at most so many keys; 0 is all")
	f.BoolVar(&reverse, "reverse", false, "from the end downwards")
	f.BoolVar(&values, "values", false, "fetch values too (of at most 1 MiB each)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 0 {
			return usagef("--limit: %d is not allowed; allowed: 0 or more", limit)
		}
		cl, err := conn.open()
		if err != nil {
			return err
		}
		q := url.Values{}
		for name, v := range map[string]string{"start": start, "end": end, "prefix": prefix} {
			if v != "" {
				q.Set(name, v)
			}
		}
		for name, v := range map[string]bool{"reverse": reverse, "include_values": values} {
			if v {
				q.Set(name, "true")
			}
		}
		return pages(cmd.Context(), cl, q, limit, func(it *item) error { return printItem(e, it, values) })
	}
	return c
}

// pages visits the items of all pages, at most limit; 0 is all.
func pages(ctx context.Context, cl *client.Client, q url.Values, limit int, visit func(*item) error) error {
	for seen := 0; ; {
		n := 1000
		if limit > 0 {
			n = min(n, limit-seen)
		}
		q.Set("limit", strconv.Itoa(n))
		var p page
		if err := cl.JSON(ctx, http.MethodGet, "/range", q, nil, 0, &p); err != nil {
			return err
		}
		for i := range p.Items {
			if err := visit(&p.Items[i]); err != nil {
				return err
			}
		}
		seen += len(p.Items)
		if !p.Truncated || limit > 0 && seen >= limit {
			return nil
		}
		if p.NextCursor == "" {
			return fmt.Errorf("the server gave a part of the range and no way to go on")
		}
		q.Set("cursor", p.NextCursor)
	}
}

func printItem(e *env, it *item, values bool) error {
	if e.json {
		return printJSON(e.out, it)
	}
	if !values {
		_, err := fmt.Fprintf(e.out, "%s\t%d\t%s\t%s\n", printable(it.Key), it.Size, it.Modified, it.ETag)
		return err
	}
	value := ""
	switch {
	case it.Omitted != "":
		value = "(" + it.Omitted + ": " + strconv.FormatInt(it.Size, 10) + " bytes)"
	case it.Value != nil:
		value = printable(*it.Value)
	case it.ValueBase64 != nil:
		b, err := base64.StdEncoding.DecodeString(*it.ValueBase64)
		if err != nil {
			return err
		}
		value = strconv.Quote(string(b))
	}
	_, err := fmt.Fprintf(e.out, "%s\t%s\n", printable(it.Key), value)
	return err
}

// batchBytesMax is the server's bound.
const batchBytesMax = 32 << 20

type batchResult struct {
	Op    string `json:"op"`
	Key   string `json:"key"`
	Found *bool  `json:"found,omitempty"`

	// of a put, and of a get that found something
	Size        *int64  `json:"size,omitempty"`
	ETag        string  `json:"etag,omitempty"`
	Modified    string  `json:"modified,omitempty"`
	ContentType string  `json:"content_type,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Omitted     string  `json:"value_omitted,omitempty"`
}

func newBatch(e *env) *cobra.Command {
	var (
		conn connection
		file string
	)
	c := &cobra.Command{
		Use:     "batch",
		Short:   "Do many operations, all or none",
		Example: `  echo '[{"op":"put","key":"a","value":"1"},{"op":"delete","key":"b"}]' | minikv batch`,
		Long: "Do the operations of a JSON file (a list, or an object with ops) at once: all of them or none. Each is\n" +
			`{"op": "put|get|delete", "key", "value" or "value_base64", "if_match", "if_none_match"}.` + "\n" + exitHelp,
		Args: noArgs,
	}
	conn.add(c, e)
	c.Flags().StringVarP(&file, "file", "f", "-", "file with the operations; - is standard input")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		in, size, err := openInput(e, file)
		if err != nil {
			return err
		}
		defer in.Close()
		if size > batchBytesMax {
			return fmt.Errorf("%s has %d bytes; a batch has at most %d", file, size, batchBytesMax)
		}
		var out struct {
			Results []batchResult `json:"results"`
		}
		if err := cl.JSON(cmd.Context(), http.MethodPost, "/batch", nil, io.LimitReader(in, batchBytesMax+1), size, &out); err != nil {
			return err
		}
		for i := range out.Results {
			if err := printResult(e, &out.Results[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

func printResult(e *env, r *batchResult) error {
	if e.json {
		return printJSON(e.out, r)
	}
	state := "done"
	if r.Found != nil && !*r.Found {
		state = "not found"
	}
	if r.Op != "get" || r.Size == nil {
		_, err := fmt.Fprintf(e.out, "%s\t%s\t%s\n", r.Op, printable(r.Key), state)
		return err
	}
	if _, err := fmt.Fprint(e.out, "get\t"); err != nil {
		return err
	}
	return printItem(e, &item{Key: r.Key, Size: *r.Size, Value: r.Value, ValueBase64: r.ValueBase64, Omitted: r.Omitted}, true)
}
