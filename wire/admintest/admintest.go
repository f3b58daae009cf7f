// Package admintest holds every method of an administrators' service to the laws of change, and finds the methods by reflection, so
// that one that is added later is held to them too: it says beforehand what it would do, with the same checks and no effect; and it
// is on the trail with what was before and what is after, without a secret.
package admintest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/onbehalf/obo/audit"
)

// Canary is in every secret of a case. It must come back nowhere.
const Canary = "canary-0123456789"

// Case is a method as it would be called, on a server of its own.
type Case struct {
	Good    proto.Message // changes something
	Refused proto.Message // is refused for what it says, or for how things stand
	Conn    *grpc.ClientConn
	Stored  func(t *testing.T) []byte         // all that the server has stored
	Records func(t *testing.T) []audit.Record // of all its trails, oldest first
}

// Suite is one service.
type Suite struct {
	Service protoreflect.ServiceDescriptor
	Cases   map[string]func(t *testing.T) Case
	// Exempt are the methods that change something and have no dry run or no values before and after, with the reason.
	Exempt map[string]string
}

// reads are how the methods that change nothing begin.
var reads = []string{"Get", "List", "Await", "Watch"}

const dryRun = protoreflect.Name("dry_run")

// Run tries every method.
func (s Suite) Run(t *testing.T) {
	tried := 0
	for i := range s.Service.Methods().Len() {
		m := s.Service.Methods().Get(i)
		name := string(m.Name())
		if slices.ContainsFunc(reads, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			if m.Input().Fields().ByName(dryRun) != nil {
				t.Errorf("%s has dry_run, and reads", name)
			}
			continue
		}
		tried++
		make, ok := s.Cases[name]
		switch reason, exempt := s.Exempt[name]; {
		case exempt && reason == "":
			t.Errorf("%s is exempt without a reason", name)
		case exempt:
		case !ok:
			t.Errorf("%s changes something: give it a case here, or a reason why not", name)
		case m.Input().Fields().ByName(dryRun) == nil || m.Input().Fields().ByName(dryRun).Kind() != protoreflect.BoolKind:
			t.Errorf("%s changes something, and its request has no dry_run", name)
		default:
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				law{m, make(t)}.hold(t)
			})
		}
	}
	if tried != len(s.Cases)+len(s.Exempt) {
		t.Errorf("%d methods change something, and %d are known", tried, len(s.Cases)+len(s.Exempt))
	}
}

// law is one method in its case.
type law struct {
	method protoreflect.MethodDescriptor
	Case
}

func (l law) call(t *testing.T, in proto.Message, dry bool) (proto.Message, *status.Status) {
	t.Helper()
	in = proto.Clone(in)
	in.ProtoReflect().Set(l.method.Input().Fields().ByName(dryRun), protoreflect.ValueOfBool(dry))
	name := fmt.Sprintf("/%s/%s", l.method.Parent().FullName(), l.method.Name())
	out := dynamicpb.NewMessage(l.method.Output())
	if l.method.IsStreamingServer() {
		return out, status.Convert(l.stream(t.Context(), name, in, out))
	}
	return out, status.Convert(l.Conn.Invoke(t.Context(), name, in, out))
}

// stream calls a method that tells of its progress. Its last message is the answer.
func (l law) stream(ctx context.Context, name string, in, out proto.Message) error {
	s, err := l.Conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, name)
	if err != nil {
		return err
	}
	if err := errors.Join(s.SendMsg(in), s.CloseSend()); err != nil && !errors.Is(err, io.EOF) { // of a refusal: RecvMsg has it
		return err
	}
	for {
		next := dynamicpb.NewMessage(l.method.Output())
		if err := s.RecvMsg(next); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		proto.Reset(out)
		proto.Merge(out, next)
	}
}

func (l law) hold(t *testing.T) {
	stored, recorded := l.Stored(t), len(l.Records(t))

	_, dry := l.call(t, l.Refused, true)
	if dry.Code() == codes.OK || dry.Code() == codes.Unimplemented {
		t.Errorf("a dry run of what is to be refused: %v", dry)
	}
	said, would := l.call(t, l.Good, true)
	if would.Code() != codes.OK {
		t.Fatalf("a dry run of what is to be done: %v", would)
	}
	again, _ := l.call(t, l.Good, true)
	if !slices.Equal(paths(said), paths(again)) {
		t.Errorf("two dry runs say different things: %v, and %v", said, again)
	}
	if !bytes.Equal(stored, l.Stored(t)) || len(l.Records(t)) != recorded {
		t.Fatal("a dry run changed what is stored")
	}

	if _, wet := l.call(t, l.Refused, false); !proto.Equal(wet.Proto(), dry.Proto()) {
		t.Errorf("refused as %v, and in a dry run as %v", wet, dry)
	}
	if !bytes.Equal(stored, l.Stored(t)) {
		t.Error("what was refused changed what is stored")
	}
	done, wet := l.call(t, l.Good, false)
	if wet.Code() != codes.OK {
		t.Fatalf("not done: %v", wet)
	}
	if bytes.Equal(stored, l.Stored(t)) {
		t.Error("nothing changed: this case shows nothing")
	}
	if !slices.Equal(paths(said), paths(done)) {
		t.Errorf("the dry run said that %v would change, and %v did", paths(said), paths(done))
	}
	l.onTrail(t, l.Records(t)[recorded:])
	for _, m := range []proto.Message{said, done} {
		if text := protojson.Format(m); strings.Contains(text, Canary) {
			t.Errorf("the answer has a secret: %s", text)
		}
	}
}

// onTrail wants the change on record, with who made it and what was before and is after.
func (l law) onTrail(t *testing.T, records []audit.Record) {
	t.Helper()
	var changes []audit.Change
	for _, r := range records {
		if r.Kind != audit.KindAdmin || r.Outcome != audit.OutcomeApproved || r.Administrator == "" || r.Role == "" {
			t.Errorf("recorded as %+v", r)
		}
		changes = append(changes, r.Changes...)
		if text := fmt.Sprintf("%+v", r); strings.Contains(text, Canary) {
			t.Errorf("the record has a secret: %s", text)
		}
	}
	if len(changes) == 0 {
		t.Errorf("no record says what was before and what is after: %+v", records)
	}
	for _, c := range changes {
		if c.Path == "" || c.Before == c.After || len(c.Before) > 1024 || len(c.After) > 1024 {
			t.Errorf("%+v", c)
		}
	}
}

// paths are those of the changes in an answer that lists them.
func paths(m proto.Message) (out []string) {
	f := m.ProtoReflect().Descriptor().Fields().ByName("changes")
	if f == nil {
		return nil
	}
	list := m.ProtoReflect().Get(f).List()
	for i := range list.Len() {
		change := list.Get(i).Message()
		out = append(out, change.Get(change.Descriptor().Fields().ByName("path")).String())
	}
	return out
}
