package metaclient

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/coordpb"
)

type reportFunc func(r *coordpb.ReportRequest) error

func (f reportFunc) Report(_ context.Context, r *coordpb.ReportRequest) (*coordpb.ReportReply, error) {
	return &coordpb.ReportReply{}, f(r)
}

// TestReports: only the replica's own faults, once a minute, together, tried again while there is no leader, and never more than fit.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, got, damaged, fail int
		r := NewReports(reportFunc(func(q *coordpb.ReportRequest) error {
			calls++
			if fail > 0 {
				fail--
				return errs.E("test", errs.NotLeader, "no leader")
			}
			got += len(q.Suspects)
			for _, s := range q.Suspects {
				if s.Damaged {
					damaged++
				}
			}
			return nil
		}), zap.NewNop())
		defer r.Close()
		id := func(n int) object.BlobID { return object.NewRunBase(0, [12]byte{byte(n >> 8), byte(n)}).Blob(0) }
		rot, gone := errs.E("x", errs.Corrupt, "rot"), errs.E("x", errs.BlobMissing, "gone")
		expect := func(wantCalls, want, wantDamaged int) {
			t.Helper()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			require.Equal(t, []int{wantCalls, want, wantDamaged}, []int{calls, got, damaged})
			calls, got, damaged = 0, 0, 0
		}
		r.Bad(1, id(1), errors.New("slow"))
		r.Bad(1, id(1), errs.E("x", errs.Unavailable, "away"))
		expect(0, 0, 0)
		r.Bad(1, id(1), rot)
		r.Bad(1, id(1), rot)
		r.Bad(2, id(1), gone)
		expect(1, 2, 1)
		r.Bad(1, id(1), rot)
		expect(0, 0, 0)
		time.Sleep(reportAgain)
		fail = 2
		r.Bad(1, id(1), rot)
		expect(3, 1, 1)
		time.Sleep(reportAgain)
		fail = reportRetryMax
		r.Bad(1, id(1), rot)
		expect(reportRetryMax, 0, 0)
		for n := range 3 * reportsMax {
			r.Bad(1, id(n), gone)
		}
		expect(1, reportsMax, 0)
		for n := range 2 * reportedMax {
			r.Bad(3, id(n), gone)
			if n%reportsMax == 0 {
				time.Sleep(time.Second)
			}
		}
		require.LessOrEqual(t, len(r.told), reportedMax)
	})
}
