package rpc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCircuit(t *testing.T) {
	now := time.Unix(0, 0)
	c := circuit{now: func() time.Time { return now }}
	fail := func() { require.True(t, c.allow()); c.done(unanswered) }
	fail()
	fail()
	require.False(t, c.open())
	require.True(t, c.allow())
	c.done(answered) // in between: counting begins anew
	fail()
	fail()
	fail()
	require.True(t, c.open())
	require.False(t, c.allow())

	now = now.Add(circuitMin)
	require.True(t, c.allow(), "one probe")
	require.False(t, c.allow(), "only one")
	c.done(unknown)
	require.True(t, c.allow(), "a probe that was given up says nothing")
	c.done(unanswered)
	now = now.Add(circuitMin)
	require.False(t, c.allow(), "longer after each failure")
	now = now.Add(circuitMin)
	for range 20 {
		require.True(t, c.allow())
		c.done(unanswered)
		now = now.Add(circuitMax)
	}
	require.True(t, c.allow(), "never longer than circuitMax")
	c.done(answered)
	require.False(t, c.open())
	require.True(t, c.allow())
	require.True(t, c.allow())
}
