package repair

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"minikv/coordinator/meta"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// Last are living blobs that some volumes have and no other member of their shards has good, as far as missing rows tell.
type Last struct {
	Count int64
	Some  []object.BlobID // the first, at most lastNamed
}

const lastNamed = 5

func (l *Last) String() string {
	names := make([]string, len(l.Some))
	for i, id := range l.Some {
		names[i] = id.String()
	}
	more := ""
	if l.Count > int64(len(names)) {
		more = ", ..."
	}
	return fmt.Sprintf("%d blobs (%s%s)", l.Count, strings.Join(names, ", "), more)
}

// LastCopies finds the blobs that would have no good replica known without the given volumes. Copies that left or join a shard, and those
// of members that are out, do not count. It reads all missing rows, page by page.
func LastCopies(ctx context.Context, m Metadata, without func(volume uint32) bool) (Last, error) {
	var last Last
	t, err := readTopology(ctx, m)
	if err != nil {
		return last, err
	}
	var suspects []object.BlobID
	var blob []byte // whose rows are being read
	var lacking []uint32
	flush := func(all bool) error {
		if id, err := object.BlobIDFrom(blob); err == nil && t.lastOn(id, lacking, without) {
			suspects = append(suspects, id)
		}
		lacking = lacking[:0]
		if len(suspects) < clearMax && !all {
			return nil
		}
		known, err := lives(ctx, m, suspects)
		for i := range known {
			if known[i].alive {
				if last.Count++; len(last.Some) < lastNamed {
					last.Some = append(last.Some, suspects[i])
				}
			}
		}
		suspects = suspects[:0]
		return err
	}
	q := &metapb.MissingQuery{Limit: pageRows}
	for {
		a, err := m.Read(ctx, &metapb.Query{Q: &metapb.Query_Missing{Missing: q}})
		if err != nil {
			return last, err
		}
		for _, row := range a.GetMissing().GetRows() {
			if string(row.Blob) != string(blob) {
				if err := flush(false); err != nil {
					return last, err
				}
				blob = row.Blob
			}
			lacking = append(lacking, row.Volume)
		}
		if q.After = a.GetMissing().GetNext(); q.After == nil {
			return last, flush(true)
		}
	}
}

// lastOn says that some of the volumes without may have the blob, and no other member that is not out has it.
func (t *topology) lastOn(id object.BlobID, lacking []uint32, without func(uint32) bool) bool {
	row := t.shard(id)
	has := false
	for _, v := range slices.Concat(row.Members, row.Joining, row.Leaving) {
		has = has || without(v) && !slices.Contains(lacking, v)
	}
	return has && !slices.ContainsFunc(row.Members, func(v uint32) bool {
		at := t.volumes[v]
		return !without(v) && at != nil && at.State < meta.VolumeOut && !slices.Contains(lacking, v)
	})
}
