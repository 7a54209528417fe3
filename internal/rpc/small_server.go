package rpc

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"minikv/internal/errs"
	"minikv/proto/volumepb"
)

func (s *volumeServer) prepareSmallStream(ctx context.Context, ss grpc.ServerStream) error {
	const op = "rpc.PrepareSmall"
	v, err := s.meant(ctx)
	if err != nil {
		return err
	}
	var in inFrames
	if err := ss.RecvMsg(&in); err != nil {
		return brokenOff(op, err)
	}
	defer in.free()
	durable, err := s.prepareSmall(ctx, v, in.frames)
	if err != nil {
		return err
	}
	return errs.WrapKind(op, errs.Canceled, ss.SendMsg(&volumepb.PrepareReply{Durable: durable}))
}

// prepareSmall prepares all at once, so that the volume's log takes them together, and gives the first error.
func (s *volumeServer) prepareSmall(ctx context.Context, v *LocalVolume, frames []wholeFrame) (bool, error) {
	const op = "rpc.PrepareSmall"
	if len(frames) == 0 {
		return false, errs.E(op, errs.Invalid, "no blob")
	}
	bytes := int64(0)
	for i := range frames {
		if checksum(frames[i].data) != frames[i].crc {
			return false, errs.E(op, errs.Corrupt, "bytes of blob %s changed on the way", frames[i].id)
		}
		bytes += int64(frames[i].length)
	}
	if err := s.budget.Acquire(ctx, bytes); err != nil {
		return false, errs.WrapKind(op, errs.SlowDown, err)
	}
	defer s.budget.Release(bytes)
	durables, failed := make([]bool, len(frames)), make([]error, len(frames))
	one := func(i int) {
		f := &frames[i]
		durables[i], failed[i] = v.Volume.Prepare(ctx, f.id, f.epochs, [][]byte{f.data})
	}
	var wg sync.WaitGroup
	for i := range frames[1:] {
		wg.Go(func() { one(i + 1) })
	}
	one(0)
	wg.Wait()
	durable := true
	for _, d := range durables {
		durable = durable && d
	}
	return durable, firstOf(failed)
}

func firstOf(all []error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}
