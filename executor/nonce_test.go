package executor_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/seal"
)

// TestNonces: DP4. A proof needs a nonce of ours when nonces are demanded; a refusal brings one, and so does each answer.
func TestNonces(t *testing.T) {
	t.Parallel()
	key, err := seal.NewDataKey()
	must(t, err)
	r := newRig(t)
	r.nonces = dpop.NewNonces(key, "rs", time.Minute)
	strict := r.replica(t)
	own := newAgent(t)
	token := r.token(t, "tracker:write", own.byKey)
	with := func(nonce string) executor.Presented {
		p := own.presents(token)
		p.Proofs = []string{own.proof(token, nonce)}
		return p
	}
	foreign, err := dpop.NewNonces(key, "as", time.Minute).Issue(time.Now())
	must(t, err)
	old, err := r.nonces.Issue(time.Now().Add(-time.Hour))
	must(t, err)
	nonce := ""
	for name, bad := range map[string]string{
		"DP4 none": "", "DP4 of somebody's own making": "abc", "DP4 of the token server": foreign, "DP4 an old one": old,
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.trail(t, "acme"))
			_, err := strict.service.Execute(t.Context(), with(bad), executor.Request{Tool: "tracker.wipe"})
			refused, ok := errors.AsType[*executor.Error](err)
			if !ok || refused.Reason != executor.UseNonce || refused.Nonce == "" || strings.Contains(refused.Error(), refused.Nonce) {
				t.Fatalf("got %+v", err)
			}
			nonce = refused.Nonce
			if trail := r.trail(t, "acme")[before:]; len(trail) != 1 || trail[0].Reason != "USE_DPOP_NONCE" {
				t.Errorf("records %+v", trail)
			}
		})
	}
	tools, err := strict.service.ListTools(t.Context(), with(nonce))
	if err != nil || len(tools.List) == 0 || tools.Nonce == "" {
		t.Errorf("with the nonce: %+v %v", tools, err)
	}
	got, err := strict.service.Execute(t.Context(), with(tools.Nonce), executor.Request{Tool: "tracker.nothing"})
	if refused, ok := errors.AsType[*executor.Error](err); !ok || refused.Reason != executor.NotFound || got.Nonce == "" {
		t.Errorf("with the next one: %+v %v", got, err)
	}
	if tools, err := strict.service.ListTools(t.Context(), bearer(r.token(t, "tracker:read"))); err != nil || tools.Nonce != "" {
		t.Errorf("a token that is bound to nothing: %+v %v", tools, err)
	}
	if tools, err := r.service.ListTools(t.Context(), own.presents(token)); err != nil || tools.Nonce != "" {
		t.Errorf("where none are demanded: %+v %v", tools, err)
	}
}

// TestRequireDPoP: FA1. Where the operator says so, no token comes without a proof.
func TestRequireDPoP(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	own := newAgent(t)
	r.requireDPoP = true
	r.build(t)
	r.permit(t, "acme", fmt.Sprintf(record, "http://127.0.0.1:1"))
	for name, p := range map[string]executor.Presented{
		"a bearer's":             bearer(r.token(t, "tracker:read")),
		"bound to a certificate": own.withCertificate(r.token(t, "tracker:read", own.byCertificate)),
		"a good proof":           own.presents(r.token(t, "tracker:read", own.byKey)),
	} {
		_, err := r.service.ListTools(t.Context(), p)
		refused, ok := errors.AsType[*executor.Error](err)
		if (err == nil) != (name == "a good proof") || err != nil && (!ok || refused.Reason != executor.InvalidToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
