package e2e_test

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// foreign is what names things of another org in a request, by field: its ids, the tokens of its pages, what it has in force.
type foreign struct {
	texts  map[protoreflect.Name]string
	tokens map[protoreflect.FullName]string // page_token, by method
	org    string
}

// foreign collects what a request could name of an org that has two agents, revocations and a connection.
func (w *world) foreign(ctx context.Context, t *testing.T, org string) foreign {
	t.Helper()
	sts, executor := dial(t, w.stsAddr), dial(t, w.execAddr)
	admin, links := obov1.NewAdminServiceClient(sts), obov1.NewExecutorAdminServiceClient(executor)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := admin.Revoke(ctx, &obov1.RevokeRequest{OrgId: org, Kind: "session", Id: "s-1"})
	ok(err)
	_, err = links.PutClient(ctx, &obov1.PutClientRequest{OrgId: org, Name: "google", ClientId: org + ".apps", Secret: "0123456789"})
	ok(err)
	_, err = links.PutWebhook(ctx, &obov1.PutWebhookRequest{OrgId: org, Url: "https://" + org + ".example/hook"})
	ok(err)
	config, err := admin.GetOrg(ctx, &obov1.GetOrgRequest{OrgId: org})
	ok(err)
	records, err := links.GetProviders(ctx, &obov1.GetProvidersRequest{OrgId: org})
	ok(err)
	trail, err := obov1.NewAuditServiceClient(sts).ListRecords(ctx, &obov1.ListRecordsRequest{OrgId: org})
	ok(err)
	keys, err := admin.ListKeys(ctx, &obov1.ListKeysRequest{})
	ok(err)
	f := foreign{org: org, tokens: map[protoreflect.FullName]string{}, texts: map[protoreflect.Name]string{
		"document": string(config.GetDocument()), "etag": records.GetEtag(), "action_id": trail.GetRecords()[0].GetActionId(),
		"kid": keys.GetKeys()[0].GetKid(), "kind": "agent", "id": "agent:" + org + "/researcher", "agent": org + ".researcher",
		"connection": "alice-tracker", "provider": "tracker", "pattern": "api_key", "subject": user(org), "secret": "0123456789",
		"name": "tracker.yaml", "text": records.GetProviders()[0].GetText(), "reason": "a test",
	}}
	for _, m := range w.methods(t) {
		if m.desc.Input().Fields().ByName("page_token") == nil {
			continue
		}
		in, out := dynamicpb.NewMessage(m.desc.Input()), dynamicpb.NewMessage(m.desc.Output())
		in.Set(m.desc.Input().Fields().ByName("page_size"), protoreflect.ValueOfInt32(1))
		if field := m.desc.Input().Fields().ByName("org_id"); field != nil {
			in.Set(field, protoreflect.ValueOfString(org))
		}
		ok(m.conn.Invoke(ctx, m.full(), in, out))
		token := out.Get(m.desc.Output().Fields().ByName("next_page_token")).String()
		if token == "" {
			t.Fatalf("%s of %s has one page: its token is not tried", m.desc.Name(), org)
		}
		f.tokens[m.desc.FullName()] = token
	}
	return f
}

// fill sets every field of a request but the org: to what is the other org's, where it is known, and else to its name. Numbers are
// small, and what is a switch stays off, so that what can be done is done.
func (f foreign) fill(m rpc, in protoreflect.Message) {
	for i := range in.Descriptor().Fields().Len() {
		field := in.Descriptor().Fields().Get(i)
		switch {
		case field.Name() == "org_id" || field.Kind() == protoreflect.BoolKind:
		case field.IsList() && field.Kind() == protoreflect.MessageKind:
			list := in.Mutable(field).List()
			element := list.NewElement()
			f.fill(m, element.Message())
			list.Append(element)
		case field.IsList():
			in.Mutable(field).List().Append(f.value(m, field))
		case field.Kind() != protoreflect.MessageKind:
			in.Set(field, f.value(m, field))
		}
	}
}

func (f foreign) value(m rpc, field protoreflect.FieldDescriptor) protoreflect.Value {
	text, known := f.texts[field.Name()]
	if !known {
		text = f.org
	}
	if field.Name() == "page_token" {
		text = f.tokens[m.desc.FullName()]
	}
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	}
	return field.Default()
}

// request names an org, where it can, and in all the rest the other org's things.
func (f foreign) request(m rpc, org string) proto.Message {
	in := dynamicpb.NewMessage(m.desc.Input())
	f.fill(m, in)
	if field := m.desc.Input().Fields().ByName("org_id"); field != nil {
		in.Set(field, protoreflect.ValueOfString(org))
	}
	return in
}
