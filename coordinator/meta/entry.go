package meta

import (
	"reflect"

	"google.golang.org/protobuf/proto"

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
	return errs.Wrap(op, CheckFields(c))
}

// CheckFields is CheckCommand without the level. An operation that this program does not know is such a field, too.
func CheckFields(c *metapb.Command) error {
	if v := reflect.ValueOf(c).Elem(); commandShape().unknownIn(v) {
		return errs.E("meta.CheckFields", errs.Unsupported, "the command holds an unknown field")
	}
	return nil
}

// setRow writes a row past the transaction.
func setRow(b *kv.Batch, key []byte, m proto.Message) error {
	v, err := marshal.Marshal(m)
	if err != nil {
		return err
	}
	return b.Set(key, v)
}
