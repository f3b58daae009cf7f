package story

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// Step is one step of the story and whether it turned out as it should.
type Step struct {
	Name     string   `json:"name"`
	OK       bool     `json:"ok"`
	Result   string   `json:"result"`           // what came of it, or the refusal
	Reason   string   `json:"reason,omitempty"` // of a refusal
	Action   string   `json:"action_id,omitempty"`
	Policies []string `json:"policies,omitempty"` // that determined it
	Version  string   `json:"policy_version,omitempty"`
	Problem  string   `json:"problem,omitempty"` // why it is not ok
}

// Report is the whole story for a program.
type Report struct {
	OK           bool             `json:"ok"`
	Steps        []Step           `json:"steps"`
	Subject      string           `json:"subject"`
	Chain        []string         `json:"chain"` // of the last token, current actor first
	Transaction  string           `json:"transaction"`
	Answer       string           `json:"answer"` // the provider's
	Trail        []map[string]any `json:"trail"`
	Orchestrator time.Duration    `json:"revoke_to_refusal_orchestrator_ns"`
	Researcher   time.Duration    `json:"revoke_to_refusal_researcher_ns"`
}

// teller tells while things happen.
type teller struct {
	*World
	p      render.Printer // writes nothing when JSON is asked for
	report Report

	first, second string // the tokens of the two hops
}

// Tell tells the story. The report says whether everything turned out as it should; an error means that the telling itself
// broke down.
func Tell(ctx context.Context, w *World, p render.Printer) (Report, error) {
	t := &teller{World: w, p: p}
	for _, chapter := range []func(context.Context) error{t.hops, t.calls, t.refusals, t.boundaries, t.trail, t.revocation} {
		if err := chapter(ctx); err != nil {
			return t.report, err
		}
	}
	t.report.OK = true
	good := 0
	for _, s := range t.report.Steps {
		t.report.OK = t.report.OK && s.OK
		if s.OK {
			good++
		}
	}
	verdict := p.Green("everything turned out as it should")
	if !t.report.OK {
		verdict = p.Red("not everything turned out as it should")
	}
	t.say("\n%s: %d of %d steps\n", verdict, good, len(t.report.Steps))
	return t.report, nil
}

func (t *teller) say(format string, args ...any) {
	if !t.p.JSON {
		t.p.Printf(format, args...)
	}
}

func (t *teller) chapter(title string) { t.say("\n%s\n", t.p.Bold(title)) }

// done notes a step and says how it went.
func (t *teller) done(s Step) {
	t.report.Steps = append(t.report.Steps, s)
	mark := t.p.Green("✓")
	if !s.OK {
		mark = t.p.Red("✗")
	}
	t.say("\n %s %s\n", mark, t.p.Bold(s.Name))
	if s.Result != "" {
		t.say("   %s\n", render.Clean(s.Result))
	}
	if len(s.Policies) > 0 {
		t.say("   %s %s\n", t.p.Dim("policy"), fmt.Sprintf("%s (version %s)", strings.Join(s.Policies, ", "), s.Version))
	}
	if s.Action != "" {
		t.say("   %s %s\n", t.p.Dim("action"), s.Action)
	}
	if s.Problem != "" {
		t.say("   %s\n", t.p.Red(render.Clean(s.Problem)))
	}
}

// decided adds a decision's evidence to a step. A step that policy decides must name the policies that did.
func (s *Step) decided(r *obov1.AuditRecord, mustName bool) {
	if r == nil {
		s.OK, s.Problem = false, "the trail has no record of this decision"
		return
	}
	s.Action, s.Policies, s.Version = r.GetActionId(), r.GetPolicyIds(), r.GetPolicyVersion()
	if mustName && len(s.Policies) == 0 {
		s.OK, s.Problem = false, "the trail names no policy for this decision"
	}
}

// failed is a step that should have succeeded.
func failed(name string, err error) Step {
	return Step{Name: name, Problem: explain.Of("it was refused", err).Error()}
}

// refusal is what a refused attempt must look like.
type refusal struct {
	name    string
	reasons []string // any of these ErrorInfo reasons
	policy  string   // the policy that must have refused, when policy did
	org     string   // whose trail has it
	err     error
}

// refused notes an attempt that must fail, and for the right reason.
func (t *teller) refused(ctx context.Context, r refusal) {
	s := Step{Name: r.name}
	if r.err == nil {
		s.Problem = "it succeeded, and must not"
		t.done(s)
		return
	}
	p := explain.Of("refused", r.err)
	s.Reason = p.Reason
	s.Result = fmt.Sprintf("%s, %s: %s", status.Code(r.err), p.Reason, p.Why)
	for _, want := range r.reasons {
		s.OK = s.OK || p.Reason == want
	}
	if !s.OK {
		s.Problem = "the reason must be " + strings.Join(r.reasons, " or ")
	}
	if r.org != "" {
		record := t.decision(ctx, r.org, p.Action, "refused")
		s.decided(record, r.policy != "")
		if r.policy != "" && s.OK && !strings.Contains(strings.Join(s.Policies, " "), r.policy) {
			s.OK, s.Problem = false, "policy "+r.policy+" must have refused it"
		}
	}
	t.done(s)
}
