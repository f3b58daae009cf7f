package e2e_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

// TestReplicasAgree: what is done at one replica is in force at the other, and at whoever follows either, within the bound of the
// feed: a revocation, a change of policy, a new client, a key rotation.
func TestReplicasAgree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{stsStore: pgtest.DSN(t), replica: true, noExecutor: true})
	w.apply(t, "acme")
	addresses, urls := []string{w.stsAddr, w.address2}, []string{w.issuer, w.replica}
	verifiers := []*verifier{w.newVerifier(t, w.stsAddr), w.newVerifier(t, w.address2)}
	ctx := bearer(t.Context(), w.admin)
	within := func(what string, holds func() bool) {
		t.Helper()
		const bound = 5 * time.Second // of the feed, unless configured
		began := time.Now()
		for !holds() {
			if time.Since(began) > bound {
				t.Fatalf("%s: not in force after %s", what, bound)
			}
			time.Sleep(time.Millisecond)
		}
		t.Logf("%s: in force everywhere after %s (bound %s)", what, time.Since(began), bound)
	}
	for here := range addresses {
		there := 1 - here
		admin := obov1.NewAdminServiceClient(dial(t, addresses[here]))
		other := obov1.NewExchangeServiceClient(dial(t, addresses[there]))
		first := func() (string, error) {
			r, err := w.first(t.Context(), other, "acme", w.idp.idToken(t, "acme"), "tracker:issues:read")
			return r.GetAccessToken(), err
		}
		token, err := first()
		if err != nil {
			t.Fatal(err)
		}
		everybody := func(want verdict) func() bool {
			return func() bool {
				return !slices.ContainsFunc(verifiers, func(v *verifier) bool { got, err := v.judge(t.Context(), token); return err != nil || got != want })
			}
		}
		within("the first snapshot", everybody(accepted))

		revoke := &obov1.RevokeRequest{OrgId: "acme", Kind: "token", Id: claimsOf(t, token)["jti"].(string)}
		if _, err := admin.Revoke(ctx, revoke); err != nil {
			t.Fatal(err)
		}
		within("a revocation, at both followers", everybody(revoked))
		within("a revocation, at the other replica", func() bool {
			_, err := w.delegate(t.Context(), t, other, "acme", token, "tracker:issues:read")
			return err != nil
		})

		before, name := verifiers[there].policy("acme"), []string{"one", "two"}[here]
		w.change(t, admin, func(doc map[string]any) {
			doc["agents"] = append(doc["agents"].([]any), map[string]any{"name": name, "owner": "x@acme.example", "groups": []string{"staff"},
				"scopes": []string{"tracker:issues:read"}})
			doc["policies"] = append(doc["policies"].([]any), map[string]any{"name": name + ".cedar",
				"text": `@id("` + name + `") forbid (principal == Agent::"acme/` + name + `", action, resource);`})
		})
		within("a change of policy, at both followers", func() bool {
			return verifiers[there].policy("acme") != before && verifiers[here].policy("acme") == verifiers[there].policy("acme")
		})
		secret, err := admin.RotateClientSecret(ctx, &obov1.RotateClientSecretRequest{OrgId: "acme", Agent: name})
		if err != nil {
			t.Fatal(err)
		}
		within("a new client and what policy says of it, at the other replica", func() bool {
			_, err := other.Exchange(basic(t.Context(), secret.GetClientId(), secret.GetClientSecret()), &obov1.ExchangeRequest{
				SubjectToken: w.idp.idToken(t, "acme"), SubjectTokenType: typeIDToken, Resource: []string{audience}, Scope: "tracker:issues:read",
			})
			if status.Code(err) == codes.Unauthenticated {
				time.Sleep(600 * time.Millisecond) // of wrong secrets an address has ten, and one that is not known yet is one
			}
			return status.Code(err) == codes.PermissionDenied
		})

		known := string(get(t, urls[there]+"/jwks"))
		if _, err := admin.RotateKeys(ctx, &obov1.RotateKeysRequest{}); err != nil {
			t.Fatal(err)
		}
		within("a key rotation, in the key sets of both", func() bool {
			a, b := string(get(t, urls[here]+"/jwks")), string(get(t, urls[there]+"/jwks"))
			return a == b && (b != known || strings.Count(b, `"kid"`) > 1)
		})
	}
}

// change applies an org's document with something changed.
func (w *world) change(t *testing.T, admin obov1.AdminServiceClient, change func(doc map[string]any)) {
	t.Helper()
	ctx := bearer(t.Context(), w.admin)
	now, err := admin.GetOrg(ctx, &obov1.GetOrgRequest{OrgId: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(now.GetDocument(), &doc); err != nil {
		t.Fatal(err)
	}
	change(doc)
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	request := &obov1.ApplyOrgRequest{OrgId: "acme", Document: text, ExpectedVersion: now.GetVersion()}
	if _, err := admin.ApplyOrg(ctx, request); err != nil {
		t.Fatal(err)
	}
}
