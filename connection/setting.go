package connection

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Where a setting comes from.
const (
	fromClient = "client"
	fromUser   = "user"
	fromGrant  = "grant"
	fromProbe  = "probe"
)

// setting is a checked settingRecord.
type setting struct {
	settingRecord
	pattern *regexp.Regexp
}

const maxSetting = 512

func (r record) buildSettings(p *problems) map[string]setting {
	out := map[string]setting{}
	for name, s := range r.Settings {
		place := "settings/" + name
		if !argumentName.MatchString(name) || slices.Contains(ownHoles, name) {
			p.add(place, "is no name for a setting ([A-Za-z_][A-Za-z0-9_]*, and none of %s)", strings.Join(ownHoles, ", "))
		}
		if s.From == "" {
			s.From = fromClient
		}
		answered := s.From == fromGrant || s.From == fromProbe
		if !answered && s.From != fromClient && s.From != fromUser {
			p.add(place+"/from", "must be client, user, grant or probe")
		}
		if answered != (s.At != "") || !validPointer(s.At) {
			p.add(place+"/at", "must be a JSON Pointer for grant and probe, and absent otherwise")
		}
		if s.From == fromProbe && r.Probe == nil {
			p.add(place+"/from", "needs a probe")
		}
		pattern, err := regexp.Compile(`\A(?:` + s.Pattern + `)\z`)
		if err != nil || s.Pattern == "" {
			p.add(place+"/pattern", "must be a regular expression that the whole value matches")
			pattern = regexp.MustCompile(`\A\z`)
		}
		if s.Default != "" && !pattern.MatchString(s.Default) {
			p.add(place+"/default", "does not match the pattern")
		}
		out[name] = setting{s, pattern}
	}
	return out
}

// ownHoles are the holes that are no settings.
var ownHoles = []string{"client_id", "username", "scope", "secret"}

// knows adds a problem for each hole of a template that is neither a setting nor one of more.
func (p *Provider) knows(place string, t template, problems *problems, more ...string) {
	for _, h := range t.holes {
		if _, ok := p.settings[h]; !ok && !slices.Contains(more, h) {
			problems.add(place, "{%s} is no setting", h)
		}
	}
}

// clientSays reports whether whoever registers the org's client says all of a template's holes: an administrator, who answers for
// where calls go. Egress rules still hold.
func (p *Provider) clientSays(t template) bool {
	return !slices.ContainsFunc(t.holes, func(h string) bool { return p.settings[h].From != fromClient })
}

// Setting is something of a connection that somebody has to say.
type Setting struct{ Name, Description, Default string }

// Settings are those that the client's registration (user false) or the user (true) has to say, in name order.
func (p Provider) Settings(user bool) []Setting {
	from := fromClient
	if user {
		from = fromUser
	}
	var out []Setting
	for _, name := range slices.Sorted(maps.Keys(p.settings)) {
		if s := p.settings[name]; s.From == from {
			out = append(out, Setting{name, s.Description, s.Default})
		}
	}
	return out
}

// CheckSettings says what is wrong with the settings of a client (user false) or of a user. Errors wrap ErrInvalid.
func (p Provider) CheckSettings(user bool, values map[string]string) error {
	known := map[string]bool{}
	for _, s := range p.Settings(user) {
		known[s.Name] = true
		if values[s.Name] == "" && s.Default == "" && !p.settings[s.Name].pattern.MatchString("") {
			return fmt.Errorf("%w: setting %s is missing: %s", ErrInvalid, s.Name, s.Description)
		}
	}
	for name, value := range values {
		if !known[name] {
			return fmt.Errorf("%w: provider %s has no setting %q to be said here", ErrInvalid, p.name, cut(name, 64))
		}
		if len(value) > maxSetting || value != "" && !p.settings[name].pattern.MatchString(value) {
			return fmt.Errorf("%w: setting %s must match %s", ErrInvalid, name, p.settings[name].Pattern)
		}
	}
	return nil
}

// fill writes settings into a template. A value that does not match its setting's pattern is refused here, whoever stored it.
func (p *Provider) fill(t template, values map[string]string) (string, error) {
	var b strings.Builder
	for i, hole := range t.holes {
		b.WriteString(t.literals[i])
		v := values[hole]
		if s, ok := p.settings[hole]; ok {
			if v == "" {
				v = s.Default
			}
			if len(v) > maxSetting || !s.pattern.MatchString(v) {
				return "", fmt.Errorf("%w: setting %s of provider %s is missing or does not match its pattern", ErrInvalid, hole, p.name)
			}
		}
		b.WriteString(v)
	}
	b.WriteString(t.literals[len(t.literals)-1])
	return b.String(), nil
}

// At is the provider where a connection's settings place it.
func (p Provider) At(settings map[string]string) (Provider, error) {
	if len(p.baseText.holes) == 0 {
		return p, nil
	}
	text, err := p.fill(p.baseText, settings)
	if err != nil {
		return Provider{}, err
	}
	base, why := baseURL(text)
	switch {
	case why != "":
		return Provider{}, fmt.Errorf("%w: the settings make a base_url that %s", ErrInvalid, why)
	case p.mayCall(base.Hostname()):
	case len(p.hosts) == 0 && p.clientSays(p.baseText):
		p.hosts = []string{strings.ToLower(base.Hostname())}
	default:
		return Provider{}, fmt.Errorf("%w: the settings lead to a host that is not the provider's", ErrInvalid)
	}
	p.base = base
	return p, nil
}

// At is the tool where a connection's settings place its provider.
func (t Tool) At(settings map[string]string) (Tool, error) {
	p, err := t.provider.At(settings)
	if err != nil {
		return Tool{}, err
	}
	t.provider = &p
	if t.path, err = p.bind(t.path, settings, pathValue); err != nil {
		return Tool{}, err
	}
	if t.query, err = p.bindAll(t.query, settings, queryValue); err != nil {
		return Tool{}, err
	}
	t.headers, err = p.bindAll(t.headers, settings, headerValue)
	return t, err
}

func (p *Provider) bindAll(all []member, settings map[string]string, encode func(name, value string) (string, error)) ([]member, error) {
	out := slices.Clone(all)
	for i, m := range all {
		bound, err := p.bind(m.template, settings, encode)
		if err != nil {
			return nil, err
		}
		out[i].template = bound
	}
	return out, nil
}

// bind writes settings into the holes that are theirs, each encoded for its place, and leaves those of arguments.
func (p *Provider) bind(t template, settings map[string]string, encode func(name, value string) (string, error)) (template, error) {
	if !slices.ContainsFunc(t.holes, func(h string) bool { _, ok := p.settings[h]; return ok }) {
		return t, nil
	}
	out := template{literals: []string{t.literals[0]}}
	for i, hole := range t.holes {
		if _, ok := p.settings[hole]; !ok {
			out.holes, out.literals = append(out.holes, hole), append(out.literals, t.literals[i+1])
			continue
		}
		text, err := p.fill(template{literals: []string{"", ""}, holes: []string{hole}}, settings)
		if err == nil {
			text, err = encode(hole, text)
		}
		if err != nil {
			return template{}, err
		}
		out.literals[len(out.literals)-1] += text + t.literals[i+1]
	}
	return out, nil
}

// checkLinkSettings holds the settings that come with a credential against the record: those that a client or a user says.
func (p Provider) checkLinkSettings(values map[string]string) error {
	for name, value := range values {
		s, known := p.settings[name]
		if !known || s.From != fromClient && s.From != fromUser {
			return fmt.Errorf("%w: provider %s has no setting %q to be said here", ErrInvalid, p.name, cut(name, 64))
		}
		if len(value) > maxSetting || !s.pattern.MatchString(value) {
			return fmt.Errorf("%w: setting %s must match %s", ErrInvalid, name, s.Pattern)
		}
	}
	_, err := p.At(values)
	return err
}

// checkAccount holds a service account's credential against the record.
func (p Provider) checkAccount(k Link) error {
	if p.service.assertion == nil && k.Credential.Username() == "" {
		return fmt.Errorf("%w: username must be the client id", ErrInvalid)
	}
	if p.service.assertion == nil {
		return nil
	}
	// One that cannot sign is found now, and not at the first call.
	if _, _, err := p.assertion(Client{Settings: k.Settings}, k.Credential, "", time.Unix(0, 0)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
