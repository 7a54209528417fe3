package meta

import (
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/protobuf/proto"

	"minikv/proto/metapb"
)

// shape is a generated message struct reduced to what the search for unknown fields needs: where it keeps their bytes, and
// which of its fields hold messages. Walking Go structs by these takes a tenth of the time of protobuf's own reflection, and
// allocates nothing; both the proposer and every replica do it for each command.
type shape struct {
	unknown int // place of the field with the bytes
	fields  []shapeField
}

type shapeField struct {
	place int
	kind  reflect.Kind // Pointer, Slice of pointers, or Interface: a oneof
	of    *shape       // nil for a oneof
}

// shapes by the struct type of the message; of oneofs by the type of the wrapper, with the shape of its only field.
var shapes = struct {
	sync.Mutex
	made map[reflect.Type]*shape
	ones sync.Map // reflect.Type to *shape; nil: the wrapper holds no message
}{made: make(map[reflect.Type]*shape)}

var commandShape = sync.OnceValue(func() *shape {
	shapes.Lock()
	defer shapes.Unlock()
	return makeShape(reflect.TypeFor[metapb.Command]())
})

// makeShape is called with the lock held. Shapes of recursive types are cyclic.
func makeShape(t reflect.Type) *shape {
	if s := shapes.made[t]; s != nil {
		return s
	}
	s := &shape{unknown: -1}
	shapes.made[t] = s
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Name == "unknownFields":
			s.unknown = i
		case !f.IsExported():
		case f.Type.Kind() == reflect.Interface:
			s.fields = append(s.fields, shapeField{i, reflect.Interface, nil})
		case isMessage(f.Type):
			s.fields = append(s.fields, shapeField{i, reflect.Pointer, makeShape(f.Type.Elem())})
		case f.Type.Kind() == reflect.Slice && isMessage(f.Type.Elem()):
			s.fields = append(s.fields, shapeField{i, reflect.Slice, makeShape(f.Type.Elem().Elem())})
		case f.Type.Kind() == reflect.Map && isMessage(f.Type.Elem()):
			panic(fmt.Sprintf("meta: %s.%s: maps of messages are not walked", t, f.Name))
		}
	}
	if s.unknown < 0 {
		panic(fmt.Sprintf("meta: %s has no unknown fields", t))
	}
	return s
}

func isMessage(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && t.Implements(reflect.TypeFor[proto.Message]())
}

// unknownIn says whether the message struct v, or a message within, holds a field that this program does not know.
func (s *shape) unknownIn(v reflect.Value) bool {
	if v.Field(s.unknown).Len() > 0 {
		return true
	}
	for i := range s.fields {
		f := &s.fields[i]
		in := v.Field(f.place)
		if f.kind == reflect.Slice {
			for i := range in.Len() {
				if e := in.Index(i); !e.IsNil() && f.of.unknownIn(e.Elem()) {
					return true
				}
			}
			continue
		}
		if in.IsNil() {
			continue
		}
		if f.kind == reflect.Interface {
			if unknownInOneof(in.Elem().Elem()) {
				return true
			}
		} else if f.of.unknownIn(in.Elem()) {
			return true
		}
	}
	return false
}

// unknownInOneof looks into the wrapper struct of a oneof's field.
func unknownInOneof(wrapper reflect.Value) bool {
	of, ok := shapes.ones.Load(wrapper.Type())
	if !ok {
		var s *shape
		if t := wrapper.Type().Field(0).Type; isMessage(t) {
			shapes.Lock()
			s = makeShape(t.Elem())
			shapes.Unlock()
		}
		of, _ = shapes.ones.LoadOrStore(wrapper.Type(), s)
	}
	s := of.(*shape)
	return s != nil && !wrapper.Field(0).IsNil() && s.unknownIn(wrapper.Field(0).Elem())
}
