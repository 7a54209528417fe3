package meta

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// TestUnknownFieldsAreFoundAnywhere: for every path from Command to a message, as protobuf's own reflection knows them, a
// command with that path alone is fine, and with an unknown field at its end it is not (M7).
func TestUnknownFieldsAreFoundAnywhere(t *testing.T) {
	paths := 0
	var walk func(path []protoreflect.FieldDescriptor, d protoreflect.MessageDescriptor)
	walk = func(path []protoreflect.FieldDescriptor, d protoreflect.MessageDescriptor) {
		paths++
		c := &metapb.Command{Level: Level}
		m := c.ProtoReflect()
		for _, f := range path {
			if f.IsList() {
				l := m.Mutable(f).List()
				l.AppendMutable() // what is looked for is not the first
				m = l.AppendMutable().Message()
			} else {
				m = m.Mutable(f).Message()
			}
		}
		require.NoError(t, CheckCommand(c), "%v", path)
		m.SetUnknown([]byte{0xf8, 0x7f, 1}) // field 2047, varint 1
		require.True(t, errs.Is(CheckCommand(c), errs.Unsupported), "%v", path)
		raw, err := proto.Marshal(c)
		require.NoError(t, err)
		back := new(metapb.Command)
		require.NoError(t, proto.Unmarshal(raw, back))
		require.True(t, errs.Is(CheckCommand(back), errs.Unsupported), "decoded, %v", path)
		if len(path) == 6 {
			return
		}
		for i := range d.Fields().Len() {
			if f := d.Fields().Get(i); f.Message() != nil {
				require.False(t, f.IsMap(), "%v", f.FullName())
				walk(append(path[:len(path):len(path)], f), f.Message())
			}
		}
	}
	walk(nil, (&metapb.Command{}).ProtoReflect().Descriptor())
	require.Greater(t, paths, 50)
}
