package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/onbehalf/obo/delegation"
)

// checker validates policies against one schema.
type checker struct {
	org    delegation.OrgID
	schema *resolved.Schema
	views  map[string]*schemaView
	work   int
	absent map[string]bool // actions that platform policies name and this org does not have
}

// schemaView is a validator that looks at the actions of one scope only, so that the cost of a policy does not grow with tools
// that it is not about. The other actions stay known by name.
type schemaView struct {
	validator *validate.Validator
	actions   int
}

// maxWork bounds the checking of a set: the sum of each policy's words times the actions that it applies to.
const maxWork = 5_000_000

func newChecker(org delegation.OrgID, s *resolved.Schema) *checker {
	return &checker{org: org, schema: s, views: map[string]*schemaView{}, absent: map[string]bool{}}
}

func (c *checker) view(p parsed) *schemaView {
	var named []types.EntityUID
	switch scope := p.ast().Action.(type) {
	case ast.ScopeTypeEq:
		named = []types.EntityUID{scope.Entity}
	case ast.ScopeTypeIn:
		named = []types.EntityUID{scope.Entity}
	case ast.ScopeTypeInSet:
		named = scope.Entities
	case ast.ScopeTypeAll:
		named = []types.EntityUID{action(actionExchange), action(actionCall)}
		if c.schema.Actions[action(actionDetail)].AppliesTo == nil || isAboutDetails(p.ast().Resource) {
			named = append(named, action(actionDetail))
		}
	}
	key := fmt.Sprint(named)
	if v, ok := c.views[key]; ok {
		return v
	}
	v := &schemaView{}
	narrow := *c.schema
	narrow.Actions = make(map[types.EntityUID]resolved.Action, len(c.schema.Actions))
	for uid, a := range c.schema.Actions {
		if a.AppliesTo != nil && c.isIn(uid, named) {
			v.actions++
		} else {
			a.AppliesTo = nil
		}
		narrow.Actions[uid] = a
	}
	v.validator = validate.New(&narrow, validate.WithStrict())
	c.views[key] = v
	return v
}

// isAboutDetails reports whether a resource's scope is that of details alone. Where no type is registered, the other policies
// are not checked for details too: whatever holds of a scope holds of the group that stands for them.
func isAboutDetails(scope ast.IsScopeNode) bool {
	is := constraintOf(scope)
	return is.entity.Type == typeDetailType
}

// isIn reports whether an action is one of these or in one of these groups.
func (c *checker) isIn(uid types.EntityUID, named []types.EntityUID) bool {
	if slices.Contains(named, uid) {
		return true
	}
	for parent := range c.schema.Actions[uid].Entity.Parents.All() {
		if c.isIn(parent, named) {
			return true
		}
	}
	return false
}

// maxPerPolicy bounds the problems of one policy: a wrong attribute is wrong for every action that the policy applies to.
const maxPerPolicy = 5

// check reports what is wrong with one policy.
func (c *checker) check(p parsed, found *findings) bool {
	problems := c.foreign(p)
	view := c.view(p)
	before := c.work
	c.work += len(p.statement.tokens) * view.actions
	if c.work > maxWork {
		if before <= maxWork {
			found.add(p.problem("from here on, checking the policies takes too long",
				"name the actions that a policy is about in its scope"))
		}
		return false
	}
	if err := view.validator.Policy("", p.ast()); err != nil {
		problems = append(problems, c.explain(p, messages(err))...)
	}
	if more := len(problems) - maxPerPolicy; more > 0 {
		problems = problems[:maxPerPolicy]
		problems[maxPerPolicy-1].Hint += fmt.Sprintf("; and %d more in this policy", more)
	}
	for _, problem := range problems {
		found.add(problem)
	}
	return len(problems) == 0
}

// messages flattens a validator's errors. It walks maps, so they are sorted here.
func messages(err error) []string {
	var out []string
	var walk func(error)
	walk = func(err error) {
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				walk(e)
			}
			return
		}
		out = append(out, err.Error())
	}
	walk(err)
	slices.Sort(out)
	return slices.Compact(out)
}

var (
	unknownAttribute = regexp.MustCompile("(?s)^attribute `(.*)` " +
		"(?:on entity types? `([^`]*)`.*|in context for Action::\"(.*)\") not found$")
	optionalAccess = regexp.MustCompile("(?s)^unable to guarantee safety of access to optional attribute `([^`]*)`(?: in context)?")
	unknownAction  = regexp.MustCompile("(?s)^unrecognized action `Action::\"(.*)\"`$")
	unknownType    = regexp.MustCompile("(?s)^unrecognized entity type `(.*)`$")
)

const notApplicable = "unable to find an applicable action given the policy scope constraints"

// explain gives each message of the validator its place and what was meant.
func (c *checker) explain(p parsed, messages []string) []Problem {
	var out []Problem
	inapplicable := false
	for _, m := range messages {
		if m == notApplicable { // mostly the consequence of another problem
			inapplicable = true
			continue
		}
		problem := c.explainOne(p, m)
		same := func(o Problem) bool {
			return o.Line == problem.Line && o.Column == problem.Column && o.Hint == problem.Hint
		}
		if problem.Hint == "" || !slices.ContainsFunc(out, same) { // one wrong name, seen for many actions
			out = append(out, problem)
		}
	}
	if inapplicable && len(out) == 0 {
		out = append(out, p.problem("no action fits the policy's scope",
			"a principal is an Agent; a resource is a Scope for exchange, a DetailType for a detail, and a Connection for a call"))
	}
	return out
}

func (c *checker) explainOne(p parsed, m string) Problem {
	if g := unknownAttribute.FindStringSubmatch(m); g != nil {
		where, known := "`"+g[2]+"`", attributes(c.schema.Entities[types.EntityType(g[2])].Shape)
		if g[2] == "" {
			where, known = "the context of `"+g[3]+"`", nil
			if a := c.schema.Actions[action(g[3])]; a.AppliesTo != nil {
				known = attributes(a.AppliesTo.Context)
			}
		}
		name := g[1][strings.LastIndexByte(g[1], '.')+1:]
		return p.atName(name, fmt.Sprintf("%s has no attribute `%s`", where, name), nearestOf(name, known))
	}
	if g := optionalAccess.FindStringSubmatch(m); g != nil {
		name := g[1][strings.LastIndexByte(g[1], '.')+1:]
		return p.atName(name, fmt.Sprintf("the attribute `%s` may be absent", g[1]),
			fmt.Sprintf("test it first: `… has %[1]s && …`, or `if … has %[1]s then … else …`", name))
	}
	if g := unknownAction.FindStringSubmatch(m); g != nil {
		return p.atName(g[1], fmt.Sprintf("there is no action `%s`", g[1]), c.nearestAction(g[1]))
	}
	if g := unknownType.FindStringSubmatch(m); g != nil {
		return p.atName(g[1], fmt.Sprintf("there is no entity type `%s`", g[1]), nearestOf(g[1], entityTypes(c.schema)))
	}
	hint := ""
	switch {
	case strings.HasSuffix(m, "saw decimal") && strings.HasPrefix(m, "unexpected type"), strings.Contains(m, "types Long and decimal"):
		hint = `decimals compare with .lessThan(decimal("1.00")) and its like`
	case strings.HasPrefix(m, "empty set literals"):
		hint = "use .isEmpty()"
	}
	if quoted := backtick.FindStringSubmatch(m); quoted != nil {
		return p.at(quoted[1], m, hint)
	}
	return p.problem(m, hint)
}

// nearestAction is the hint for an action that does not exist.
func (c *checker) nearestAction(name string) string {
	if _, ok := c.schema.Actions[action(detailPrefix+name)]; ok {
		return fmt.Sprintf("did you mean `%s%s`?", detailPrefix, name)
	}
	if typ, ok := strings.CutPrefix(name, detailPrefix); ok && c.schema.Actions[action(actionDetail)].AppliesTo != nil {
		return fmt.Sprintf("no type of authorization_details is registered here; of any org's, write "+
			"`action in Action::%q, resource == DetailType::%q`", actionDetail, clip(typ))
	}
	return nearestOf(name, actionNames(c.schema))
}

// atName places a problem at the first use of a name: an attribute, a type, or an id in quotes.
func (p parsed) atName(name, message, hint string) Problem {
	first, _, _ := strings.Cut(name, "::")
	for i, t := range p.statement.tokens {
		word := p.source.word(t)
		before := ""
		if i > 0 {
			before = p.source.word(p.statement.tokens[i-1])
		}
		after := ""
		if i+1 < len(p.statement.tokens) {
			after = p.source.word(p.statement.tokens[i+1])
		}
		switch {
		case word == name && (before == "." || before == "has"),
			word == `"`+name+`"` && (before == "[" || before == "has" || before == "::"),
			word == first && (after == "::" || before == "is"):
			return p.source.problem(t.start, message, hint)
		}
	}
	return p.problem(message, hint)
}

// foreign reports what an org's policy names of another org (threat: tenant mix-up). The platform's may name any.
func (c *checker) foreign(p parsed) []Problem {
	if p.owner == ownerPlatform {
		return nil
	}
	var out []Problem
	named(p.ast(), func(uid types.EntityUID) {
		id := string(uid.ID)
		var hint string
		switch uid.Type {
		case typeOrg:
			if id == string(c.org) {
				return
			}
			hint = fmt.Sprintf("this org is `Org::%q`", c.org)
		case typeUser, typeGroup, typeAgent, typeAgentGroup, typeResource, typeConnection:
			if rest, ok := strings.CutPrefix(id, string(c.org)+"/"); ok && rest != "" {
				return
			}
			hint = fmt.Sprintf("ids of this org start with `%s/`", c.org)
		default:
			return
		}
		out = append(out, p.atName(id, fmt.Sprintf("`%s` is not of this org", clip(uid.String())), hint))
	})
	return out
}

// named visits every entity that a policy names, in its scope and in its conditions.
func named(p *ast.Policy, visit func(types.EntityUID)) {
	for _, scope := range []ast.IsScopeNode{p.Principal, p.Action, p.Resource} {
		switch s := scope.(type) {
		case ast.ScopeTypeEq:
			visit(s.Entity)
		case ast.ScopeTypeIn:
			visit(s.Entity)
		case ast.ScopeTypeIsIn:
			visit(s.Entity)
		case ast.ScopeTypeInSet:
			for _, e := range s.Entities {
				visit(e)
			}
		case ast.ScopeTypeAll, ast.ScopeTypeIs:
		}
	}
	for _, condition := range p.Conditions {
		ast.Inspect(ast.NewNode(condition.Body), func(n ast.IsNode) bool {
			if v, ok := n.(ast.NodeValue); ok {
				if uid, ok := v.Value.(types.EntityUID); ok {
					visit(uid)
				}
			}
			return true
		})
	}
}

// inert narrows the scope of a platform policy to the actions that this org has, and reports whether none is left: a guardrail
// on a tool that an org does not have guards nothing there, and must not keep the org from running. A wrong name is found when
// the platform's own bundle is compiled, which knows every tool.
func (c *checker) inert(p *parsed) bool {
	a := *p.ast()
	switch scope := a.Action.(type) {
	case ast.ScopeTypeEq:
		return !c.hasAction(scope.Entity)
	case ast.ScopeTypeIn:
		return !c.hasAction(scope.Entity)
	case ast.ScopeTypeInSet:
		known := slices.DeleteFunc(slices.Clone(scope.Entities), func(e types.EntityUID) bool { return !c.hasAction(e) })
		if len(known) == len(scope.Entities) {
			return false
		}
		a.Action = ast.ScopeTypeInSet{Entities: known}
		p.policy = cedar.NewPolicyFromAST((*cedarast.Policy)(&a))
		return len(known) == 0
	case ast.ScopeTypeAll:
	}
	return false
}

func (c *checker) hasAction(uid types.EntityUID) bool {
	_, ok := c.schema.Actions[uid]
	if !ok {
		c.absent[string(uid.ID)] = true
	}
	return ok
}
