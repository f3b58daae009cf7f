package delegation_test

import (
	"context"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
)

// BenchmarkDelegate is one narrowing: the law and the claims, without the signature.
func BenchmarkDelegate(b *testing.B) {
	issuer := delegationtest.NewIssuer(b)
	parent := issuer.Verified(b, nil)
	g := delegation.Grant{
		Issuer: issuer.URL(), ClientID: "acme.researcher", Org: "acme", Actor: "agent:acme/writer",
		Audience: "https://executor.test", Scope: parent.Scope(), ID: "child", Now: time.Now(), Life: time.Minute,
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parent.Delegate(g); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkVerify(b *testing.B, remember int) {
	issuer := delegationtest.NewIssuer(b)
	v, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: issuer.URL(), Audience: delegationtest.Audience, Keys: delegation.StaticKeys(issuer.Keys()),
		Revocations: delegation.NoRevocations, Remember: remember,
	})
	if err != nil {
		b.Fatal(err)
	}
	token := issuer.Token(b, nil)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(ctx, token); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyCold verifies a signature every time.
func BenchmarkVerifyCold(b *testing.B) { benchmarkVerify(b, -1) }

// BenchmarkVerifyRemembered must stay under 10 µs and 20 allocations.
func BenchmarkVerifyRemembered(b *testing.B) { benchmarkVerify(b, 0) }
