package consensus

import (
	"archive/tar"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"

	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// A store's folder as a tar stream: its files in order, then one named "CRC32C" with 8 hexadecimal digits over the names and
// contents of those before. Pebble's folders are flat. The length follows from the files' sizes alone, since every header is
// one plain USTAR block.
const (
	tarBlock     = 512
	tarSumName   = "CRC32C"
	tarSumLen    = 8
	tarNameMax   = 100
	tarFilesMax  = 1 << 20
	tarFileMax   = 8<<30 - 1 // the largest size in a plain header
	tarCopyBytes = 256 << 10
)

// dirFiles are the names of the files in dir, in order.
func dirFiles(fs vfs.FS, dir string) ([]string, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

func tarSize(fs vfs.FS, dir string) (int64, error) {
	names, err := dirFiles(fs, dir)
	if err != nil {
		return 0, err
	}
	pad := func(n int64) int64 { return tarBlock + (n+tarBlock-1)/tarBlock*tarBlock }
	total := pad(tarSumLen) + 2*tarBlock
	for _, name := range names {
		st, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return 0, err
		}
		if len(name) > tarNameMax || st.Size() > tarFileMax || st.IsDir() {
			return 0, errs.E("consensus.tarSize", errs.LimitExceeded, "%s can't be carried in a snapshot", name)
		}
		total += pad(st.Size())
	}
	return total, nil
}

// tarDir streams dir. Closing the reader ends the goroutine that reads the files.
func tarDir(fs vfs.FS, dir string) (io.ReadCloser, error) {
	names, err := dirFiles(fs, dir)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(writeTar(fs, dir, names, w))
	}()
	return &tarReader{r, done}, nil
}

type tarReader struct {
	*io.PipeReader
	done chan struct{}
}

func (r *tarReader) Close() error {
	err := r.PipeReader.Close()
	<-r.done
	return err
}

func writeTar(fs vfs.FS, dir string, names []string, w io.Writer) error {
	t := tar.NewWriter(w)
	sum := crc32.New(castagnoli)
	buf := make([]byte, tarCopyBytes)
	for _, name := range names {
		if err := tarFile(fs, dir, name, t, sum, buf); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(tarHeader(tarSumName, tarSumLen)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(t, "%08x", sum.Sum32()); err != nil {
		return err
	}
	return t.Close()
}

func tarHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatUSTAR}
}

func tarFile(fs vfs.FS, dir, name string, t *tar.Writer, sum io.Writer, buf []byte) error {
	f, err := fs.Open(fs.PathJoin(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(tarHeader(name, st.Size())); err != nil {
		return err
	}
	io.WriteString(sum, name)
	_, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(t, sum)}, io.NewSectionReader(f, 0, st.Size()), buf)
	return err
}

// untar writes a stream into a new folder, synced when Close returns nil.
type untar struct {
	w    *io.PipeWriter
	done chan struct{}
	err  error // once done
}

func newUntar(fs vfs.FS, dir string) *untar {
	r, w := io.Pipe()
	u := &untar{w: w, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		u.err = readTar(fs, dir, r)
		r.CloseWithError(u.err) // a writer sees why
	}()
	return u
}

func (u *untar) Write(p []byte) (int, error) { return u.w.Write(p) }

// Close ends the stream and says whether it was whole.
func (u *untar) Close() error {
	u.w.Close()
	<-u.done
	return u.err
}

// Abort ends it whatever is missing.
func (u *untar) Abort() {
	u.w.CloseWithError(errs.E("consensus.untar", errs.Canceled, "the snapshot was given up"))
	<-u.done
}

// readTar fills dir, which must not exist, from a stream and reads the stream to its end. The folder and its files are synced;
// the folder's own name is left to the caller.
func readTar(fs vfs.FS, dir string, r io.Reader) error {
	const op = "consensus.readTar"
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	sum := crc32.New(castagnoli)
	t := tar.NewReader(r)
	buf := make([]byte, tarCopyBytes)
	for range tarFilesMax {
		h, err := t.Next()
		if err != nil {
			return errs.WrapKind(op, errs.Corrupt, notEOF(err))
		}
		if h.Name == tarSumName {
			if err := checkTarSum(t, sum.Sum32()); err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			return vfs.SyncDir(fs, dir)
		}
		if h.Typeflag != tar.TypeReg || h.Name == "" || strings.ContainsAny(h.Name, `/\`) || h.Name[0] == '.' {
			return errs.E(op, errs.Corrupt, "a snapshot holds %q", h.Name)
		}
		io.WriteString(sum, h.Name)
		if err := untarFile(fs, fs.PathJoin(dir, h.Name), io.TeeReader(t, sum), buf); err != nil {
			return err
		}
	}
	return errs.E(op, errs.Corrupt, "a snapshot holds more than %d files", tarFilesMax)
}

func notEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func checkTarSum(t io.Reader, sum uint32) error {
	b, err := io.ReadAll(io.LimitReader(t, tarSumLen+1))
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%08x", sum); string(b) != want {
		return errs.E("consensus.readTar", errs.Corrupt, "a snapshot has CRC32C %s, not %q", want, b)
	}
	return nil
}

func untarFile(fs vfs.FS, name string, r io.Reader, buf []byte) error {
	f, err := vfs.OpenFile(fs, name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.NewOffsetWriter(f, 0)}, struct{ io.Reader }{r}, buf)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
