package policy_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/onbehalf/obo/policy"
)

// A case file holds a bundle, and questions with the whole answer that is wanted.
type caseFile struct {
	Bundle   any                       `json:"bundle"`
	Defaults map[string]map[string]any `json:"defaults"`
	Cases    []golden                  `json:"cases"`
}

type golden struct {
	About    string         `json:"about"` // the policy that the case is about, or empty
	Name     string         `json:"name"`
	Exchange map[string]any `json:"exchange"`
	Call     map[string]any `json:"call"`
	Want     struct {
		Allowed  bool     `json:"allowed"`
		Policies []string `json:"policies"`
		Reason   string   `json:"reason"`
	} `json:"want"`
}

type subjectCase struct {
	ID     string   `json:"id"`
	Groups []string `json:"groups"`
	ACR    string   `json:"acr"`
	AMR    []string `json:"amr"`
}

type exchangeCase struct {
	Actor    string      `json:"actor"`
	Subject  subjectCase `json:"subject"`
	Chain    []string    `json:"chain"`
	Depth    int         `json:"depth"`
	Audience string      `json:"audience"`
	Life     string      `json:"life"`
	Now      time.Time   `json:"now"`
	ClientIP string      `json:"client_ip"`
	Scopes   []string    `json:"scopes"`

	Details json.RawMessage `json:"details"` // in place of scopes
}

type callCase struct {
	Actor      string      `json:"actor"`
	Subject    subjectCase `json:"subject"`
	Depth      int         `json:"depth"`
	Scopes     []string    `json:"scopes"`
	Now        time.Time   `json:"now"`
	Approved   bool        `json:"approved"`
	Tool       string      `json:"tool"`
	Connection struct {
		ID       string `json:"id"`
		Provider string `json:"provider"`
		Owner    string `json:"owner"`
	} `json:"connection"`
	Arguments json.RawMessage `json:"arguments"`
	Details   json.RawMessage `json:"details"` // of the token
}

// convert reads what YAML gave as the type that JSON tags describe, refusing names that the type does not have.
func convert[T any](t *testing.T, in any) T {
	t.Helper()
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func merged(defaults, over map[string]any) map[string]any {
	out := maps.Clone(defaults)
	if out == nil {
		out = map[string]any{}
	}
	maps.Copy(out, over)
	return out
}

func (g golden) decide(t *testing.T, s *policy.Set, defaults map[string]map[string]any) policy.Decision {
	t.Helper()
	if g.Call != nil {
		c := convert[callCase](t, merged(defaults["call"], g.Call))
		details, err := s.DetailTypes().Cover(c.Details, c.Tool, c.Arguments)
		if err != nil {
			return policy.Decision{Version: s.Version(), Reason: err.Error()}
		}
		return s.Call(policy.CallRequest{Details: details, Actor: c.Actor, Subject: policy.Subject(c.Subject), Depth: c.Depth, Scopes: c.Scopes, Now: c.Now,
			Approved: c.Approved, Tool: c.Tool, Connection: policy.Connection(c.Connection), Arguments: c.Arguments})
	}
	e := convert[exchangeCase](t, merged(defaults["exchange"], g.Exchange))
	life, err := time.ParseDuration(e.Life)
	if err != nil {
		t.Fatal(err)
	}
	var ip netip.Addr
	if e.ClientIP != "" {
		ip = netip.MustParseAddr(e.ClientIP)
	}
	r := policy.ExchangeRequest{Actor: e.Actor, Subject: policy.Subject(e.Subject), Chain: e.Chain, Depth: e.Depth,
		Audience: e.Audience, Life: life, Now: e.Now, ClientIP: ip, Scopes: e.Scopes}
	got := s.Exchange(r)
	if e.Details != nil {
		details, err := s.DetailTypes().Parse(e.Details)
		if err != nil {
			t.Fatal(err)
		}
		r.Details = details.List()
		got = s.Details(r)
	}
	if len(got) != 1 {
		t.Fatalf("%d decisions for one scope or detail", len(got))
	}
	return got[0]
}

// TestCases: EX8, RA3. It decides the golden questions, and sees to it that every policy has a case that passes it and one that does not.
func TestCases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/cases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no case files", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var raw any
			if err := yaml.Unmarshal(data, &raw); err != nil {
				t.Fatal(err)
			}
			file := convert[caseFile](t, raw)
			set, err := policy.Compile(convert[policy.Bundle](t, file.Bundle))
			if err != nil {
				t.Fatal(err)
			}
			passed, refused := map[string]bool{}, map[string]bool{}
			for _, g := range file.Cases {
				got := g.decide(t, set, file.Defaults)
				want := policy.Decision{Allowed: g.Want.Allowed, Version: "7", Policies: g.Want.Policies, Reason: g.Want.Reason}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %s (-want +got):\n%s", g.About, g.Name, diff)
				}
				if g.Want.Allowed {
					passed[g.About] = true
				} else {
					refused[g.About] = true
				}
				if g.About != "" && !slices.Contains(set.Policies(), g.About) {
					t.Errorf("%s: there is no policy %s", g.Name, g.About)
				}
			}
			for _, id := range set.Policies() {
				if !passed[id] || !refused[id] {
					t.Errorf("%s needs a case that is allowed and one that is refused", id)
				}
			}
		})
	}
}
