package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/onbehalf/obo/delegation/rar"
)

// detailType is a type of authorization_details with what policy sees of an object of it.
type detailType struct {
	name  string
	shape *shape
}

// detail is a type as Details needs it: one action, on one resource.
type detail struct {
	detailType
	action   place
	resource place
}

// DetailTypes are the org's types of authorization_details, with which a token's are read.
func (s *Set) DetailTypes() rar.Types { return s.types }

// Details decides each of the request's details alone, and answers in their order. A detail needs a permit of its own: that
// its scopes are permitted says nothing of it.
func (s *Set) Details(r ExchangeRequest) []Decision {
	out := make([]Decision, len(r.Details))
	if len(out) == 0 {
		return out
	}
	q, context, refused := s.mintQuestion(r)
	for i, d := range r.Details {
		if refused == "" {
			out[i] = q.detail(r.Actor, context, d)
		} else {
			out[i] = s.refuse(refused)
		}
	}
	return out
}

// detail asks about one detail, in the context that all of the request share but for the detail itself.
func (q *question) detail(actor string, context types.RecordMap, d rar.Detail) Decision {
	is, ok := q.set.details[d.Type]
	if !ok {
		return q.set.refuse("there is no such type of authorization_details")
	}
	seen, err := is.read(d)
	if err != nil {
		return q.set.refuse(err.Error())
	}
	context["detail"] = seen
	q.request.Action, q.request.Resource, q.request.Context = is.action.uid, is.resource.uid, types.NewRecord(context)
	q.next = chooseAction(q.set.agents[actor].next, is.action.fits)
	q.found = chooseResource(q.found[:0], q.next, is.resource.fits)
	return q.decide()
}

// read makes of a detail what policy sees. What it cannot see exactly it refuses, and never rounds.
func (t detailType) read(d rar.Detail) (types.Record, error) {
	v, err := t.shape.readArguments(d.JSON)
	if a, ok := errors.AsType[*argumentError](err); ok {
		return types.Record{}, fmt.Errorf("authorization_details of type %q, field %q: %s", t.name, clip(a.path), a.says)
	}
	return v, err
}

// readDetails makes the `details` of a call: one of each type that governs the tool, and no other. That they cover the call's
// arguments was seen to by who found them (rar.Types.Cover); that they are there is seen to here too.
func (t callable) readDetails(given map[string]rar.Detail) (types.Record, string) {
	out := make(types.RecordMap, len(t.details))
	for _, is := range t.details {
		d, ok := given[is.name]
		if !ok || d.Type != is.name {
			return types.Record{}, fmt.Sprintf("the tool needs authorization_details of type %q", is.name)
		}
		seen, err := is.read(d)
		if err != nil {
			return types.Record{}, err.Error()
		}
		out[types.String(is.name)] = seen
	}
	if len(given) > len(out) {
		return types.Record{}, "authorization_details of a type that does not govern the tool"
	}
	return types.NewRecord(out), ""
}

// collectDetails compiles a bundle's types, and lays them to the tools that they govern.
func collectDetails(registered []rar.Type, tools map[string]toolAction, found *findings) (rar.Types, map[string]detailType) {
	compiled, err := rar.Compile(registered)
	if err != nil {
		invalid, ok := errors.AsType[*rar.InvalidError](err)
		if !ok {
			found.add(detailProblem(err.Error(), ""))
			return rar.Types{}, nil
		}
		for _, p := range invalid.Problems {
			found.add(detailProblem(p.String(), ""))
		}
		return rar.Types{}, nil
	}
	out := make(map[string]detailType, len(registered))
	byName := func(a, b rar.Type) int { return strings.Compare(a.Name, b.Name) }
	for _, t := range slices.SortedFunc(slices.Values(registered), byName) {
		shape, err := parseArguments(t.Schema)
		if err != nil {
			found.add(detailProblem(fmt.Sprintf("type %q: %v", t.Name, err), ""))
			continue
		}
		shape.close()
		if shape.fields == nil {
			shape.fields = map[string]*field{}
		}
		shape.fields["type"] = &field{shape: hidden("it is the name of the type")}
		out[t.Name] = detailType{t.Name, shape}
		for _, c := range t.Covers {
			checkCover(t, c, tools, found)
			if tool, ok := tools[c.Tool]; ok {
				tool.details = append(tool.details, out[t.Name])
				tools[c.Tool] = tool
			}
		}
	}
	return compiled, out
}

// close makes a shape say what rar sees to: there are no members that the schema does not name.
func (s *shape) close() {
	if s.kind == shapeRecord {
		s.open, s.why = false, ""
	}
	for _, f := range s.fields {
		f.shape.close()
	}
	if s.element != nil {
		s.element.close()
	}
}

func detailProblem(message, hint string) Problem {
	return Problem{Message: "authorization_details: " + message, Hint: hint}
}

// checkCover finds what would make a cover guard nothing, or let nothing through: a tool that is not there, an argument that
// the tool does not take.
func checkCover(t rar.Type, c rar.Cover, tools map[string]toolAction, found *findings) {
	tool, ok := tools[c.Tool]
	if !ok {
		found.add(detailProblem(fmt.Sprintf("type %q covers tool %q, which no provider has", t.Name, clip(c.Tool)),
			nearestOf(c.Tool, slices.Collect(maps.Keys(tools)))))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.Arguments)) {
		says, hint := tool.args.misfit(strings.Split(strings.TrimPrefix(c.Arguments[name], "/"), "/"), t.Narrowing[name])
		if says != "" {
			found.add(detailProblem(fmt.Sprintf("type %q, field %q, tool %q: %s", t.Name, clip(name), clip(c.Tool), says), hint))
		}
	}
}

// misfit says why a rule can never let an argument through. Of what policy does not see, it says nothing.
func (s *shape) misfit(pointer []string, rule rar.Rule) (says, hint string) {
	for i, part := range pointer {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch s.kind {
		case shapeHidden:
			return "", ""
		case shapeRecord:
			f, ok := s.fields[part]
			switch {
			case ok:
				s = f.shape
			case s.open:
				return "", ""
			default:
				return fmt.Sprintf("it has no argument %q", clip(part)), nearestOf(part, slices.Collect(maps.Keys(s.fields)))
			}
		case shapeSet:
			if _, err := strconv.ParseUint(part, 10, 31); err != nil {
				return fmt.Sprintf("%q is no place in an array", clip(part)), ""
			}
			s = s.element
		case shapeString, shapeLong, shapeDecimal, shapeBool:
			return fmt.Sprintf("the argument %q has no members", clip(strings.Join(pointer[:i], "/"))), ""
		}
	}
	number, text := s.kind == shapeLong || s.kind == shapeDecimal, s.kind == shapeString
	switch {
	case s.kind == shapeHidden:
	case rule == rar.AtMost && !number:
		return "the argument is no number, as the rule at_most needs", ""
	case rule == rar.Prefix && !text:
		return "the argument is no string, as the rule prefix needs", ""
	}
	return "", ""
}

// writeDetailActions writes an action for each type. Without types the group stands for one, so that an operator's guardrail
// about details is checked in every org.
func writeDetailActions(b *strings.Builder, details map[string]detailType) {
	b.WriteString("\n// May this agent have this object of authorization_details? Asked for each object before the token is " +
		"signed.\n// One action for each type, on the type.\n")
	if len(details) == 0 {
		fmt.Fprintf(b, "// No type is registered.\naction %q appliesTo {\n  principal: [Agent],\n  resource: [DetailType],\n"+
			"  context: {\n%s\n  }\n};\n", actionDetail, mintContext)
		return
	}
	fmt.Fprintf(b, "action %q;\n", actionDetail)
	for _, name := range slices.Sorted(maps.Keys(details)) {
		fmt.Fprintf(b, "\naction %q in [%q] appliesTo {\n  principal: [Agent], // the actor of the token\n  resource: [DetailType],\n"+
			"  context: {\n%s,\n    detail: ", detailPrefix+name, actionDetail, mintContext)
		details[name].shape.write(b, "    ")
		b.WriteString("\n  }\n};\n")
	}
}

// writeDetails writes the context of a call that needs details.
func (t toolAction) writeDetails(b *strings.Builder) {
	if len(t.details) == 0 {
		return
	}
	b.WriteString("    details: { // those that cover the call")
	for i, d := range t.details {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "\n      %q: ", d.name)
		d.shape.write(b, "      ")
	}
	b.WriteString("\n    },\n")
}
