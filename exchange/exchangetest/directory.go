package exchangetest

import (
	"context"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// Operator is the operator of this world.
func Operator() delegation.Administrator {
	return delegation.Administrator{Subject: "operator:credential", OrgID: store.PlatformOrg, Role: policy.RoleOperator}
}

// Directory gives an org a directory of okta's users, and answers with the token of its provider.
func (w *World) Directory(t testing.TB, org delegation.OrgID, change func(*registry.Directory)) telemetry.Secret {
	t.Helper()
	d := registry.Directory{Issuer: "okta"}
	if change != nil {
		change(&d)
	}
	w.Apply(t, org, func(doc *registry.Document) { doc.Directory = d })
	s, err := admin.New(w.Admin())
	must(t, err)
	got, err := s.As(Operator()).RotateScimToken(context.Background(), admin.RotateScimTokenRequest{Org: org})
	must(t, err)
	return got.Token
}

// Person is a user of a directory who logs in as sub.
func Person(sub string) store.User {
	return store.User{UserName: sub + "@acme.test", ExternalID: sub, Email: sub + "@acme.test", Active: true, Document: []byte("{}")}
}
