package connection

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/onbehalf/obo/vault"
)

// ProbeRequest is the record's call that changes nothing, for where the settings place the provider; nil when the record has none.
func (p Provider) ProbeRequest(ctx context.Context, settings map[string]string) (*http.Request, error) {
	if p.probe == nil {
		return nil, nil
	}
	t, err := parseTemplate(p.probe.URL)
	if err != nil {
		return nil, err
	}
	text, err := p.fill(t, settings)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(text, "/") {
		placed, err := p.At(settings)
		if err != nil {
			return nil, err
		}
		text = strings.TrimSuffix(placed.base.String(), "/") + text
		p = placed
	}
	u, err := url.Parse(text)
	if err != nil || !p.mayCall(u.Hostname()) {
		return nil, fmt.Errorf("%w: the probe leads to a host that is not the provider's", ErrInvalid)
	}
	r, err := http.NewRequestWithContext(ctx, p.probe.Method, text, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "obo-executor")
	for name, values := range p.headers {
		r.Header[name] = values
	}
	return r, nil
}

// AuthorizeProbe presents a credential to the probe, which may be at another of the provider's hosts than its tools.
func (p Provider) AuthorizeProbe(r *http.Request, pattern Pattern, c vault.Credential) error {
	p.base = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host}
	return p.Authorize(r, pattern, c)
}

// ReadProbe reads the answer to the probe: what the account is called, the settings that it says, and whether the credential was
// accepted. status 0 stands for no answer.
func (p Provider) ReadProbe(status int, body []byte, scrub Scrubber) (account string, settings map[string]string, accepted bool) {
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		return "", nil, false
	}
	if status < 200 || status > 299 {
		return "", nil, true
	}
	tree, err := parseJSON(body, answerLimits)
	if err != nil {
		return "", nil, true
	}
	settings = map[string]string{}
	for name, s := range p.settings {
		if s.From != fromProbe {
			continue
		}
		if v, ok := textAt(tree, s.At); ok && len(v) <= maxSetting && s.pattern.MatchString(v) {
			settings[name] = v
		}
	}
	return scrub.Text(label(tree, p.probe.Account)), settings, true
}

// NamesAccount reports whether the record says where an answer to the probe has the account's name.
func (p Provider) NamesAccount() bool { return p.probe != nil && p.probe.Account != "" }

func readAll(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = errors.New("too long")
	}
	return b, err
}
