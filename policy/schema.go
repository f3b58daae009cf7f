package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// The fixed names of the schema.
const (
	actionExchange = "exchange"
	actionCall     = "call"
	actionDetail   = "detail"

	detailPrefix = actionDetail + "." // an action for each type of authorization_details: "detail.payment"

	typeOrg        types.EntityType = "Org"
	typeUser       types.EntityType = "User"
	typeGroup      types.EntityType = "Group"
	typeAgent      types.EntityType = "Agent"
	typeAgentGroup types.EntityType = "AgentGroup"
	typeProvider   types.EntityType = "Provider"
	typeScope      types.EntityType = "Scope"
	typeTool       types.EntityType = "Tool"
	typeResource   types.EntityType = "Resource"
	typeConnection types.EntityType = "Connection"
	typeDetailType types.EntityType = "DetailType"
	typeAction     types.EntityType = "Action"
)

// fixedSchema is the part that every org has. An author reads it, so it says what the values mean.
const fixedSchema = `// Ids carry the org: Agent::"acme/researcher", User::"acme/okta|00u1", Group::"acme/engineering", Connection::"acme/c1",
// Resource::"acme/https://executor.example". A policy of an org names its own Org, User, Group, Agent, AgentGroup, Resource
// and Connection only. Providers, scopes, tools, types of authorization_details and actions have plain ids.

entity Org;
entity Group in [Org];
entity User in [Group, Org];
entity AgentGroup in [Org];
entity Agent in [AgentGroup, Org] { owner: String, external: Bool };
entity Provider;
entity Scope in [Provider];
entity Tool in [Provider];
entity Resource in [Org];
entity Connection in [Provider, Org] {
  owner?: User, // absent when the org shares the connection
  shared: Bool
};
entity DetailType;

// May this agent have this scope? Asked for each scope of a token before the token is signed.
action "exchange" appliesTo {
  principal: [Agent], // the actor of the token
  resource: [Scope],
  context: {
` + mintContext + `
  }
};
`

const callSchema = `
// May this agent make this call with these arguments? One action for each tool, in its groups.
action "call";
`

// mintContext is what policy knows at the mint, of a scope and of a detail alike.
const mintContext = `    subject: User, // on whose behalf
    chain: Set<Agent>, // every agent of the chain, the actor too
    depth: Long, // hops, from 1
    audience: Resource, // what the token is for
    life: Long, // seconds
    now: datetime,
    amr: Set<String>, // how the user signed in; empty when unknown
    acr?: String,
    client_ip?: ipaddr`

const callContext = `    subject: User,
    depth: Long,
    scopes: Set<String>, // of the token
    now: datetime,
    approved: Bool, // a person approved this very call
    tool: Tool,
    amr: Set<String>,
    acr?: String,
`

const maxTools = 2000

// toolAction is a tool with the shape of its arguments.
type toolAction struct {
	tool     Tool
	provider string
	args     *shape
	details  []detailType // those that govern it, by name
}

// collectTools checks the tools of a bundle, by name.
func collectTools(providers []Provider, found *findings) map[string]toolAction {
	out := map[string]toolAction{}
	groups := map[string]bool{actionExchange: true, actionCall: true, actionDetail: true}
	for _, p := range providers {
		for _, t := range p.Tools {
			for _, g := range t.Groups {
				groups[g] = true
			}
		}
	}
	for _, p := range providers {
		for _, t := range p.Tools {
			bad := func(format string, args ...any) {
				where := fmt.Sprintf("provider %q, tool %q: ", clip(p.Name), clip(t.Name))
				found.add(Problem{Message: where + fmt.Sprintf(format, args...)})
			}
			_, twice := out[t.Name]
			switch i := slices.IndexFunc(t.Groups, func(g string) bool { return !isName(g) || reserved(g) }); {
			case !isName(t.Name):
				bad("the name must be 1 to 128 printable ASCII characters without quotes")
				continue
			case t.Provider != "" && t.Provider != p.Name:
				bad("it says that its provider is %q", clip(t.Provider))
				continue
			case twice:
				bad("the name is taken by another tool")
				continue
			case strings.HasPrefix(t.Name, detailPrefix):
				bad("names that begin with %q are those of authorization_details", detailPrefix)
				continue
			case groups[t.Name]:
				bad("the name is that of a group of actions")
				continue
			case i >= 0:
				bad("%q is no name of a group", clip(t.Groups[i]))
				continue
			case len(out) == maxTools:
				found.add(Problem{Message: fmt.Sprintf("more than %d tools", maxTools)})
				return out
			}
			args, err := parseArguments(t.Args)
			if err != nil {
				bad("%v", err)
				continue
			}
			out[t.Name] = toolAction{tool: t, provider: p.Name, args: args}
		}
	}
	return out
}

// reserved reports whether a group would put tools among the questions of the mint.
func reserved(group string) bool {
	return group == actionExchange || group == actionDetail || strings.HasPrefix(group, detailPrefix)
}

// schemaText writes the schema of a bundle in Cedar's notation. Equal bundles have equal schemas.
func schemaText(tools map[string]toolAction, details map[string]detailType) string {
	var b strings.Builder
	b.WriteString(fixedSchema)
	writeDetailActions(&b, details)
	b.WriteString(callSchema)
	groups := map[string]bool{}
	for _, t := range tools {
		for _, g := range t.tool.Groups {
			groups[g] = true
		}
	}
	delete(groups, actionCall)
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(&b, "action %q in [%q];\n", g, actionCall)
	}
	for _, name := range slices.Sorted(maps.Keys(tools)) {
		t := tools[name]
		fmt.Fprintf(&b, "\naction %q in [%s] appliesTo {\n  principal: [Agent],\n  resource: [Connection],\n  context: {\n%s",
			name, quoteAll(t.groups()), callContext)
		t.writeDetails(&b)
		b.WriteString("    args: ")
		t.args.write(&b, "    ")
		b.WriteString("\n  }\n};\n")
	}
	return b.String()
}

func (t toolAction) groups() []string {
	if len(t.tool.Groups) == 0 {
		return []string{actionCall}
	}
	return slices.Compact(slices.Sorted(slices.Values(t.tool.Groups)))
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return strings.Join(quoted, ", ")
}

// write writes a shape as a type. What policy does not see stands in a comment, so that no author wonders.
func (s *shape) write(b *strings.Builder, indent string) {
	switch s.kind {
	case shapeString:
		b.WriteString("String")
	case shapeLong:
		b.WriteString("Long")
	case shapeDecimal:
		b.WriteString("decimal")
	case shapeBool:
		b.WriteString("Bool")
	case shapeSet:
		b.WriteString("Set<")
		s.element.write(b, indent)
		b.WriteString(">")
	case shapeRecord:
		s.writeRecord(b, indent)
	case shapeHidden: // never reached: who holds it writes a comment
	}
}

func (s *shape) writeRecord(b *strings.Builder, indent string) {
	b.WriteString("{")
	var shown []string
	inner := indent + "  "
	for _, name := range slices.Sorted(maps.Keys(s.fields)) {
		if f := s.fields[name]; f.shape.kind != shapeHidden {
			shown = append(shown, name)
		} else {
			fmt.Fprintf(b, "\n%s// %s is not visible to policy: %s", inner, strconv.QuoteToASCII(clip(name)), f.shape.why)
		}
	}
	if s.open {
		fmt.Fprintf(b, "\n%s// members that are not named here may come, and are not visible to policy", inner)
		if s.why != "" {
			fmt.Fprintf(b, ": %s", s.why)
		}
	}
	for i, name := range shown {
		f := s.fields[name]
		optional := "?"
		if f.required {
			optional = ""
		}
		fmt.Fprintf(b, "\n%s%q%s: ", inner, name, optional)
		f.shape.write(b, inner)
		if i < len(shown)-1 {
			b.WriteString(",")
		}
		if f.shape.kind == shapeDecimal {
			b.WriteString(" // at most four decimal places; more is refused")
		}
	}
	fmt.Fprintf(b, "\n%s}", indent)
}

// resolve parses what schemaText wrote.
func resolve(text string) (*resolved.Schema, error) {
	var s schema.Schema
	s.SetFilename("schema")
	if err := s.UnmarshalCedar([]byte(text)); err != nil {
		return nil, fmt.Errorf("policy: generated schema: %w", err)
	}
	r, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("policy: generated schema: %w", err)
	}
	return r, nil
}

func action(name string) types.EntityUID { return types.NewEntityUID(typeAction, types.String(name)) }

// names are all that an author may write, for hints.
func entityTypes(s *resolved.Schema) []string {
	out := []string{string(typeAction)}
	for t := range s.Entities {
		out = append(out, string(t))
	}
	return out
}

func actionNames(s *resolved.Schema) []string {
	out := make([]string, 0, len(s.Actions))
	for a := range s.Actions {
		out = append(out, string(a.ID))
	}
	return out
}

// attributes lists the names of a record and of the records in it.
func attributes(r resolved.RecordType) []string {
	var out []string
	for name, a := range r {
		out = append(out, string(name))
		if inner, ok := a.Type.(resolved.RecordType); ok {
			out = append(out, attributes(inner)...)
		}
	}
	slices.SortFunc(out, cmp.Compare)
	return out
}
