package backup

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

func made(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{Cluster: "c", Index: 7, Volumes: []Volume{{1, "v", "n1"}}})
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func read(b []byte) (Header, []byte, error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return Header{}, nil, err
	}
	data, err := io.ReadAll(r)
	return r.Header, data, err
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, n := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 3*pieceSize + 17} {
		data := bytes.Repeat([]byte("metadata"), n/8+1)[:n]
		h, got, err := read(made(t, data))
		require.NoError(t, err, n)
		require.True(t, bytes.Equal(data, got), n)
		require.EqualValues(t, 7, h.Index)
		require.Equal(t, "n1", h.Volumes[0].Node)
	}
}

// B1
func TestDamageIsRefused(t *testing.T) {
	whole := made(t, bytes.Repeat([]byte("x"), 1000))
	for n := range whole {
		_, _, err := read(whole[:n])
		require.Equal(t, errs.Corrupt, errs.KindOf(err), "cut after %d: %v", n, err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 4
		_, _, err := read(b)
		require.Error(t, err, "byte %d", i)
	}
	_, _, err := read(append(bytes.Clone(whole), 0))
	require.Equal(t, errs.Corrupt, errs.KindOf(err))
	newer := bytes.Clone(whole)
	newer[7]++
	_, _, err = read(newer)
	require.Equal(t, errs.Unsupported, errs.KindOf(err))
}

func FuzzReader(f *testing.F) {
	f.Add(made(f, []byte("data")))
	f.Add(made(f, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, data, err := read(b)
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := NewWriter(&again, h)
		require.NoError(t, err)
		_, err = w.Write(data)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		h2, data2, err := read(again.Bytes())
		require.NoError(t, err)
		require.Equal(t, h, h2)
		require.True(t, bytes.Equal(data, data2))
	})
}
