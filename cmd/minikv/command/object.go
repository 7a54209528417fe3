package command

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"minikv/cmd/minikv/client"
)

func newPut(e *env) *cobra.Command {
	var (
		conn                                    connection
		file, contentType, ifMatch, ifNoneMatch string
	)
	c := &cobra.Command{
		Use:     "put KEY",
		Short:   "Store a file, or standard input, under a key",
		Example: "  minikv put notes/today --file today.txt\n  tar c . | minikv put backup.tar",
		Long:    "Store a file, or standard input, under a key. The answer is checked against the bytes that were sent.\n" + exitHelp,
		Args:    oneKey,
	}
	conn.add(c, e)
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "-", "file to store; - is standard input")
	f.StringVar(&contentType, "content-type", "", "content type (default: by the file's name)")
	f.StringVar(&ifMatch, "if-match", "", "store only if the key has this ETag")
	f.StringVar(&ifNoneMatch, "if-none-match", "", "store only if the key does not have this ETag; * is: only if it does not exist")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		in, size, err := openInput(e, file)
		if err != nil {
			return err
		}
		defer in.Close()
		h := conditions(ifMatch, ifNoneMatch)
		if contentType == "" {
			contentType = mime.TypeByExtension(filepath.Ext(file))
		}
		if contentType != "" {
			h.Set("Content-Type", contentType)
		}
		bar := newProgress(e, args[0], size)
		stored, err := cl.Put(cmd.Context(), args[0], bar.reader(in), size, h)
		bar.done()
		if err != nil {
			return err
		}
		if e.json {
			return printJSON(e.out, stored)
		}
		_, err = fmt.Fprintf(e.out, "%s\t%d\t%s\n", printable(stored.Key), stored.Size, stored.ETag)
		return err
	}
	return c
}

func conditions(ifMatch, ifNoneMatch string) http.Header {
	h := http.Header{}
	for name, v := range map[string]string{"If-Match": ifMatch, "If-None-Match": ifNoneMatch} {
		if v != "" && v != "*" {
			v = `"` + strings.Trim(v, `"`) + `"`
		}
		if v != "" {
			h.Set(name, v)
		}
	}
	return h
}

// openInput opens a file, or standard input for "-"; size is -1 when it is not known.
func openInput(e *env, name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(e.in), -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case st.IsDir():
		err = usagef("%s is a folder", name)
	case !st.Mode().IsRegular():
		return f, -1, nil
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func newGet(e *env) *cobra.Command {
	var (
		conn   connection
		output string
		span   string
	)
	c := &cobra.Command{
		Use:     "get KEY",
		Short:   "Fetch a key into a file, or to standard output",
		Example: "  minikv get notes/today --output today.txt\n  minikv get backup.tar | tar x",
		Long:    "Fetch a key. A file appears under its name only when all of its bytes have come and match the ETag.\n" + exitHelp,
		Args:    oneKey,
	}
	conn.add(c, e)
	c.Flags().StringVarP(&output, "output", "o", "-", "file to write; - is standard output")
	c.Flags().StringVar(&span, "bytes", "", "only these bytes: 0-99, 100-, or -50 for the last 50")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if e.json && output == "-" {
			return usagef("--json needs --output: standard output is for the bytes")
		}
		cl, err := conn.open()
		if err != nil {
			return err
		}
		h := http.Header{}
		if span != "" {
			if !isSpan(span) {
				return usagef("--bytes: %q is not allowed; allowed: 0-99, 100-, -50", span)
			}
			h.Set("Range", "bytes="+span)
		}
		obj, err := cl.Get(cmd.Context(), args[0], h)
		if err != nil {
			return err
		}
		defer obj.Body.Close()
		n, err := save(e, args[0], output, obj)
		if err != nil || !e.json {
			return err
		}
		return printJSON(e.out, map[string]any{
			"key": args[0], "size": n, "etag": strings.Trim(obj.Header.Get("ETag"), `"`),
			"content_type": obj.Header.Get("Content-Type"), "modified": modified(obj.Header), "output": output,
		})
	}
	return c
}

// isSpan takes 0-99, 100- and -50. The server gives the whole object for 99-0.
func isSpan(s string) bool {
	first, last, ok := strings.Cut(s, "-")
	if !ok || first == "" && last == "" || strings.Trim(first+last, "0123456789") != "" {
		return false
	}
	from, err := strconv.ParseUint(first, 10, 63)
	to, err2 := strconv.ParseUint(last, 10, 63)
	return err != nil || err2 != nil || from <= to
}

// modified is the time of an object as listings have it.
func modified(h http.Header) string {
	t, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// save writes an object to standard output or, through a temporary file, to a name.
func save(e *env, key, output string, obj *client.Object) (int64, error) {
	bar := newProgress(e, key, obj.Size)
	defer bar.done()
	body := bar.reader(obj.Body)
	if output == "-" {
		return io.Copy(e.out, body)
	}
	if st, err := os.Stat(output); err == nil && !st.Mode().IsRegular() { // /dev/null, a pipe
		f, err := os.OpenFile(output, os.O_WRONLY, 0)
		if err != nil {
			return 0, err
		}
		n, err := io.Copy(f, body)
		return n, errors.Join(err, f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(output), ".minikv-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	n, err := io.Copy(f, body)
	if err == nil && obj.Size >= 0 && n != obj.Size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = f.Chmod(0o666 &^ umask())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return n, fmt.Errorf("%s is left as it was: %w", output, err)
	}
	return n, os.Rename(f.Name(), output)
}

func newDelete(e *env) *cobra.Command {
	var (
		conn    connection
		ifMatch string
	)
	c := &cobra.Command{
		Use:   "delete KEY",
		Short: "Delete a key",
		Long:  "Delete a key. A key that does not exist is no error, unless --if-match is given.\n" + exitHelp,
		Args:  oneKey,
	}
	conn.add(c, e)
	c.Flags().StringVar(&ifMatch, "if-match", "", "delete only if the key has this ETag; * is: only if it exists")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := conn.open()
		if err == nil {
			err = cl.Delete(cmd.Context(), args[0], conditions(ifMatch, ""))
		}
		if err == nil && e.json {
			err = printJSON(e.out, map[string]any{"key": args[0], "deleted": true})
		}
		return err
	}
	return c
}
