package exchangetest

import (
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/exchange"
)

// payment is the details of the tests below, in their canonical form.
const (
	payment    = `[{"type":"payment","amount":100,"currency":"EUR","recipients":["hosting","travel"]}]`
	repository = `[{"type":"repository","actions":["read"],"name":"acme/"}]`
)

// detailed is the orchestrator's first hop with authorization_details.
func detailed(details string) build {
	return asking(func(r *exchange.Request) { r.AuthorizationDetails = details })
}

// narrowed is the orchestrator's continuation, with other details, of a token that was asked for with some.
func narrowed(parent, details string) build {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		r := Next(w.Detailed(t, parent), "")
		r.AuthorizationDetails = details
		return w.Orchestrator.Credential(), r
	}
}

// handedOver is its delegation to the researcher.
func handedOver(parent, details string) build {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		r := w.HandOver(t, w.Detailed(t, parent), "", w.Researcher)
		r.AuthorizationDetails = details
		return w.Orchestrator.Credential(), r
	}
}

// Detailed is a token of alice that the orchestrator asked for with authorization_details.
func (w *World) Detailed(t testing.TB, details string) string {
	t.Helper()
	r := FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
	r.AuthorizationDetails = details
	return w.Exchange(t, w.Orchestrator, r).AccessToken
}

// carries checks the details of an answer and of its token (RA5).
func carries(details string) func(testing.TB, *World, exchange.Response) {
	return func(t testing.TB, w *World, r exchange.Response) {
		same(t, "authorization_details", r.AuthorizationDetails, details)
		same(t, "authorization_details of the token", string(w.Claims(t, r.AccessToken).AuthorizationDetails), details)
	}
}

func detailAnswers() []Case {
	smaller := `[{"type":"payment","amount":20,"currency":"EUR","recipients":["travel"]}]`
	for400, for600 := `[{"type":"payment","amount":400,"currency":"EUR"}`, `{"type":"payment","amount":600,"currency":"EUR"}]`
	here := `[{"type":"payment","amount":1,"currency":"EUR","locations":["` + Executor + `"]}`
	there := `{"type":"payment","amount":2,"currency":"EUR","locations":["` + Reports + `"]}]`
	return []Case{
		{Name: "RA5 details are answered as they were granted", Build: detailed(payment), Check: carries(payment)},
		{Name: "RA5 details have one spelling", Check: carries(payment), Build: detailed(
			` [ { "recipients" : ["travel", "hosting"], "currency": "EUR", "amount": 1e2, "type" :"payment" } ] `)},
		{Name: "RA5 no details are answered when there are none", Build: login(nil), Check: carries("")},
		{Name: "RA3 narrower than the parent", Build: narrowed(payment, smaller), Check: carries(smaller)},
		{Name: "RA3 the same as the parent", Build: narrowed(payment, payment), Check: carries(payment)},
		{Name: "RA3 what is not named is inherited", Build: narrowed(payment, ""), Check: carries(payment)},
		{Name: "RA3 narrower in the next agent's hand", Build: handedOver(payment, smaller), Check: carries(smaller)},
		{Name: "RA3 inherited by an agent that is registered for no type", Build: handedOver(payment, ""), Check: carries(payment)},
		{Name: "DESIGN-6 of what is inherited, what policy allows is granted", Build: handedOver(for400+","+for600, ""), Check: carries(for400 + "]")},
		{Name: "RA6 details for another resource stay behind", Build: detailed(here + "," + there), Check: carries(here + "]")},
		{Name: "RA6 inherited details for another resource stay behind", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			r := FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
			r.AuthorizationDetails = `[{"type":"payment","amount":1,"currency":"EUR","locations":["` + Executor + `"]}]`
			token := w.Exchange(t, w.Orchestrator, r).AccessToken
			r = Next(token, "")
			r.Resource = []string{Reports}
			return w.Orchestrator.Credential(), r
		}, Check: carries("")},
		{Name: "RA9 resource by another name does not alter details", Build: asking(func(r *exchange.Request) {
			r.Resource, r.Audience, r.AuthorizationDetails = nil, []string{"executor"}, payment
		}), Check: carries(payment)},
	}
}

func detailRefusals() []Case {
	malformed := []Case{
		{Name: "RA1 not JSON", Build: detailed(`[{"type":`)},
		{Name: "RA1 not an array", Build: detailed(`{"type":"payment","amount":1,"currency":"EUR"}`)},
		{Name: "RA1 an empty array", Build: detailed(`[]`)},
		{Name: "RA1 not objects", Build: detailed(`["payment"]`)},
		{Name: "RA1 no type", Build: detailed(`[{"amount":1,"currency":"EUR"}]`)},
		{Name: "RA1 type is no string", Build: detailed(`[{"type":1}]`)},
		{Name: "RA2 an unknown type", Build: detailed(`[{"type":"x"}]`)},
		{Name: "RA2 a type in other case", Build: detailed(`[{"type":"Payment","amount":1,"currency":"EUR"}]`)},
		{Name: "RA2 an unknown field", Build: detailed(`[{"type":"payment","amount":1,"currency":"EUR","tip":1}]`)},
		{Name: "RA2 a field of the wrong type", Build: detailed(`[{"type":"payment","amount":"1","currency":"EUR"}]`)},
		{Name: "RA2 a value that is not allowed", Build: detailed(`[{"type":"payment","amount":-1,"currency":"EUR"}]`)},
		{Name: "RA2 a field that is required is missing", Build: detailed(`[{"type":"payment","amount":1}]`)},
		{Name: "ACT13 a field twice", Build: detailed(`[{"type":"payment","amount":1,"amount":1000,"currency":"EUR"}]`)},
	}
	for i := range malformed {
		malformed[i].Want, malformed[i].Field = exchange.InvalidAuthorizationDetails, "authorization_details"
	}
	refused := []Case{
		{Name: "RA3 RA7 a type that the agent is not registered for", Build: detailed(`[{"type":"vault"}]`)},
		{Name: "RA3 an agent that is registered for none", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			r := FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
			r.AuthorizationDetails = repository
			return w.Researcher.Credential(), r
		}},
		{Name: "RA3 more than the parent", Build: narrowed(payment, `[{"type":"payment","amount":101,"currency":"EUR","recipients":["travel"]}]`)},
		{Name: "RA3 another value than the parent", Build: narrowed(payment, `[{"type":"payment","amount":1,"currency":"USD","recipients":["travel"]}]`)},
		{Name: "RA3 a field that bounds the parent is left out", Build: narrowed(payment, `[{"type":"payment","amount":1,"currency":"EUR"}]`)},
		{Name: "RA3 a type that the parent does not have", Build: narrowed(payment, repository)},
		{Name: "RA3 details of a parent that has none", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			r := Next(w.Token(t, w.Orchestrator, "github:read", nil), "")
			r.AuthorizationDetails = payment
			return w.Orchestrator.Credential(), r
		}},
		{Name: "RA3 wider in the next agent's hand", Build: handedOver(payment, `[{"type":"payment","amount":500,"currency":"EUR","recipients":["travel"]}]`)},
		{Name: "DESIGN-6 policy refuses a detail that was named", Build: detailed(`[{"type":"payment","amount":1001,"currency":"EUR"}]`)},
		{Name: "DESIGN-6 policy refuses one of two details", Build: detailed(`[{"type":"payment","amount":1,"currency":"EUR"},{"type":"payment","amount":1001,"currency":"EUR"}]`)},
		{Name: "DESIGN-6 policy refuses the next agent a detail that was named", Build: handedOver(
			`[{"type":"payment","amount":1000,"currency":"EUR"}]`, `[{"type":"payment","amount":501,"currency":"EUR"}]`)},
	}
	for i := range refused {
		refused[i].Want = exchange.InvalidAuthorizationDetails
	}
	return append(append(malformed, refused...), Case{
		Name: "RA2 a parent's details of a type that is no more", Want: exchange.SubjectTokenInvalid, Field: "subject_token",
		Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Orchestrator.Credential(), Next(w.gone(t), "")
		},
	})
}

// gone is a token with details of a type that acme does not have (any more).
func (w *World) gone(t testing.TB) string {
	t.Helper()
	types, err := rar.Compile([]rar.Type{{Name: "gone", Schema: []byte(`{"type": "object", "properties": {}}`), Narrowing: map[string]rar.Rule{}}})
	must(t, err)
	details, err := types.Parse([]byte(`[{"type":"gone"}]`))
	must(t, err)
	return w.Token(t, w.Orchestrator, "github:read", func(_ *delegation.Subject, g *delegation.Grant) { g.Details = details })
}
