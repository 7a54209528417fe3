package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What was fixed when the data directory was made is told when a start asks for something else; a default asks for nothing.
func TestFixedSettingsAreTold(t *testing.T) {
	cfg := testConfig(t)
	cfg.Shards, cfg.BlobSize = 16, 1<<20
	require.NoError(t, start(t, cfg).end())
	for _, c := range []struct {
		shards, blob int64
		told         string
	}{{16, 1 << 20, ""}, {256, 4 << 20, ""}, {32, 1 << 20, `{"setting": "shards", "asked": 32, "used": 16}`}, {256, 2 << 20, `{"setting": "blob.size", "asked": 2097152, "used": 1048576}`}} {
		cfg.Shards, cfg.BlobSize = int(c.shards), c.blob
		r := start(t, cfg)
		require.NoError(t, r.end())
		if c.told == "" {
			require.NotContains(t, r.log.String(), "was fixed when")
		} else {
			require.Contains(t, r.log.String(), c.told)
		}
	}
}

// On a full disk a start says that it cannot make a bucket only of one that is not there.
func TestFullStartNamesTheBucketThatLacks(t *testing.T) {
	cfg := testConfig(t)
	require.NoError(t, start(t, cfg).end())
	cfg.VolumeReserve, cfg.DefaultBuckets = 1<<60, []string{"later"}
	r := start(t, cfg)
	require.NoError(t, r.end())
	require.Contains(t, r.log.String(), `no room to make a bucket	{"bucket": "later"}`)
	require.NotContains(t, r.log.String(), `no room to make a bucket	{"bucket": "minikv"}`)
}
