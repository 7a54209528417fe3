package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"minikv/cmd/minikv/datadir"
	"minikv/coordinator"
	"minikv/coordinator/backup"
	"minikv/internal/ops"
	"minikv/internal/vfs"
)

func newBackup(e *env) *cobra.Command {
	var conn connection
	c := &cobra.Command{
		Use: "backup FILE", Short: "Back up the metadata of a running store", Args: oneArg("file"),
		Long: "Back up the metadata of a running store: buckets, objects, uploads, layout. Writes go on meanwhile; everything acknowledged before\n" +
			"is in it. The objects' bytes stay on the volumes and are not. The file appears when it is whole and was checked; - is\n" +
			"standard output. It holds names and users' metadata: keep it as safe as the store.\n" + exitHelp,
	}
	conn.add(c, e)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := conn.open()
		if err != nil {
			return err
		}
		fetch := func(w io.Writer) error {
			_, err := cl.Operate(cmd.Context(), ops.Backup.Spec, []byte("{}"), &chunkWriter{w})
			return err
		}
		if args[0] == "-" {
			_, err := checkedBackup(e.out, fetch)
			return err
		}
		h, size, err := backupTo(args[0], fetch)
		if err != nil {
			return err
		}
		if e.json {
			return printJSON(e.out, h)
		}
		_, err = fmt.Fprintf(e.out, "%s: %d objects in %d buckets as of entry %d of cluster %s; %s\n", args[0], h.Objects, h.Buckets, h.Index, h.Cluster, bytesText(size))
		return err
	}
	return c
}

type chunkWriter struct{ w io.Writer }

func (*chunkWriter) Event([]byte) error { return nil }

func (c *chunkWriter) Chunk(b []byte) error {
	_, err := c.w.Write(b)
	return err
}

// checkedBackup passes a backup on while it reads it itself, so that one that was cut short or changed on the way is an error.
func checkedBackup(w io.Writer, fetch func(io.Writer) error) (h backup.Header, err error) {
	r, in := io.Pipe()
	read := make(chan error, 1)
	go func() {
		b, err := backup.NewReader(r)
		if err == nil {
			h = b.Header
			_, err = io.Copy(io.Discard, b)
		}
		r.CloseWithError(err) // who writes hears of it
		read <- err
	}()
	err = fetch(io.MultiWriter(w, in))
	in.CloseWithError(err)
	if rerr := <-read; err == nil {
		err = rerr
	}
	return h, err
}

// backupTo writes a temporary file and gives it its name when it is whole and durable.
func backupTo(name string, fetch func(io.Writer) error) (h backup.Header, size uint64, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil {
		return h, 0, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	h, err = checkedBackup(f, fetch)
	if err == nil {
		err = f.Sync()
	}
	if st, serr := f.Stat(); err == nil && serr == nil {
		size = uint64(st.Size())
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = vfs.SyncDir(vfs.OS(), filepath.Dir(name)) // or a power cut takes the name
	}
	return h, size, err
}

func newRestore(e *env) *cobra.Command {
	var data string
	c := &cobra.Command{
		Use: "restore FILE", Short: "Restore a backup of the metadata into a data directory", Args: oneArg("file"),
		Long: "Restore a backup of the metadata into a data directory that has no coordinator: an empty one, or one in which only volumes are.\n" +
			"Stop every process of the old cluster before. Then start the node: it is the only coordinator, of a cluster with a new id; others join\n" +
			"it with empty coordinator folders, and volumes with the folders they have. Objects whose bytes were deleted after the backup are listed\n" +
			"and cannot be read; objects written after it are gone, and their bytes are collected. - is standard input.\n" + exitHelp,
	}
	c.Flags().StringVar(&data, "data", "", "data directory")
	c.Flags().BoolVar(&e.json, "json", false, "print JSON")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if data == "" {
			return usagef("--data: name the data directory to restore into")
		}
		in := e.in
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		r, err := restoreInto(data, in)
		if err != nil {
			return err
		}
		if e.json {
			return printJSON(e.out, r)
		}
		fmt.Fprintf(e.out, "restored %d objects in %d buckets as of %s into %s, as cluster %s\n", r.Objects, r.Buckets, r.Made.Format("2006-01-02 15:04:05 MST"), data, r.NewCluster)
		for _, v := range r.Volumes {
			fmt.Fprintf(e.out, "their bytes are on volume %d, %s, of node %s\n", v.Number, v.ID, orDash(v.Node))
		}
		return nil
	}
	return c
}

func restoreInto(data string, in io.Reader) (*coordinator.Restored, error) {
	dir, err := datadir.OpenToRestore(vfs.OS(), data)
	if err != nil {
		return nil, err
	}
	r, err := coordinator.Restore(vfs.OS(), dir.Coordinator(), in)
	if rerr := dir.Restored(err); err == nil {
		err = rerr
	} else {
		err = fmt.Errorf("%w (%s is not to be served until a restore succeeds)", err, data)
	}
	return r, errors.Join(err, dir.Close())
}
