// Package fakes has what providers answer, in recorded shape: for the suite that holds each built-in
// record to it, and for whoever writes a record of their own (obo providers lint --fakes).
package fakes

import (
	"bytes"
	"embed"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/onbehalf/obo/connection"
)

//go:embed recorded/*.yaml
var files embed.FS

// Fakes are a provider's answers.
type Fakes struct {
	Provider string `yaml:"provider"`
	// Cases by name. Which ones a record needs, Needs says.
	Cases map[string]Fake `yaml:"cases"`
	// Absent says why a needed case does not exist at this provider.
	Absent map[string]string `yaml:"absent"`
}

// Fake is one answer.
type Fake struct {
	// At is where the answer comes from: token (the code), refresh, mint or api.
	At      string            `yaml:"at"`
	Status  int               `yaml:"status"`
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"`
	// Source is the page on which the shape stands. Unverified: nobody has found one.
	Source     string `yaml:"source"`
	Unverified bool   `yaml:"unverified"`
	// Expect is what must be understood of it.
	Expect Expectation `yaml:"expect"`
}

// Expectation is what an answer means: a grant, or a failure of a kind.
type Expectation struct {
	Kind       connection.Kind   `yaml:"kind"`
	Code       string            `yaml:"code"`
	RetryAfter time.Duration     `yaml:"retry_after"`
	Refresh    bool              `yaml:"refresh"` // a refresh token came
	ExpiresIn  time.Duration     `yaml:"expires_in"`
	Scopes     []string          `yaml:"scopes"`
	Account    string            `yaml:"account"`
	Settings   map[string]string `yaml:"settings"`
}

// Header is the answer's, canonical.
func (f Fake) Header() http.Header {
	h := http.Header{}
	for name, value := range f.Headers {
		h.Set(name, value)
	}
	return h
}

// Load reads a built-in provider's answers.
func Load(provider string) (Fakes, error) {
	text, err := files.ReadFile("recorded/" + provider + ".yaml")
	if err != nil {
		return Fakes{}, fmt.Errorf("fakes: provider %s has no fakes: add connection/fakes/recorded/%s.yaml", provider, provider)
	}
	f, err := Parse(text)
	if err != nil {
		return Fakes{}, fmt.Errorf("fakes: fakes of %s: %w", provider, err)
	}
	return f, nil
}

// Parse reads a file of fakes: one YAML document of known keys.
func Parse(text []byte) (Fakes, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var f Fakes
	if err := d.Decode(&f); err != nil {
		return Fakes{}, err
	}
	return f, nil
}

// Needs are the cases that a record needs, sorted.
func Needs(p connection.Provider) []string {
	needs := map[string]bool{"rate_limit": true}
	for pattern, names := range map[connection.Pattern][]string{
		connection.OAuth:           {"connected", "refreshed", "expired", "revoked", "rotation_race", "error_in_200"},
		connection.ServiceAccount:  {"minted", "mint_refused"},
		connection.APIKey:          {"rejected"},
		connection.Basic:           {"rejected"},
		connection.DeveloperSecret: {"rejected"},
	} {
		if p.Supports(pattern) {
			for _, n := range names {
				needs[n] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(needs))
}
