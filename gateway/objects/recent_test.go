package objects

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/proto/metapb"
)

// lateMeta answers a question about a bucket after a while, with the row as it was when it was asked.
type lateMeta struct {
	Metadata
	row  *metapb.BucketRow
	late time.Duration
}

func (m *lateMeta) Read(context.Context, *metapb.Query) (*metapb.Answer, error) {
	row, late := m.row, m.late
	time.Sleep(late) // of the bubble
	return &metapb.Answer{A: &metapb.Answer_Bucket{Bucket: row}}, nil
}

// TestARecentBucketIsAsOldAsItsQuestion: a late answer is no newer than one to a later question, and not good for another second.
func TestARecentBucketIsAsOldAsItsQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := &metapb.BucketRow{Id: []byte("before")}, &metapb.BucketRow{Id: []byte("after")}
		m := &lateMeta{row: before, late: 900 * time.Millisecond}
		o := &Objects{meta: m}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err := o.Bucket(t.Context(), "b")
			require.NoError(t, err)
		}()
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
		m.row, m.late = after, 0
		_, err := o.Bucket(t.Context(), "b")
		require.NoError(t, err)
		<-done
		require.Same(t, after, o.RecentBucket("b"))
		time.Sleep(300 * time.Millisecond)
		require.Nil(t, o.RecentBucket("b"))

		m.late = recentFor
		_, err = o.Bucket(t.Context(), "b")
		require.NoError(t, err)
		require.Nil(t, o.RecentBucket("b"))
	})
}
