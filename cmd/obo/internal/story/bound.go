package story

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

const bountyScope = "tracker:bounties:award"

// boundaries: a token that only its holder can use, and one that says more than a scope can.
func (t *teller) boundaries(ctx context.Context) error {
	t.chapter("Bound to a key, bounded by details")
	prover, err := remote.NewProver(time.Now)
	if err != nil {
		return explain.Failure("cannot make a key", err, "")
	}
	sts := remote.NewProofs(prover, t.stsAddress, "")
	executor := remote.NewProofs(prover, t.executorAddress, "")
	var token *obov1.ExchangeResponse
	err = sts.Call(ctx, obov1.ExchangeService_Exchange_FullMethodName, "",
		func(ctx context.Context, opts ...grpc.CallOption) (err error) {
			token, err = t.sts.Exchange.Exchange(remote.Basic(ctx, t.orchestrator.id, t.orchestrator.secret), &obov1.ExchangeRequest{
				SubjectToken: t.alice.Reveal(), SubjectTokenType: remote.TypeIDToken, Resource: []string{t.audience},
				Scope: readScope}, opts...)
			return err
		})
	name := "the orchestrator gets a token that is bound to its key (DPoP), and uses it"
	if err != nil {
		t.done(failed(name, err))
		return explain.Of("the story ends at a bound token", err)
	}
	secret := telemetry.Secret(token.GetAccessToken())
	err = executor.Call(executor.Scheme(ctx, secret), obov1.ExecutorService_ListTools_FullMethodName, secret,
		func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := t.executor.Executor.ListTools(ctx, &obov1.ListToolsRequest{}, opts...)
			return err
		})
	if err != nil || token.GetTokenType() != "DPoP" {
		t.done(failed(name, err))
	} else {
		t.done(Step{Name: name, OK: true, Result: "token_type " + token.GetTokenType()})
	}
	t.refused(ctx, refusal{name: "a thief has the token and not the key: presented as Bearer",
		reasons: []string{"INVALID_TOKEN"}, err: t.probe(ctx, token.GetAccessToken())})
	return t.bounties(ctx)
}

// bounties: what is promised in a detail is the most that a call can do.
func (t *teller) bounties(ctx context.Context) error {
	name := "the orchestrator may award bounties of at most 100 dollars, in apollo alone"
	first, err := t.sts.Exchange.Exchange(remote.Basic(ctx, t.orchestrator.id, t.orchestrator.secret), &obov1.ExchangeRequest{
		SubjectToken: t.alice.Reveal(), SubjectTokenType: remote.TypeIDToken, Resource: []string{t.audience}, Scope: bountyScope,
		AuthorizationDetails: `[{"type":"tracker_bounty","project":"apollo","dollars":100}]`})
	if err != nil {
		t.done(failed(name, err))
		return explain.Of("the story ends at authorization_details", err)
	}
	s := Step{Name: name, OK: true, Result: "authorization_details " + first.GetAuthorizationDetails()}
	s.decided(t.decision(ctx, t.org, first.GetActionId(), "approved"), true)
	t.done(s)
	_, err = t.handOnDetails(ctx, first.GetAccessToken(), 101)
	t.refused(ctx, refusal{name: "it cannot hand on more than it has: 101 dollars",
		reasons: []string{"INVALID_AUTHORIZATION_DETAILS"}, org: t.org, err: err})
	name = "it hands on 50 dollars, and the researcher awards them"
	second, err := t.handOnDetails(ctx, first.GetAccessToken(), 50)
	if err != nil {
		t.done(failed(name, err))
		return explain.Of("the story ends at a handover", err)
	}
	resp, err := t.call(ctx, second.GetAccessToken(), "tracker.award_bounty", `{"project":"apollo","number":1,"dollars":50}`)
	if err != nil || resp.GetResult() == nil {
		t.done(failed(name, err))
	} else {
		t.done(Step{Name: name, OK: true, Action: resp.GetActionId(), Result: resp.GetResult().GetData()})
	}
	_, err = t.call(ctx, second.GetAccessToken(), "tracker.award_bounty", `{"project":"apollo","number":1,"dollars":51}`)
	t.refused(ctx, refusal{name: "51 dollars are not covered by any one detail of its token",
		reasons: []string{"ACCESS_DENIED"}, org: t.org, err: err})
	return nil
}

// handOnDetails hands on to the researcher, with a bounty of so many dollars.
func (t *teller) handOnDetails(ctx context.Context, token string, dollars int) (*obov1.ExchangeResponse, error) {
	assertion, err := remote.Agent{ID: t.researcher.id, Key: t.researcher.key}.ActorToken(t.issuer, time.Now())
	if err != nil {
		return nil, err
	}
	return t.sts.Exchange.Exchange(remote.Basic(ctx, t.orchestrator.id, t.orchestrator.secret), &obov1.ExchangeRequest{
		SubjectToken: token, SubjectTokenType: remote.TypeAccessToken, Resource: []string{t.audience}, Scope: bountyScope,
		ActorToken: assertion.Reveal(), ActorTokenType: remote.TypeJWT,
		AuthorizationDetails: fmt.Sprintf(`[{"type":"tracker_bounty","project":"apollo","dollars":%d}]`, dollars)})
}
