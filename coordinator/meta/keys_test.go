package meta

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The layout of keys is part of the on-disk format.
func TestKeysGolden(t *testing.T) {
	bucket := bucketID(0x010203, 0x0A0B)
	id := []byte("0123456789abcdef")
	version := stamp(0x1122334455667788, 0x99AA, 0xBBCC)
	const idHex, bucketHex = "30313233343536373839616263646566", "0000000102030a0b"
	for _, c := range []struct {
		name, want string
		key        []byte
	}{
		{"bucket", "62 6e616d65", bucketKey("name")},
		{"object", "6f" + bucketHex + "6100ff", objectKey(bucket, "a\x00\xff")},
		{"version", "76" + bucketHex + "6100fffe0001 eeddccbbaa998877 6655 4433", versionKey(bucket, "a\x00\xfe", version)},
		{"upload", "75" + bucketHex + "61 0001" + idHex, uploadKey(bucket, "a", id)},
		{"body", "79" + idHex, bodyKey(id)},
		{"part", "70" + idHex + "00002710", partKey(id, 10000)},
		{"run", "72" + idHex, runKey(id)},
		{"queue", "71 0000000000000007 00000002", queueKey(queuePosition(7, 2))},
		{"missing", "6d" + idHex + "00000003", missingKey(id, 3)},
		{"completed", "64" + idHex, completedKey(id)},
		{"expiry", "65 0000018bcfe56800" + idHex, expiryKey(1_700_000_000_000, id)},
		{"cluster", "43", clusterKey},
		{"pool", "50 00000001", poolKey(1)},
		{"volume", "56 00000002", volumeKey(2)},
		{"shard", "53 00000001 000000ff", shardKey(1, 255)},
		{"session", "73" + idHex, sessionKey(id)},
		{"result", "52" + idHex + "0000000000000009", resultKey(id, 9)},
		{"stats", "74", statsKey},
	} {
		require.Equal(t, strings.ReplaceAll(c.want, " ", ""), hex.EncodeToString(c.key), c.name)
	}
}

func keyGen() *rapid.Generator[string] {
	return rapid.StringOfN(rapid.SampledFrom([]rune("\x00\x01/ab\u00ff\U0010FFFF")), 1, 6, -1)
}

func TestEscapedKeysKeepOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := keyGen().Draw(t, "a"), keyGen().Draw(t, "b")
		rest := rapid.SliceOfN(rapid.Byte(), 0, 4)
		ra, rb := rest.Draw(t, "rest of a"), rest.Draw(t, "rest of b")
		ea, eb := append(appendEscaped(nil, a), ra...), append(appendEscaped(nil, b), rb...)
		if want := cmp.Or(cmp.Compare(a, b), bytes.Compare(ra, rb)); want != bytes.Compare(ea, eb) {
			t.Fatalf("%q and %q: %d became %d", a, b, want, bytes.Compare(ea, eb))
		}
		key, left, err := cutEscaped(ea)
		if err != nil || key != a || !bytes.Equal(left, ra) {
			t.Fatalf("%q came back as %q, %x, %v", a, key, left, err)
		}
		p := appendEscapedOpen(nil, a)
		if bytes.HasPrefix(eb, p) != strings.HasPrefix(b, a) {
			t.Fatalf("prefix %q of %q", a, b)
		}
	})
}

func TestCutEscapedRefusesDamage(t *testing.T) {
	for _, s := range []string{"", "a", "a\x00", "a\x00\x02rest"} {
		_, _, err := cutEscaped([]byte(s))
		require.Error(t, err, "%q", s)
	}
}

func TestPrefixEnd(t *testing.T) {
	require.Equal(t, []byte("b"), prefixEnd([]byte("a")))
	require.Equal(t, []byte("b"), prefixEnd([]byte("a\xff\xff")))
	require.Nil(t, prefixEnd([]byte("\xff")))
}

func TestVersionsSortNewestFirst(t *testing.T) {
	b := bucketID(1, 0)
	old, newer := versionKey(b, "k", stamp(5, 9, 9)), versionKey(b, "k", stamp(6, 0, 0))
	require.Negative(t, bytes.Compare(newer, old))
}
