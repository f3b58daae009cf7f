package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// What a caller is told. Which policy refused is in Decision.Policies, for the audit trail.
const (
	reasonNoPermit = "no policy permits this"
	reasonForbid   = "a policy forbids this"
	reasonError    = "a policy could not be evaluated, which refuses"
	reasonSchema   = "the request does not fit the policy schema"
)

// question is what the parts of one request share.
type question struct {
	set     *Set
	view    view
	request types.Request
	next    []byResource // where the index leads, given principal and action
	found   found
}

// Exchange decides each requested scope alone, and answers in the order of the request.
func (s *Set) Exchange(r ExchangeRequest) []Decision {
	out := make([]Decision, len(r.Scopes))
	q, refused := s.exchangeQuestion(r)
	for i, scope := range r.Scopes {
		if refused != "" {
			out[i] = s.refuse(refused)
			continue
		}
		q.ask(scope)
		out[i] = q.decide()
	}
	return out
}

// ask makes a scope the resource of the question.
func (q *question) ask(scope string) {
	is, ok := q.set.scopes[scope]
	if !ok { // a scope of no provider: of an internal service
		uid := types.NewEntityUID(typeScope, types.String(scope))
		is = place{uid, fits(uid, nil)}
	}
	q.request.Resource = is.uid
	q.found = chooseResource(q.found[:0], q.next, is.fits)
}

func (s *Set) exchangeQuestion(r ExchangeRequest) (*question, string) {
	q, context, refused := s.mintQuestion(r)
	if refused != "" {
		return nil, refused
	}
	q.request.Action = action(actionExchange)
	q.request.Context = types.NewRecord(context)
	q.next = s.agents[r.Actor].exchange
	return q, ""
}

// mintQuestion makes what the questions of the mint share: of scopes, and of details.
func (s *Set) mintQuestion(r ExchangeRequest) (*question, types.RecordMap, string) {
	q, context, refused := s.begin(r.Actor, r.Subject, r.Depth, r.Now)
	if refused != "" {
		return nil, nil, refused
	}
	chain := make([]types.Value, len(r.Chain))
	for i, id := range r.Chain {
		uid, ok := s.world.agent(id)
		if !ok {
			return nil, nil, "the chain names an agent of another org"
		}
		chain[i] = uid
	}
	audience := s.world.own(typeResource, r.Audience)
	if _, ok := s.world.entities[audience]; !ok {
		return nil, nil, "the audience is no resource of this org"
	}
	context["chain"] = types.NewSet(chain...)
	context["audience"] = audience
	context["life"] = types.Long((r.Life + time.Second - 1) / time.Second) // rounded up: never judged shorter than it is
	if r.ClientIP.IsValid() {
		ip := r.ClientIP.Unmap().WithZone("")
		prefix, err := ip.Prefix(ip.BitLen())
		if err != nil {
			return nil, nil, reasonSchema
		}
		context["client_ip"] = types.IPAddr(prefix)
	}
	return q, context, ""
}

// Call decides one call by its very arguments.
func (s *Set) Call(r CallRequest) Decision {
	q, refused := s.callQuestion(r)
	if refused != "" {
		return s.refuse(refused)
	}
	return q.decide()
}

func (s *Set) callQuestion(r CallRequest) (*question, string) {
	t, ok := s.tools[r.Tool]
	if !ok {
		return nil, "there is no such tool"
	}
	if r.Connection.Provider != t.provider {
		return nil, "the connection is to another provider than the tool's"
	}
	q, context, refused := s.begin(r.Actor, r.Subject, r.Depth, r.Now)
	if refused != "" {
		return nil, refused
	}
	args, err := t.args.readArguments(r.Arguments)
	if err != nil {
		return nil, err.Error()
	}
	if len(r.Details) > 0 || len(t.details) > 0 {
		if context["details"], refused = t.readDetails(r.Details); refused != "" {
			return nil, refused
		}
	}
	connection, refused := s.connection(r.Connection, t)
	if refused != "" {
		return nil, refused
	}
	scopes := make([]types.Value, len(r.Scopes))
	for i, scope := range r.Scopes {
		scopes[i] = types.String(scope)
	}
	context["scopes"] = types.NewSet(scopes...)
	context["approved"] = types.Boolean(r.Approved)
	context["tool"] = t.tool
	context["args"] = args
	q.view.connection = connection
	q.request.Action, q.request.Resource = t.action.uid, connection.UID
	q.request.Context = types.NewRecord(context)
	q.next = chooseAction(s.agents[r.Actor].next, t.action.fits)
	is := append(slices.Clip(t.above), constraint{equal, connection.UID}, constraint{inside, connection.UID})
	q.found = chooseResource(nil, q.next, is)
	return q, ""
}

func (s *Set) connection(c Connection, t callable) (types.Entity, string) {
	if c.ID == "" {
		return types.Entity{}, "there is no connection"
	}
	attributes := types.RecordMap{"shared": types.Boolean(c.Owner == "")}
	if c.Owner != "" {
		owner, ok := s.world.user(c.Owner)
		if !ok {
			return types.Entity{}, "the connection's owner is no user of this org"
		}
		attributes["owner"] = owner
	}
	return types.Entity{UID: s.world.own(typeConnection, c.ID), Parents: t.parents, Attributes: types.NewRecord(attributes)}, ""
}

// begin makes what both questions share. Who is not of this org is refused before any policy is asked (threat: tenant mix-up).
func (s *Set) begin(actor string, subject Subject, depth int, now time.Time) (*question, types.RecordMap, string) {
	agent, ok := s.agents[actor]
	if !ok {
		return nil, nil, "the actor is no agent of this org"
	}
	user, ok := s.world.user(subject.ID)
	if !ok {
		return nil, nil, "the subject is no user of this org"
	}
	context := make(types.RecordMap, 10)
	context["subject"] = user
	context["depth"] = types.Long(depth)
	context["now"] = types.NewDatetime(now)
	amr := make([]types.Value, len(subject.AMR))
	for i, method := range subject.AMR {
		amr[i] = types.String(method)
	}
	context["amr"] = types.NewSet(amr...)
	if subject.ACR != "" {
		context["acr"] = types.String(subject.ACR)
	}
	q := &question{set: s, view: view{world: s.world, user: s.world.userEntity(user, subject.Groups)}}
	q.request.Principal = agent.uid
	return q, context, ""
}

func (s *Set) refuse(reason string) Decision { return Decision{Version: s.version, Reason: reason} }

// decide asks cedar about the policies that were found, and refuses whatever is not a clean yes.
func (q *question) decide() Decision {
	if err := q.set.validate.Request(q.request); err != nil {
		return q.set.refuse(reasonSchema) // the error quotes the context, and so stays here
	}
	return q.set.judge(&q.found, &q.view, q.request)
}

// judge is cedar's answer under our rule for errors: cedar skips a policy that errs, and so a forbid that errs would allow.
func (s *Set) judge(policies cedar.PolicyIterator, entities types.EntityGetter, r types.Request) Decision {
	answer, diagnostic := cedar.Authorize(policies, entities, r)
	d := Decision{Version: s.version}
	switch {
	case answer == cedar.Deny && len(diagnostic.Reasons) > 0:
		d.Reason = reasonForbid
	case len(diagnostic.Errors) > 0:
		d.Reason = reasonError
		for _, e := range diagnostic.Errors {
			d.Policies = append(d.Policies, string(e.PolicyID))
		}
		slices.Sort(d.Policies)
		d.Policies = slices.Compact(d.Policies)
		return d
	case answer == cedar.Allow:
		d.Allowed = true
	default:
		d.Reason = reasonNoPermit
		return d
	}
	d.Policies = make([]string, len(diagnostic.Reasons))
	for i, r := range diagnostic.Reasons {
		d.Policies[i] = string(r.PolicyID)
	}
	slices.Sort(d.Policies)
	d.Policies = slices.Compact(d.Policies)
	return d
}

// String is for logs and tests.
func (d Decision) String() string {
	if d.Allowed {
		return fmt.Sprintf("allowed by %v", d.Policies)
	}
	return fmt.Sprintf("refused: %s %v", d.Reason, d.Policies)
}
