package meta

import (
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// CommandsMax bounds the commands of an entry: a version holds the command's number in 16 bits.
const CommandsMax = 1 << 16

// DecodeEntry reads the payload of a log entry; errs.Corrupt.
func DecodeEntry(b []byte) (*metapb.Entry, error) {
	e := new(metapb.Entry)
	if err := proto.Unmarshal(b, e); err != nil {
		return nil, errs.WrapKind("meta.DecodeEntry", errs.Corrupt, err)
	}
	return e, nil
}

// EncodeEntry appends the payload of a log entry to dst.
func EncodeEntry(dst []byte, e *metapb.Entry) ([]byte, error) {
	b, err := marshal.MarshalAppend(dst, e)
	return b, errs.Wrap("meta.EncodeEntry", err)
}

// CheckEntry says errs.Unsupported when the entry or a command in it is of an unknown level or holds an unknown field, at any
// depth. A proposer that takes commands from elsewhere checks before it proposes: such an entry stops every replica (M7).
func CheckEntry(e *metapb.Entry) error {
	const op = "meta.CheckEntry"
	if e.GetLevel() < 1 || e.GetLevel() > Level {
		return errs.E(op, errs.Unsupported, "entry of level %d; this program knows 1 to %d", e.GetLevel(), Level)
	}
	if len(e.Commands) > CommandsMax {
		return errs.E(op, errs.Unsupported, "an entry of %d commands; at most %d are possible", len(e.Commands), CommandsMax)
	}
	if len(e.ProtoReflect().GetUnknown()) > 0 {
		return errs.E(op, errs.Unsupported, "the entry holds an unknown field")
	}
	for _, c := range e.Commands {
		if err := CheckCommand(c); err != nil {
			return err
		}
	}
	return nil
}

// CheckCommand is CheckEntry for one command.
func CheckCommand(c *metapb.Command) error {
	const op = "meta.CheckCommand"
	if c.GetLevel() < 1 || c.GetLevel() > Level {
		return errs.E(op, errs.Unsupported, "command of level %d; this program knows 1 to %d", c.GetLevel(), Level)
	}
	if name := commandShape().unknownField(c.ProtoReflect()); name != "" {
		return errs.E(op, errs.Unsupported, "a %s holds an unknown field", name)
	}
	return nil
}

// shape is a message type reduced to the fields that hold messages: walking only these is several times faster than Range.
type shape struct {
	fields []shapeField
}

type shapeField struct {
	protoreflect.FieldDescriptor
	list bool
	of   *shape
}

// commandShape is made once; shapes of recursive types would be cyclic, which is fine.
var commandShape = sync.OnceValue(func() *shape {
	all := make(map[protoreflect.FullName]*shape)
	var visit func(protoreflect.MessageDescriptor) *shape
	visit = func(d protoreflect.MessageDescriptor) *shape {
		s := all[d.FullName()]
		if s != nil {
			return s
		}
		s = new(shape)
		all[d.FullName()] = s
		for i := range d.Fields().Len() {
			if f := d.Fields().Get(i); f.Message() != nil {
				s.fields = append(s.fields, shapeField{f, f.IsList(), visit(f.Message())})
			}
		}
		return s
	}
	return visit((&metapb.Command{}).ProtoReflect().Descriptor())
})

// unknownField is the name of the first message, m or one within, that holds a field this program does not know.
func (s *shape) unknownField(m protoreflect.Message) protoreflect.Name {
	if len(m.GetUnknown()) > 0 {
		return m.Descriptor().Name()
	}
	for i := range s.fields {
		f := &s.fields[i]
		if !m.Has(f.FieldDescriptor) {
			continue
		}
		v := m.Get(f.FieldDescriptor)
		if !f.list {
			if name := f.of.unknownField(v.Message()); name != "" {
				return name
			}
			continue
		}
		l := v.List()
		for i := range l.Len() {
			if name := f.of.unknownField(l.Get(i).Message()); name != "" {
				return name
			}
		}
	}
	return ""
}

// setRow writes a row past the transaction.
func setRow(b *kv.Batch, key []byte, m proto.Message) error {
	v, err := marshal.Marshal(m)
	if err != nil {
		return err
	}
	return b.Set(key, v)
}
