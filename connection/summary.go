package connection

import (
	"maps"
	"slices"
)

// about is what a record says for people only.
type about struct {
	docs, registration string
	unverified         []string
	scopes             map[string]string
}

// Summary is a record as people look at it: what can be done with it, and what nobody is sure of.
type Summary struct {
	Name         string           `json:"name"`
	Title        string           `json:"title"`
	Description  string           `json:"description,omitempty"`
	Docs         string           `json:"docs,omitempty"`
	Registration string           `json:"registration,omitempty"` // where an org registers its client
	BaseURL      string           `json:"base_url"`
	Hosts        []string         `json:"hosts,omitempty"`
	Patterns     []Pattern        `json:"patterns"`
	Rotation     Rotation         `json:"rotation,omitempty"` // with oauth only
	Revokes      bool             `json:"revokes"`            // a grant can be revoked at the provider
	NoRevoke     string           `json:"no_revoke,omitempty"`
	Settings     []SettingSummary `json:"settings,omitempty"`
	Scopes       []ScopeSummary   `json:"scopes"`
	Tools        []ToolSummary    `json:"tools"`
	Unverified   []string         `json:"unverified,omitempty"`
}

// SettingSummary is a setting, with who says it: client, user, grant or probe.
type SettingSummary struct {
	Name        string `json:"name"`
	From        string `json:"from"`
	Description string `json:"description,omitempty"`
	Default     string `json:"default,omitempty"`
}

// ScopeSummary is a scope of ours, with the provider's own that a user's grant needs for it.
type ScopeSummary struct {
	Name   string   `json:"name"`
	Allows string   `json:"allows"`
	Needs  []string `json:"needs,omitempty"`
}

// ToolSummary is a tool, without its schemas.
type ToolSummary struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Risk        Risk     `json:"risk"`
	Scopes      []string `json:"scopes"`
}

// Summary describes the record.
func (p Provider) Summary() Summary {
	out := Summary{
		Name: p.name, Title: p.title, Description: p.description, Docs: p.about.docs, Registration: p.about.registration,
		BaseURL: p.baseText.String(), Hosts: slices.Clone(p.hosts), Patterns: slices.Sorted(maps.Keys(p.auth)),
		Unverified: slices.Clone(p.about.unverified),
	}
	if p.oauth != nil {
		out.Rotation = p.oauth.rotation
		out.Revokes, out.NoRevoke = p.Revokes()
	}
	for _, name := range slices.Sorted(maps.Keys(p.settings)) {
		s := p.settings[name]
		out.Settings = append(out.Settings, SettingSummary{Name: name, From: s.From, Description: s.Description, Default: s.Default})
	}
	for _, name := range p.scopes {
		s := ScopeSummary{Name: name, Allows: p.about.scopes[name]}
		if p.oauth != nil {
			s.Needs = slices.Clone(p.oauth.scopes.needs[name])
		}
		out.Scopes = append(out.Scopes, s)
	}
	for _, t := range p.tools {
		out.Tools = append(out.Tools, ToolSummary{Name: t.name, Description: t.description, Risk: t.risk, Scopes: t.Scopes()})
	}
	return out
}
