package rpc

import (
	"context"
	"encoding/binary"
	"strconv"

	"google.golang.org/grpc/metadata"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/volumepb"
)

// Volume stores blobs; volume.Server does.
type Volume interface {
	// Prepare stores a blob. data is not kept after it returns.
	Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (durable bool, err error)
	// ReadAt fills dst from the blob, verified; less than all of dst only at the blob's end.
	ReadAt(ctx context.Context, id object.BlobID, dst []byte, off int64) (int, error)
	Commit(ctx context.Context, ids ...object.BlobID) error
	Abort(ctx context.Context, ids ...object.BlobID) error
	Delete(ctx context.Context, ids ...object.BlobID) error
	Stat(id object.BlobID) (object.BlobInfo, error)
	// List gives up to limit living blobs after the given one; fewer mean the end. What cannot be read is an error.
	List(after object.BlobID, limit int) ([]object.BlobInfo, error)
	// ListPrepared is List of blobs that are not committed and whose epoch is below the given one.
	ListPrepared(after object.BlobID, limit int, below uint64) ([]object.BlobInfo, error)
	// ListShard is List of the blobs of one of so many shards.
	ListShard(shard, shards int, after object.BlobID, limit int) ([]object.BlobInfo, error)
	// Fence refuses prepares of the shard by older epochs from now on, and waits for those that run.
	Fence(ctx context.Context, shard, shards uint32, epoch uint64) error
}

// Bounds of requests about many blobs.
const (
	idsMax  = 16384 // in one message of ids: 256 KiB
	listMax = 16384 // in one page: 640 KiB
)

// Metadata that names the volume a call is meant for. A volume that is not there any more must never answer "no such blob".
const (
	headerVolume      = "mkv-volume"
	headerIncarnation = "mkv-incarnation"
)

// VolumeRef names a volume: its number in the layout and its incarnation, 32 hexadecimal digits. Zero values are not checked.
type VolumeRef struct {
	Number      uint32
	Incarnation string
}

func (r VolumeRef) outgoing(ctx context.Context) context.Context {
	if r == (VolumeRef{}) {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, headerVolume, strconv.FormatUint(uint64(r.Number), 10), headerIncarnation, r.Incarnation)
}

func incomingRef(ctx context.Context) (VolumeRef, error) {
	var r VolumeRef
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md[headerVolume]; len(v) > 0 {
		n, err := strconv.ParseUint(v[0], 10, 32)
		if err != nil {
			return r, errs.E("rpc.Volume", errs.Invalid, "the volume number %q", v[0])
		}
		r.Number = uint32(n)
	}
	if v := md[headerIncarnation]; len(v) > 0 {
		r.Incarnation = v[0]
	}
	return r, nil
}

func packIDs(ids []object.BlobID) []byte {
	b := make([]byte, 0, len(ids)*object.BlobIDLen)
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}

func unpackIDs(b []byte) ([]object.BlobID, error) {
	if len(b)%object.BlobIDLen != 0 || len(b) > idsMax*object.BlobIDLen {
		return nil, errs.E("rpc.Volume", errs.Invalid, "%d bytes of blob ids", len(b))
	}
	ids := make([]object.BlobID, len(b)/object.BlobIDLen)
	for i := range ids {
		copy(ids[i][:], b[i*object.BlobIDLen:])
	}
	return ids, nil
}

// infoLen is the length of a record of a ListPage, which proto/volume.proto draws.
const infoLen = 40

func packInfos(infos []object.BlobInfo) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, len(infos)*infoLen)
	for i := range infos {
		in := &infos[i]
		b = append(b, in.ID[:]...)
		b = le.AppendUint32(b, uint32(in.Length))
		b = append(b, byte(in.State), 0, 0, 0)
		b = le.AppendUint64(b, in.Epochs.Cluster)
		b = le.AppendUint64(b, in.Epochs.Shard)
	}
	return b
}

func unpackInfos(b []byte) ([]object.BlobInfo, error) {
	le := binary.LittleEndian
	if len(b)%infoLen != 0 || len(b) > listMax*infoLen {
		return nil, errs.E("rpc.Volume", errs.Invalid, "%d bytes of blob infos", len(b))
	}
	infos := make([]object.BlobInfo, len(b)/infoLen)
	for i := range infos {
		r := b[i*infoLen : (i+1)*infoLen]
		if r[21]|r[22]|r[23] != 0 {
			return nil, errs.E("rpc.Volume", errs.Unsupported, "a newer form of blob infos")
		}
		infos[i] = object.BlobInfo{
			ID: object.BlobID(r[:16]), Length: int64(le.Uint32(r[16:])), State: object.BlobState(r[20]),
			Epochs: object.Epochs{Cluster: le.Uint64(r[24:]), Shard: le.Uint64(r[32:])},
		}
	}
	return infos, nil
}

func statReply(in object.BlobInfo) *volumepb.StatReply {
	return &volumepb.StatReply{
		Id: in.ID[:], Length: uint64(in.Length), State: uint32(in.State), ClusterEpoch: in.Epochs.Cluster, ShardEpoch: in.Epochs.Shard,
	}
}

func infoOf(r *volumepb.StatReply) (object.BlobInfo, error) {
	id, err := object.BlobIDFrom(r.Id)
	return object.BlobInfo{
		ID: id, Length: int64(r.Length), State: object.BlobState(r.State),
		Epochs: object.Epochs{Cluster: r.ClusterEpoch, Shard: r.ShardEpoch},
	}, err
}
