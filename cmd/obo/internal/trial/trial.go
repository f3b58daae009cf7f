// Package trial tries a provider's record at the live provider, step by step, as the executor would use it. Of a step that fails
// it says what somebody who mends the record needs to see: what was asked and what came, with every value taken out.
package trial

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/vault"
)

// Status is how a step went.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Failed  Status = "failed"
	Skipped Status = "skipped"
)

// Step is one step and what was seen, without any secret.
type Step struct {
	Name       string    `json:"step"`
	Status     Status    `json:"status"`
	Seen       []string  `json:"seen,omitempty"`
	Understood string    `json:"understood,omitempty"` // what the record made of it
	Expected   string    `json:"expected,omitempty"`   // of a step that failed
	Exchange   *Exchange `json:"exchange,omitempty"`   // the last request of the step; nil when there was none
}

// Answers is where a browser comes back to.
type Answers interface {
	RedirectURI() string
	Wait(ctx context.Context) (url.Values, error)
}

// Trial is what is tried, and with what.
type Trial struct {
	Provider   connection.Provider
	Pattern    connection.Pattern
	Client     connection.Client // with the settings that a client or a user says
	Credential vault.Credential  // of every pattern but oauth
	Scopes     []string          // of the record
	Tool       *connection.Tool  // nil: none can be called
	Arguments  connection.Arguments

	Reuse bool // send a refresh token that was spent once more
	Keep  bool // do not revoke at the end

	HTTP    *http.Client
	Browser Answers          // for oauth
	Open    func(url string) // lets the person's browser open it
	Within  time.Duration    // how long the person may take
	Now     func() time.Time
	Show    func(Step) // each step as it ends
}

// askFor bounds one request.
const askFor = 30 * time.Second

// run is a trial under way.
type run struct {
	Trial
	settings map[string]string
	secrets  []connection.Scrubber
	held     vault.Credential // what the provider gave last
	steps    []Step
}

// Run goes through the steps of the pattern, and ends early only when ctx does.
func (t Trial) Run(ctx context.Context) []Step {
	r := &run{Trial: t, settings: map[string]string{}}
	for name, value := range t.Client.Settings {
		r.settings[name] = value
	}
	client := *t.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // as the executor
	r.HTTP = &client
	r.secrets = append(r.secrets, connection.NewScrubber(t.Client.Secret), connection.NewScrubber(t.Credential))
	switch t.Pattern {
	case connection.OAuth:
		r.oauth(ctx)
	case connection.ServiceAccount:
		if r.step(ctx, "mint", r.mint) {
			r.spend(ctx)
		} else {
			r.skip("there is no token", "probe", "tool")
		}
	default:
		r.held = t.Credential
		r.spend(ctx)
	}
	return r.steps
}

// spend uses what there is.
func (r *run) spend(ctx context.Context) {
	r.step(ctx, "probe", r.probe)
	r.step(ctx, "tool", r.tool)
}

// step runs one and reports whether there is what the next ones need.
func (r *run) step(ctx context.Context, name string, f func(context.Context, *Step)) bool {
	s := Step{Name: name, Status: OK}
	if ctx.Err() != nil {
		s.Status, s.Seen = Skipped, []string{"interrupted"}
	} else {
		f(ctx, &s)
	}
	r.end(s)
	return s.Status == OK
}

func (r *run) skip(why string, names ...string) {
	for _, name := range names {
		r.end(Step{Name: name, Status: Skipped, Seen: []string{why}})
	}
}

// end is the one way out for a step: whatever the steps put into it, no secret that is known by now goes out.
func (r *run) end(s Step) {
	for i, text := range s.Seen {
		s.Seen[i] = r.clean(text)
	}
	s.Understood, s.Expected = r.clean(s.Understood), r.clean(s.Expected)
	r.steps = append(r.steps, s)
	r.Show(s)
}

// hide makes secrets known, so that nothing shows them from here on.
func (r *run) hide(secrets ...string) {
	for _, s := range secrets {
		if s != "" {
			r.secrets = append(r.secrets, connection.NewScrubber(vault.NewCredential("", []byte(s))))
		}
	}
}

func (r *run) clean(text string) string {
	for _, s := range r.secrets {
		text = s.Text(text)
	}
	return text
}

func (s *Step) see(format string, args ...any) { s.Seen = append(s.Seen, fmt.Sprintf(format, args...)) }

func (s *Step) skip(format string, args ...any) {
	s.Status = Skipped
	s.see(format, args...)
}

func (s *Step) fail(understood, expected string) {
	s.Status, s.Understood, s.Expected = Failed, understood, expected
}

// take keeps a grant as the executor would: what did not come stays as it was.
func (r *run) take(g connection.Grant) {
	refresh := g.Refresh
	if refresh == nil {
		refresh = r.held.Refresh()
	}
	r.hide(string(g.Access), string(g.Refresh))
	r.held = vault.NewGrant(g.Access, refresh)
	for name, value := range g.Settings {
		r.settings[name] = value
	}
}

// client is the client with the settings that are known by now.
func (r *run) client() connection.Client {
	c := r.Client
	c.Settings = r.settings
	return c
}

// grant sends a request to a token endpoint and shows what came. It reports the failure when there is no grant.
func (r *run) grant(ctx context.Context, s *Step, request *http.Request) (connection.Grant, *connection.Refusal) {
	a := r.send(ctx, s, request)
	if a.err != nil {
		return connection.Grant{}, &connection.Refusal{Failure: connection.Failure{Kind: connection.Unavailable}}
	}
	now := r.Now()
	g, err := r.Provider.ReadGrant(r.Pattern, a.status, a.header, a.body, now)
	refusal, refused := errors.AsType[*connection.Refusal](err)
	switch {
	case refused:
		s.see("understood: %s", meaning(refusal))
		return g, refusal
	case err != nil:
		return g, &connection.Refusal{Failure: connection.Failure{Kind: connection.BadResponse}, Status: a.status}
	}
	r.hide(string(g.Access), string(g.Refresh))
	s.see("access token: %s", life(g.Expires, now))
	switch {
	case g.Refresh != nil:
		s.see("refresh token: came, %s", life(g.RefreshExpires, now))
	case r.Pattern == connection.OAuth:
		s.see("refresh token: none came")
	}
	if len(g.Settings) > 0 {
		s.see("settings that it says: %s", strings.Join(sortedNames(g.Settings), " "))
	}
	if g.Account != "" {
		s.see("account: %s", masked(g.Account))
	}
	return g, nil
}

// granted compares the scopes.
func (r *run) granted(s *Step, g connection.Grant, asked []string) {
	if len(asked) > 0 {
		s.see("scopes asked for: %s", strings.Join(asked, " "))
	}
	if g.Scopes == nil {
		s.see("scopes granted: not said, so as asked (RFC 6749 section 5.1)")
		return
	}
	shown := make([]string, len(g.Scopes))
	for i, scope := range g.Scopes {
		shown[i] = scopeText(scope, asked)
	}
	s.see("scopes granted: %s", strings.Join(shown, " "))
	if missing := r.Provider.Missing(g.Scopes, asked); len(missing) > 0 {
		s.fail("granted without "+strings.Join(missing, " "), "every scope that was asked for, or one that the record says implies it")
	}
}

func (r *run) mint(ctx context.Context, s *Step) {
	scopes := r.Provider.ScopesFor(r.Pattern, r.Scopes)
	request, g, err := r.Provider.MintRequest(ctx, r.client(), r.Credential, scopes, r.Now())
	switch {
	case err != nil:
		s.fail(reason(err), "a request that can be built")
		return
	case request == nil:
		s.see("the account signs its token itself: %s", life(g.Expires, r.Now()))
	default:
		var refusal *connection.Refusal
		if g, refusal = r.grant(ctx, s, request); refusal != nil {
			s.fail(meaning(refusal), "a 2xx answer with an access token where the record says")
			return
		}
		r.granted(s, g, scopes)
	}
	r.take(g)
}

// probe asks whose the credential is.
func (r *run) probe(ctx context.Context, s *Step) {
	request, err := r.Provider.ProbeRequest(ctx, r.settings)
	switch {
	case err != nil:
		s.fail(reason(err), "a request that can be built")
		return
	case request == nil:
		s.skip("the record has no probe")
		return
	}
	if err := r.Provider.AuthorizeProbe(request, r.Pattern, r.held); err != nil {
		s.fail(reason(err), "a request that takes the credential")
		return
	}
	a := r.send(ctx, s, request)
	account, settings, accepted := r.Provider.ReadProbe(a.status, a.body, connection.NewScrubber(r.held))
	for name, value := range settings {
		r.settings[name] = value
	}
	if len(settings) > 0 {
		s.see("settings that it says: %s", strings.Join(sortedNames(settings), " "))
	}
	switch {
	case a.err != nil:
		s.fail("no answer", "a 2xx answer")
	case !accepted:
		s.fail("the credential is not accepted", "a 2xx answer")
	case a.status < 200 || a.status > 299:
		s.fail("nothing is known of the credential", "a 2xx answer")
	case account == "" && r.Provider.NamesAccount():
		s.fail("the account has no name", "a name where probe/account of the record points")
	case account != "":
		s.see("account: %s", masked(account))
	}
}

// tool calls a tool that only reads.
func (r *run) tool(ctx context.Context, s *Step) {
	if r.Tool == nil {
		s.skip("no tool that only reads can do without arguments; --tool and --args say another")
		return
	}
	s.see("%s", r.Tool.Name())
	a, failure, bad := r.call(ctx, s)
	expected := "a 2xx answer that is understood as a result"
	switch {
	case s.Status == Failed:
	case a.err != nil:
		s.fail("no answer", expected)
	case bad:
		s.fail(string(failure.Kind), expected)
	default:
		result, err := r.Tool.Result(a.body, connection.NewScrubber(r.held))
		if err != nil {
			s.fail(err.Error(), "an answer that has what the record's result names")
			return
		}
		s.see("result: %s", oneLine(shape(result, "application/json", false, r.clean)))
	}
}

// call sends the request of the tool and reads the answer.
func (r *run) call(ctx context.Context, s *Step) (a answer, failure connection.Failure, bad bool) {
	placed, err := r.Tool.At(r.settings)
	var request *http.Request
	if err == nil {
		request, err = placed.Request(ctx, r.Arguments, "obo-providers-test")
	}
	if err == nil {
		err = placed.Provider().Authorize(request, r.Pattern, r.held)
	}
	if err != nil {
		s.fail(reason(err), "a request that can be built")
		return a, failure, true
	}
	if a = r.send(ctx, s, request); a.err == nil {
		failure, bad = placed.Classify(a.status, a.header, a.body, r.Pattern, r.Now())
	}
	return a, failure, bad
}

// life is how long something lives.
func life(end, now time.Time) string {
	if end.IsZero() {
		return "no end is said"
	}
	return "lives " + end.Sub(now).Round(time.Second).String()
}

func meaning(r *connection.Refusal) string {
	if r.Code == "" {
		return fmt.Sprintf("%s (%s)", r.Kind, r.Evidence())
	}
	return fmt.Sprintf("%s (HTTP %d, %s)", r.Kind, r.Status, errorCode(r.Code))
}

// reason is an error of connection's, which holds no value, without its package's name.
func reason(err error) string { return strings.ReplaceAll(err.Error(), "connection: ", "") }

// masked lets its owner know a name, and nobody else.
func masked(name string) string {
	all := []rune(name)
	return fmt.Sprintf("%c…%c (%d characters)", all[0], all[len(all)-1], len(all))
}

func sortedNames(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
