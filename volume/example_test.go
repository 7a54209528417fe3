package volume_test

import (
	"context"
	"fmt"

	"minikv/internal/object"
	"minikv/internal/vfs"
	"minikv/volume"
	"minikv/volume/store"
)

// A volume as a library: prepare, commit, read a range, delete.
func Example() {
	ctx := context.Background()
	v, err := volume.Open("/data", volume.Config{Store: store.Options{FS: vfs.NewMem(), Reserve: -1, Ballast: -1}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	id := object.NewRunBase(0, [12]byte{1, 2, 3}).Blob(0)
	durable, err := v.Prepare(ctx, id, object.Epochs{Cluster: 1}, [][]byte{[]byte("hello, "), []byte("volume")})
	fmt.Println(durable, err)
	fmt.Println(v.Commit(ctx, id))

	b := make([]byte, 6)
	n, err := v.ReadAt(ctx, id, b, 7)
	fmt.Println(string(b[:n]), err)

	fmt.Println(v.Delete(ctx, id))
	_, err = v.Stat(id)
	fmt.Println(err)
	// Output:
	// true <nil>
	// <nil>
	// volume <nil>
	// <nil>
	// store.Stat: blob missing: blob 00010203000000000000000000000000 is not on this volume
}
