// Package story tells the main job from end to end against running servers, and checks itself: a user's ID token becomes a
// provider call through two hops, everything that must be refused is refused, the trail has it all, and one revocation stops
// the whole tree.
package story

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/dev"
	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/cmd/obo/internal/sample"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// agent is one agent as a client of the token server.
type agent struct {
	name   string
	id     string // client id
	secret telemetry.Secret
	key    jose.Signer
}

// World is where the story happens: two servers, two orgs, three agents and a user.
type World struct {
	issuer, audience, org, org2, provider, state string
	orchestrator, researcher, stranger           agent
	alice, operator                              telemetry.Secret
	stsAddress, executorAddress                  string
	sts                                          *remote.STS
	executor                                     *remote.Executor
}

// NewWorld reads a world from the variables of an env file, and connects. env finds a variable.
func NewWorld(env func(string) (string, bool)) (*World, error) {
	get := map[string]string{}
	for _, name := range dev.Names() {
		v, ok := env(name)
		if !ok || v == "" {
			return nil, explain.Misuse("there is no environment to tell the story in", name+" is not set",
				"leave --running out, or give --env FILE of an obo dev")
		}
		get[name] = v
	}
	w := &World{issuer: get["OBO_ISSUER"], audience: get["OBO_EXECUTOR_AUDIENCE"], org: get["OBO_ORG"], org2: get["OBO_ORG2"],
		provider: get["OBO_PROVIDER_URL"], state: filepath.Dir(get["OBO_USER_TOKEN_FILE"])}
	for prefix, a := range map[string]*agent{
		"OBO_ORCHESTRATOR": &w.orchestrator, "OBO_RESEARCHER": &w.researcher, "OBO_ORG2_AGENT": &w.stranger,
	} {
		key, err := remote.ReadKey(get[prefix+"_KEY"])
		if err != nil {
			return nil, err
		}
		*a = agent{name: get[prefix+"_ID"], id: get[prefix+"_ID"], secret: telemetry.Secret(get[prefix+"_SECRET"]), key: key}
	}
	var err error
	if w.alice, err = remote.ReadSecret(get["OBO_USER_TOKEN_FILE"], nil); err != nil {
		return nil, err
	}
	if w.operator, err = remote.ReadSecret(get["OBO_ADMIN_TOKEN_FILE"], nil); err != nil {
		return nil, err
	}
	w.stsAddress, w.executorAddress = get["OBO_STS_GRPC"], get["OBO_EXECUTOR_GRPC"]
	if w.sts, err = remote.NewSTS(get["OBO_STS_GRPC"], ""); err != nil {
		return nil, err
	}
	w.executor, err = remote.NewExecutor(get["OBO_EXECUTOR_GRPC"], "")
	return w, err
}

// Close ends the connections.
func (w *World) Close() {
	_ = w.sts.Conn.Close()
	if w.executor != nil {
		_ = w.executor.Conn.Close()
	}
}

// first asks for a first hop.
func (w *World) first(ctx context.Context, a agent, idToken telemetry.Secret, scope string) (*obov1.ExchangeResponse, error) {
	return w.sts.Exchange.Exchange(remote.Basic(ctx, a.id, a.secret), &obov1.ExchangeRequest{
		SubjectToken: idToken.Reveal(), SubjectTokenType: remote.TypeIDToken, Resource: []string{w.audience}, Scope: scope})
}

// handOn asks, as the holder of a token, for a token of the next agent, who proves itself by a fresh assertion.
func (w *World) handOn(ctx context.Context, holder agent, token string, next agent, scope string) (*obov1.ExchangeResponse, error) {
	assertion, err := remote.Agent{ID: next.id, Key: next.key}.ActorToken(w.issuer, time.Now())
	if err != nil {
		return nil, err
	}
	return w.sts.Exchange.Exchange(remote.Basic(ctx, holder.id, holder.secret), &obov1.ExchangeRequest{
		SubjectToken: token, SubjectTokenType: remote.TypeAccessToken, Resource: []string{w.audience}, Scope: scope,
		ActorToken: assertion.Reveal(), ActorTokenType: remote.TypeJWT})
}

// present presents a token of ours without an actor token: a continuation, or a theft.
func (w *World) present(ctx context.Context, a agent, token, scope string) (*obov1.ExchangeResponse, error) {
	return w.sts.Exchange.Exchange(remote.Basic(ctx, a.id, a.secret), &obov1.ExchangeRequest{
		SubjectToken: token, SubjectTokenType: remote.TypeAccessToken, Resource: []string{w.audience}, Scope: scope})
}

// call calls a tool.
func (w *World) call(ctx context.Context, token, tool, args string) (*obov1.ExecuteResponse, error) {
	return w.executor.Executor.Execute(remote.Bearer(ctx, telemetry.Secret(token)), &obov1.ExecuteRequest{Tool: tool, Arguments: args})
}

// probe asks the executor whether it takes a token.
func (w *World) probe(ctx context.Context, token string) error {
	_, err := w.executor.Executor.ListTools(remote.Bearer(ctx, telemetry.Secret(token)), &obov1.ListToolsRequest{})
	return err
}

// signIn signs somebody in at the sample OpenID provider.
func (w *World) signIn(ctx context.Context, user, org, audience string) (telemetry.Secret, error) {
	return dev.MintIDToken(ctx, w.state, sample.MintRequest{User: user, Org: org, Audience: audience})
}

// records reads what both servers recorded of an action or of a whole transaction; empty for all of the org.
func (w *World) records(ctx context.Context, org, action string) ([]render.Entry, error) {
	ctx = remote.Bearer(ctx, w.operator)
	sts, err := all(ctx, w.sts.Audit, org, action)
	if err != nil {
		return nil, fmt.Errorf("the token server's trail: %w", err)
	}
	executor, err := all(ctx, w.executor.Audit, org, action)
	if err != nil {
		return nil, fmt.Errorf("the executor's trail: %w", err)
	}
	return render.Merge(sts, executor), nil
}

func all(ctx context.Context, c obov1.AuditServiceClient, org, action string) ([]*obov1.AuditRecord, error) {
	var out []*obov1.AuditRecord
	for after := uint64(0); ; {
		resp, err := c.ListRecords(ctx, &obov1.ListRecordsRequest{OrgId: org, ActionId: action, After: after, PageSize: 1000})
		if err != nil {
			return nil, err
		}
		out = append(out, resp.GetRecords()...)
		if after = resp.GetNext(); after == 0 {
			return out, nil
		}
	}
}

// decision finds the record of a decision. A refusal that did not say its action id is the newest of the client's org.
func (w *World) decision(ctx context.Context, org, action, outcome string) *obov1.AuditRecord {
	entries, err := w.records(ctx, org, action)
	if err != nil {
		return nil
	}
	for _, e := range slices.Backward(entries) {
		if kind := e.Record.GetKind(); e.Record.GetOutcome() == outcome && (kind == "exchange" || kind == "call.intent") {
			return e.Record
		}
	}
	return nil
}
