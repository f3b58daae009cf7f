package admingrpc_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/admintest"
)

// TestChanges: each method that changes something says beforehand what it would do, and is on the trail with what was and what is.
func TestChanges(t *testing.T) {
	t.Parallel()
	admintest.Suite{
		Service: obov1.File_obo_v1_admin_proto.Services().ByName("AdminService"),
		Cases: map[string]func(t *testing.T) admintest.Case{
			"ApplyOrg": func(t *testing.T) admintest.Case {
				c, client, _ := newCase(t)
				got, err := client.GetOrg(t.Context(), &obov1.GetOrgRequest{OrgId: "acme"})
				must(t, err)
				document := strings.Replace(string(got.GetDocument()), "ops@acme.test", "other@acme.test", 1)
				c.Good = &obov1.ApplyOrgRequest{OrgId: "acme", Document: []byte(document), ExpectedVersion: 1}
				c.Refused = &obov1.ApplyOrgRequest{OrgId: "acme", Document: []byte(document), ExpectedVersion: 7}
				return c
			},
			"ApplyPlatform": func(t *testing.T) admintest.Case {
				c, _, _ := newCase(t)
				files := []*obov1.PolicyFile{{
					Name: "guard.cedar", Text: `@id("guard") forbid (principal, action == Action::"exchange", resource);`,
				}}
				c.Good = &obov1.ApplyPlatformRequest{Policies: files, ExpectedVersion: proto.Int64(0)}
				c.Refused = &obov1.ApplyPlatformRequest{Policies: files, ExpectedVersion: proto.Int64(1)}
				return c
			},
			"RotateClientSecret": func(t *testing.T) admintest.Case {
				c, _, _ := newCase(t)
				c.Good = &obov1.RotateClientSecretRequest{OrgId: "acme", Agent: "orchestrator", DropPrevious: true}
				c.Refused = &obov1.RotateClientSecretRequest{OrgId: "acme", Agent: "nobody"}
				return c
			},
			"RotateScimToken": func(t *testing.T) admintest.Case {
				c, _, w := newCase(t)
				w.Directory(t, "acme", nil)
				c.Good = &obov1.RotateScimTokenRequest{OrgId: "acme", DropPrevious: true}
				c.Refused = &obov1.RotateScimTokenRequest{OrgId: "globex"}
				return c
			},
			"Revoke": func(t *testing.T) admintest.Case {
				c, _, _ := newCase(t)
				c.Good = &obov1.RevokeRequest{OrgId: "acme", Kind: "agent", Id: "orchestrator", Reason: "behaves oddly"}
				c.Refused = &obov1.RevokeRequest{OrgId: "acme", Kind: "agent", Id: "agent:globex/orchestrator"}
				return c
			},
			"PutSignalCredential": func(t *testing.T) admintest.Case {
				c, _, w := newCase(t)
				w.Listen(t, func(s *registry.SignalStream) { s.PollEndpoint = "https://idp.test/poll" })
				c.Good = &obov1.PutSignalCredentialRequest{
					OrgId: "acme", Stream: exchangetest.StreamName, Credential: admintest.Canary,
				}
				c.Refused = &obov1.PutSignalCredentialRequest{OrgId: "acme", Stream: exchangetest.StreamName, Remove: true}
				return c
			},
			"RotateKeys": func(t *testing.T) admintest.Case {
				c, _, _ := newCase(t)
				c.Good = &obov1.RotateKeysRequest{}
				c.Refused = &obov1.RotateKeysRequest{CompromisedKids: []string{"nobody"}}
				return c
			},
			"RetireKey": func(t *testing.T) admintest.Case {
				c, client, _ := newCase(t)
				got, err := client.RotateKeys(t.Context(), &obov1.RotateKeysRequest{})
				must(t, err)
				c.Good, c.Refused = &obov1.RetireKeyRequest{Kid: got.GetKeys()[0].GetKid()}, &obov1.RetireKeyRequest{Kid: "nobody"}
				return c
			},
			"ImportKey": func(t *testing.T) admintest.Case {
				c, _, _ := newCase(t)
				private, err := jose.Generate(jose.ES256)
				must(t, err)
				jwk, err := jose.MarshalPrivateJWK("mine", jose.ES256, private)
				must(t, err)
				c.Good = &obov1.ImportKeyRequest{Alg: "ES256", PrivateKey: jwk}
				c.Refused = &obov1.ImportKeyRequest{Alg: "ES256", PrivateKey: []byte(admintest.Canary)}
				return c
			},
		},
	}.Run(t)
}

// TestLossOfAKeyIsOnTheTrail: what an emergency does is foreseen, and on record key by key.
func TestLossOfAKeyIsOnTheTrail(t *testing.T) {
	t.Parallel()
	c, client, w := newCase(t)
	kid, stored := w.Ring.Keys()[0].KID, c.Stored(t)
	request := &obov1.RotateKeysRequest{CompromisedKids: []string{kid}, Reason: "a backup was stolen", DryRun: true}
	would, err := client.RotateKeys(t.Context(), request)
	must(t, err)
	if len(would.GetKeys()) != 1 || would.GetKeys()[0].GetKid() != "" || would.GetSequence() != 0 || string(c.Stored(t)) != string(stored) {
		t.Fatalf("a dry run: %v", would)
	}
	request.DryRun = false
	done, err := client.RotateKeys(t.Context(), request)
	must(t, err)
	if len(done.GetKeys()) != 1 || done.GetKeys()[0].GetKid() == kid || done.GetSequence() == 0 {
		t.Errorf("%v", done)
	}
	var paths []string
	for _, change := range c.Records(t)[0].Changes {
		paths = append(paths, change.Path)
	}
	want := []string{"keys/" + kid, "keys/new ES256", "revocations/key/" + kid}
	slices.Sort(paths)
	if slices.Sort(want); !slices.Equal(paths, want) {
		t.Errorf("on record are %q, want %q", paths, want)
	}
}

// newCase is a server of its own, without a request.
func newCase(t *testing.T) (admintest.Case, obov1.AdminServiceClient, *exchangetest.World) {
	t.Helper()
	w := exchangetest.NewWorld(t)
	conn := connect(t, w, nil, nil)
	return admintest.Case{
		Conn:   conn,
		Stored: func(t *testing.T) []byte { return stored(t, filepath.Join(w.Dir, "sts.db")) },
		Records: func(t *testing.T) (all []audit.Record) {
			return append(w.Records(t, store.PlatformOrg), w.Records(t, "acme")...)
		},
	}, obov1.NewAdminServiceClient(conn), w
}

// stored is all of a SQLite database: its file, and the log of what is not in the file yet.
func stored(t *testing.T, path string) (out []byte) {
	t.Helper()
	for _, name := range []string{path, path + "-wal"} {
		data, err := os.ReadFile(name)
		must(t, err)
		out = append(out, data...)
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
