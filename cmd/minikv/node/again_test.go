package node

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
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

// A coordinator that is gone is not replaced by an empty one beside a volume with blobs: they would be nobody's, and be collected.
func TestBlobsWithoutMetadataAreRefused(t *testing.T) {
	cfg := testConfig(t)
	r := start(t, cfg)
	status, text := r.do("PUT", "/k", "value")
	require.Equal(t, 200, status, text)
	require.NoError(t, r.end())
	coordinator := filepath.Join(cfg.Data, "coordinator")
	require.NoError(t, os.Rename(coordinator, coordinator+".away"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // of one that serves
	defer cancel()
	for range 2 {
		err := Run(ctx, cfg, Options{Out: &lockedBuffer{}, Log: &lockedBuffer{}})
		require.True(t, errs.Is(err, errs.Conflict), "%v", err)
		require.ErrorContains(t, err, "volume-1 holds 1 blobs")
		require.ErrorContains(t, err, "minikv restore")
		require.NoDirExists(t, coordinator)
	}
	require.NoError(t, os.Rename(filepath.Join(cfg.Data, "volume-1"), filepath.Join(cfg.Data, "volume-1.away")))
	require.NoError(t, start(t, cfg).end(), "an empty store")
}
