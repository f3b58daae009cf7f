package story

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/cmd/obo/internal/dev"
	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/cmd/obo/internal/sample"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

const (
	readScope  = "tracker:issues:read"
	writeScope = "tracker:issues:write"
	closeScope = "tracker:issues:close"
)

// hops: a user's ID token becomes a delegation token, and that a narrower one.
func (t *teller) hops(ctx context.Context) error {
	t.chapter("Two hops")
	if err := t.afresh(ctx); err != nil {
		return err
	}
	if id, err := render.ParseToken(t.alice.Reveal()); err == nil {
		t.say("\n   alice signed in at %s; her ID token is for %s\n", render.Clean(id.Issuer), render.Clean(id.Audience))
	}
	name := "the orchestrator exchanges alice's ID token for a delegation token"
	first, err := t.World.first(ctx, t.orchestrator, t.alice, strings.Join([]string{readScope, writeScope, closeScope}, " "))
	if err != nil {
		t.done(failed(name, err))
		return explain.Of("the story ends at its first hop", err)
	}
	t.first = first.GetAccessToken()
	if err := t.hop(ctx, name, first, 1); err != nil {
		return err
	}
	name = "it hands on to the researcher, with less"
	second, err := t.handOn(ctx, t.orchestrator, t.first, t.researcher, readScope+" "+writeScope)
	if err != nil {
		t.done(failed(name, err))
		return explain.Of("the story ends at its second hop", err)
	}
	t.second = second.GetAccessToken()
	return t.hop(ctx, name, second, 2)
}

// afresh signs alice in again, so that a story can be told after another: its revocation refuses every token that is not
// younger, the user's too.
func (t *teller) afresh(ctx context.Context) error {
	if !dev.HasIssuer(t.state) {
		return nil
	}
	live, err := t.sts.Admin.ListRevocations(remote.Bearer(ctx, t.operator), &obov1.ListRevocationsRequest{OrgId: t.org})
	if err != nil {
		return explain.Of("cannot list the revocations", err)
	}
	for _, r := range live.GetRevocations() {
		// Tokens know their time in whole seconds: the first that is younger is of the next one.
		timer := time.NewTimer(time.Until(r.GetBefore().AsTime().Truncate(time.Second).Add(time.Second)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	if t.alice, err = t.signIn(ctx, "alice", t.org, ""); err != nil {
		return explain.Of("cannot sign alice in", err)
	}
	return nil
}

// hop shows an issued token and checks that it is what was asked for.
func (t *teller) hop(ctx context.Context, name string, resp *obov1.ExchangeResponse, depth int) error {
	token, err := render.ParseToken(resp.GetAccessToken())
	if err != nil {
		return explain.Failure("the token server issued something that is no token", err, "")
	}
	s := Step{Name: name, OK: true, Action: resp.GetActionId()}
	s.decided(t.decision(ctx, t.org, resp.GetActionId(), "approved"), true)
	switch {
	case token.Org != t.org:
		s.OK, s.Problem = false, "the token is of org "+token.Org
	case len(token.Chain) != depth:
		s.OK, s.Problem = false, fmt.Sprintf("the chain has %d actors, not %d", len(token.Chain), depth)
	case depth > 1 && (token.Transaction != t.report.Transaction || token.Subject != t.report.Subject):
		s.OK, s.Problem = false, "subject or transaction changed on the way"
	case slices.Contains(token.Scope, closeScope) != (depth == 1):
		s.OK, s.Problem = false, "the scope is "+strings.Join(token.Scope, " ")
	}
	t.report.Subject, t.report.Chain, t.report.Transaction = token.Subject, token.Chain, token.Transaction
	t.done(s)
	if !t.p.JSON {
		t.p.Token("   ", token, time.Now())
	}
	return nil
}

// calls: the researcher works on the provider with a credential that it never sees.
func (t *teller) calls(ctx context.Context) error {
	t.chapter("Two calls")
	answer := t.called(ctx, "the researcher lists the issues of apollo", "tracker.list_issues", `{"project":"apollo"}`, "1202")
	t.report.Answer = answer
	t.called(ctx, "the researcher opens an issue", "tracker.create_issue",
		`{"project":"apollo","title":"Program alarm 1202: executive overflow, restart protects"}`, "restart protects")
	seen, err := t.seen(ctx)
	if err != nil {
		return explain.Of("cannot ask the tracker what it saw", err)
	}
	s := Step{Name: "the tracker saw alice's own key, and no token of ours", OK: len(seen) > 0}
	for _, v := range seen[max(0, len(seen)-2):] {
		if v.Account != "alice of "+t.org || slices.Contains(v.Headers, "Authorization") {
			s.OK = false
			s.Problem = fmt.Sprintf("it saw account %q and headers %s", v.Account, strings.Join(v.Headers, " "))
		}
		s.Result = fmt.Sprintf("%s %s as %s", v.Method, v.Path, v.Account)
	}
	t.done(s)
	return nil
}

// called makes a call that must succeed.
func (t *teller) called(ctx context.Context, name, tool, args, want string) string {
	resp, err := t.call(ctx, t.second, tool, args)
	if err != nil {
		t.done(failed(name, err))
		return ""
	}
	result := resp.GetResult()
	s := Step{Name: name, OK: true, Result: tool + " " + args}
	s.decided(t.decision(ctx, t.org, resp.GetActionId(), "approved"), true)
	switch {
	case result == nil:
		s.OK, s.Problem = false, resp.GetError().GetKind()+": "+resp.GetError().GetMessage()
	case !strings.Contains(result.GetData(), want):
		s.OK, s.Problem = false, "the answer lacks what the tracker has: "+result.GetData()
	}
	t.done(s)
	if result != nil {
		t.say("   %s HTTP %d\n", t.p.Dim("answer"), result.GetStatus())
		t.indented(result.GetData())
	}
	return result.GetData()
}

// indented prints JSON from outside, item by item.
func (t *teller) indented(data string) {
	var items []json.RawMessage
	if json.Unmarshal([]byte(data), &items) != nil {
		items = []json.RawMessage{json.RawMessage(data)}
	}
	for _, item := range items {
		var line bytes.Buffer
		if json.Compact(&line, item) == nil {
			t.say("          %s\n", render.Clean(line.String()))
		}
	}
}

// seen asks the tracker what it saw.
func (t *teller) seen(ctx context.Context) ([]sample.Seen, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.provider+"/seen", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out []sample.Seen
	return out, json.NewDecoder(io.LimitReader(resp.Body, 8<<20)).Decode(&out)
}

// refusals: what must not work.
func (t *teller) refusals(ctx context.Context) error {
	t.chapter("What is refused")
	_, err := t.present(ctx, t.researcher, t.second, readScope+" "+closeScope)
	t.refused(ctx, refusal{name: "a wider scope: the researcher asks for more than its token has",
		reasons: []string{"INVALID_SCOPE"}, org: t.org, err: err})
	_, err = t.handOn(ctx, t.orchestrator, t.first, t.researcher, readScope+" "+closeScope)
	t.refused(ctx, refusal{name: "a scope that policy keeps from researchers, from a holder who has it",
		reasons: []string{"INVALID_SCOPE", "DELEGATION_DENIED"}, org: t.org, err: err})
	_, err = t.present(ctx, t.stranger, t.first, readScope)
	t.refused(ctx, refusal{name: "another org's agent with the orchestrator's token",
		reasons: []string{"DELEGATION_DENIED", "SUBJECT_TOKEN_INVALID"}, org: t.org2, err: err})
	_, err = t.World.first(ctx, t.stranger, t.alice, readScope)
	t.refused(ctx, refusal{name: "another org's agent with alice's ID token: its own alice is somebody else",
		reasons: []string{"DELEGATION_DENIED", "SUBJECT_TOKEN_INVALID"}, org: t.org2, err: err})
	_, err = t.present(ctx, t.researcher, t.first, readScope)
	t.refused(ctx, refusal{name: "a stolen token: the researcher presents the orchestrator's, which does not name it",
		reasons: []string{"DELEGATION_DENIED"}, org: t.org, err: err})
	if err := t.strangers(ctx); err != nil {
		return err
	}
	_, err = t.call(ctx, t.second, "tracker.create_issue", `{"project":"payroll","title":"Raise everybody"}`)
	t.refused(ctx, refusal{name: "a forbidden argument: an issue in payroll",
		reasons: []string{"ACCESS_DENIED"}, policy: "org/no-agents-in-payroll", org: t.org, err: err})
	_, err = t.call(ctx, t.second, "tracker.close_issue", `{"project":"apollo","number":1}`)
	t.refused(ctx, refusal{name: "a tool that the token's scope does not cover",
		reasons: []string{"INSUFFICIENT_SCOPE"}, org: t.org, err: err})
	_, err = t.call(ctx, t.alice.Reveal(), "tracker.list_issues", `{"project":"apollo"}`)
	t.refused(ctx, refusal{name: "alice's ID token at the executor", reasons: []string{"INVALID_TOKEN"}, err: err})
	return nil
}

// strangers: tokens of the sample OpenID provider that nobody may use here. They need it at hand.
func (t *teller) strangers(ctx context.Context) error {
	if !dev.HasIssuer(t.state) {
		t.say("\n   %s\n", t.p.Dim("left out: other people's ID tokens, since the sample OpenID provider is not at hand"))
		return nil
	}
	other, err := t.signIn(ctx, "alice", t.org, "some-other-app")
	if err != nil {
		return explain.Of("cannot sign alice in", err)
	}
	_, err = t.World.first(ctx, t.orchestrator, other, readScope)
	t.refused(ctx, refusal{name: "a stolen ID token: alice's, for another application",
		reasons: []string{"SUBJECT_TOKEN_INVALID"}, org: t.org, err: err})
	bob, err := t.signIn(ctx, "bob", t.org, "")
	if err != nil {
		return explain.Of("cannot sign bob in", err)
	}
	_, err = t.World.first(ctx, t.orchestrator, bob, readScope)
	t.refused(ctx, refusal{name: "bob of sales: policy lets engineers delegate",
		reasons: []string{"DELEGATION_DENIED", "INVALID_SCOPE"}, org: t.org, err: err})
	return nil
}

// trail: what an auditor finds by one id.
func (t *teller) trail(ctx context.Context) error {
	t.chapter("The audit trail of transaction " + t.report.Transaction)
	t.say("\n")
	entries, err := t.records(ctx, t.org, t.report.Transaction)
	if err != nil {
		return explain.Of("cannot read the trail", err)
	}
	t.report.Trail = render.EntryViews(entries)
	count := map[string]int{}
	for _, e := range entries {
		count[e.Record.GetKind()+"/"+e.Record.GetOutcome()]++
		if !t.p.JSON {
			t.p.Entry("   ", e)
		}
	}
	s := Step{Name: "the trail has both hops, both calls and their outcomes, and the refusals", OK: true,
		Result: fmt.Sprintf("%d records of both servers", len(entries))}
	for kind, least := range map[string]int{"exchange/approved": 2, "call.intent/approved": 2, "call.outcome/succeeded": 2,
		"exchange/refused": 1, "call.intent/refused": 1} {
		if count[kind] < least {
			s.OK, s.Problem = false, fmt.Sprintf("%d records of %s, expected at least %d", count[kind], kind, least)
		}
	}
	t.done(s)
	return nil
}

// revocation: one entry stops the whole tree.
func (t *teller) revocation(ctx context.Context) error {
	t.chapter("The revocation")
	for _, token := range []string{t.first, t.second} {
		if err := t.probe(ctx, token); err != nil {
			return explain.Of("a token does not work before it is revoked", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	begin := time.Now()
	_, err := t.sts.Admin.Revoke(remote.Bearer(ctx, t.operator),
		&obov1.RevokeRequest{OrgId: t.org, Kind: "agent", Id: "orchestrator", Reason: "obo demo"})
	if err != nil {
		return explain.Of("cannot revoke the orchestrator", err)
	}
	answered := time.Since(begin)
	for _, v := range []struct {
		name, token string
		took        *time.Duration
	}{
		{"the orchestrator is revoked: the executor refuses its token", t.first, &t.report.Orchestrator},
		{"and the researcher's, since the orchestrator is in its chain", t.second, &t.report.Researcher},
	} {
		err := t.untilRefused(ctx, v.token)
		*v.took = time.Since(begin)
		s := Step{Name: v.name, OK: status.Code(err) == codes.Unauthenticated,
			Result: fmt.Sprintf("refused %s after the revocation was sent (it was answered after %s)",
				v.took.Round(10*time.Microsecond), answered.Round(10*time.Microsecond))}
		if !s.OK {
			s.Problem = fmt.Sprintf("it still works, or fails otherwise: %v", err)
		}
		t.done(s)
	}
	_, err = t.present(ctx, t.orchestrator, t.first, readScope)
	t.refused(ctx, refusal{name: "the token server refuses to exchange the orchestrator's token",
		reasons: []string{"SUBJECT_TOKEN_INVALID"}, org: t.org, err: err})
	_, err = t.call(ctx, t.second, "tracker.list_issues", `{"project":"apollo"}`)
	t.refused(ctx, refusal{name: "the researcher's next call is refused", reasons: []string{"INVALID_TOKEN"}, err: err})
	return nil
}

// untilRefused asks until the executor refuses the token, or fails otherwise.
func (t *teller) untilRefused(ctx context.Context, token string) error {
	for {
		if err := t.probe(ctx, token); err != nil {
			return err
		}
	}
}
