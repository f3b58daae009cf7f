package delegation_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationhttp"
	"github.com/onbehalf/obo/delegation/delegationtest"
)

// What the owner of an internal service writes: a verifier once, and in the handler the question who acts for whom.
func Example() {
	// A stand-in for the STS; yours is running somewhere, and publishes its keys.
	t := &testing.T{}
	sts := delegationtest.NewIssuer(t)
	published := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(sts.Keys().JSON())
	}))
	defer published.Close()

	keys, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: published.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer:      "https://sts.test",
		Audience:    "https://service.test",
		Keys:        keys,
		Revocations: delegation.NoRevocations, // or a follower of the STS's feed
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	service := delegationhttp.Middleware(verifier, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := delegation.FromContext(r.Context())
		_, _ = fmt.Fprintf(w, "%s acts for %s of %s, allowed %s", caller.Actor(), caller.Subject(), caller.OrgID(), caller.Scope())
	}))

	request := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	request.Header.Set("Authorization", "Bearer "+sts.Token(t, nil))
	answer := httptest.NewRecorder()
	service.ServeHTTP(answer, request)
	fmt.Println(answer.Body)
	// Output: agent:acme/researcher acts for user:acme/okta|alice of acme, allowed issues:read issues:write
}

// What the STS does with a verified token: it narrows it, or says which rule of the law stands against that.
func ExampleVerified_Delegate() {
	t := &testing.T{}
	sts := delegationtest.NewIssuer(t)
	parent := sts.Verified(t, nil)

	wanted, _ := delegation.ParseScopes("issues:read")
	grant := delegation.Grant{
		Issuer: "https://sts.test", ClientID: "acme.researcher", Org: "acme", Actor: "agent:acme/summarizer",
		Audience: "https://executor.test", Scope: wanted, ID: "7f3a", Now: time.Now(), Life: time.Minute,
	}
	child, err := parent.Delegate(grant)
	fmt.Println(child.Claims().Chain(), err)

	grant.Scope, _ = delegation.ParseScopes("issues:read issues:delete")
	_, err = parent.Delegate(grant)
	fmt.Println(err)
	// Output:
	// [agent:acme/summarizer agent:acme/researcher agent:acme/orchestrator] <nil>
	// delegation: scope: beyond the parent: issues:delete
}
