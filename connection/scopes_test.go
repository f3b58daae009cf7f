package connection

import (
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/vault"
)

const serviceRecordText = `
name: pages
base_url: https://api.pages.example
settings:
  account: {description: The account., pattern: "[a-z]{1,20}"}
auth: {service_account: {style: bearer}}
service:
  grant: client_credentials
  token: {url: "https://id.pages.example/token", client_auth: body, body: form}
  response: {}
  always: ["as_account.{account}"]
  scopes: {"pages:read": [pages.read]}
scopes: {"pages:read": Read.}
tools:
  - name: me
    description: Get me.
    method: GET
    path: /me
    risk: read
    scopes: ["pages:read"]
    arguments: {type: object, additionalProperties: false}
`

// TestScopeOfAServiceAccount: a setting goes into the scope that names the account, and only one that matches its pattern.
func TestScopeOfAServiceAccount(t *testing.T) {
	t.Parallel()
	p := parse(t, serviceRecordText)
	mint := func(account string) (string, error) {
		c := Client{Settings: map[string]string{"account": account}}
		r, _, err := p.MintRequest(t.Context(), c, vault.NewCredential("id", []byte("secret")), p.ScopesFor(ServiceAccount, []string{"pages:read"}), time.Now())
		if err != nil {
			return "", err
		}
		body, _ := io.ReadAll(r.Body)
		form, err := url.ParseQuery(string(body))
		return form.Get("scope"), err
	}
	if got, err := mint("acme"); err != nil || got != "as_account.acme pages.read" {
		t.Errorf("%q %v", got, err)
	}
	if got, err := mint("acme pages.write"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a setting brought a scope: %q %v", got, err)
	}
	if _, err := ParseProvider("x.yaml", []byte(strings.Replace(serviceRecordText, "{account}", "{who}", 1))); err == nil {
		t.Error("a hole that is no setting was accepted")
	}
}
