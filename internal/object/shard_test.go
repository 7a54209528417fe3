package object

import (
	"slices"
	"testing"

	"minikv/internal/errs"
)

// TestShardDigest: any order gives the same, any other blob or length another.
func TestShardDigest(t *testing.T) {
	blob := func(n byte) BlobID { return NewRunBase(0, [12]byte{n}).Blob(uint32(n)) }
	digest := func(order ...byte) (d ShardDigest) {
		for _, n := range order {
			d.Add(blob(n), int64(n)*100)
		}
		return d
	}
	d := digest(1, 2, 3)
	if d != digest(3, 1, 2) || d.Blobs != 3 || d.Bytes != 600 {
		t.Fatalf("%+v, %+v", d, digest(3, 1, 2))
	}
	other := digest(1, 2)
	other.Add(blob(3), 301)
	other.Bytes = d.Bytes
	if other == d {
		t.Fatal("another length, the same digest")
	}
	other = digest(1, 2)
	other.Add(blob(4), 300)
	if other == d {
		t.Fatal("another blob, the same digest")
	}
}

// TestShardDigestBytes: the bytes are pinned, since volumes of different versions compare digests.
func TestShardDigestBytes(t *testing.T) {
	d := ShardDigest{Shard: 7}
	d.Add(NewRunBase(1, [12]byte{1, 2, 3}).Blob(4), 5)
	b := d.AppendTo(nil)
	if got := slices.Clone(b[:28]); !slices.Equal(got, []byte{7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0x9e, 0x5c, 0x5f, 0x1f, 0x5c, 0xd7, 0x42, 0xa8}) {
		t.Fatalf("% x", got)
	}
	two, err := ParseShardDigests(d.AppendTo(b))
	if err != nil || len(two) != 2 || two[0] != d || two[1] != d {
		t.Fatal(two, err)
	}
	if _, err := ParseShardDigests(b[1:]); !errs.Is(err, errs.Invalid) {
		t.Fatal(err)
	}
}

// TestRemovedFromADigest is as if never added.
func TestRemovedFromADigest(t *testing.T) {
	var with, without ShardDigest
	for n := range byte(20) {
		id := NewRunBase(0, [12]byte{n}).Blob(uint32(n))
		with.Add(id, int64(n))
		if n%3 > 0 {
			without.Add(id, int64(n))
		}
	}
	for n := byte(0); n < 20; n += 3 {
		with.Remove(NewRunBase(0, [12]byte{n}).Blob(uint32(n)), int64(n))
	}
	if with != without {
		t.Fatalf("%+v, not %+v", with, without)
	}
}
