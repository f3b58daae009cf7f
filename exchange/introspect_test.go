package exchange_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
)

// TestIntrospections runs the table of questions without a door: IN1 to IN6.
func TestIntrospections(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewInquiryWorld(t)
	for _, c := range exchangetest.Introspections() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			cred, token := c.Build(t, w)
			got, err := w.Service.Introspect(t.Context(), cred, token, false)
			checkReason(t, err, c.Want, c.Field)
			if err != nil {
				return
			}
			if got.Active != c.Active || !c.Active && string(got.Claims) != `{"active":false}` {
				t.Errorf("active %v: %s", got.Active, got.Claims)
			}
			if got.JWT != "" {
				t.Error("signed, and nobody asked for it")
			}
			if c.Check != nil {
				c.Check(t, w, object(t, got.Claims))
			}
		})
	}
}

func checkReason(t *testing.T, err error, want exchange.Reason, field string) {
	t.Helper()
	if got := exchange.ReasonOf(err); got != want {
		t.Fatalf("reason %q, want %q (%v)", got, want, err)
	}
	if e, ok := errors.AsType[*exchange.Error](err); ok && e.Field != field {
		t.Errorf("field %q, want %q", e.Field, field)
	}
}

func object(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return m
}

// TestSignedIntrospection: IN7. The JWT is for the caller, of a kind of its own, and says in one place what the JSON says.
func TestSignedIntrospection(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewInquiryWorld(t)
	token := w.Token(t, w.Orchestrator, "github:read", nil)
	for _, c := range []struct {
		name  string
		asker exchangetest.Agent
		token string
	}{
		{"IN7 active", w.Courier, token},
		{"IN7 inactive", w.Researcher, token},
		{"IN7 garbage", w.Courier, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			plain, err := w.Service.Introspect(t.Context(), c.asker.Credential(), c.token, false)
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.Service.Introspect(t.Context(), c.asker.Credential(), c.token, true)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(got.JWT, ".")
			if len(parts) != 3 {
				t.Fatalf("%q is no JWS", got.JWT)
			}
			header, payload := object(t, decode(t, parts[0])), object(t, decode(t, parts[1]))
			if header["typ"] != delegation.TypeIntrospection || header["kid"] == nil {
				t.Errorf("header %v", header)
			}
			if payload["iss"] != exchangetest.Issuer || payload["aud"] != c.asker.ClientID || payload["iat"] != float64(w.Clock.Now().Unix()) {
				t.Errorf("claims %v", payload)
			}
			for _, name := range []string{"sub", "exp", "active", "scope", "client_id"} {
				if v, there := payload[name]; there {
					t.Errorf("top-level %s is %v", name, v)
				}
			}
			if got, want := fmt.Sprint(payload["token_introspection"]), fmt.Sprint(object(t, plain.Claims)); got != want {
				t.Errorf("token_introspection %s, want %s", got, want)
			}
			if w.Alive(got.JWT) {
				t.Error("JW4: the answer passes for an access token")
			}
		})
	}
}

func decode(t *testing.T, s string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestIntrospectionFailsClosed: IN3. What cannot be known is an error: neither "active" nor "inactive" would be true.
func TestIntrospectionFailsClosed(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewInquiryWorld(t)
	token := w.Token(t, w.Orchestrator, "github:read", nil)
	for _, step := range []string{"configuration", "verification", "signing"} {
		t.Run("IN3 no "+step, func(t *testing.T) {
			t.Parallel()
			var signed []string
			s := broken(t, w, fault{step, "before"}, &signed)
			got, err := s.Introspect(t.Context(), w.Orchestrator.Credential(), token, true)
			if exchange.ReasonOf(err) != exchange.DependencyUnavailable || got.Active || got.JWT != "" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	t.Run("the caller is gone", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var signed []string
		s := broken(t, w, fault{"verification", "before"}, &signed)
		if _, err := s.Introspect(ctx, w.Orchestrator.Credential(), token, false); err == nil {
			t.Error("answered")
		}
	})
}

// TestIntrospectionLeavesNoRecord: it decides nothing, and a resource that asks at every request would fill the trail.
func TestIntrospectionLeavesNoRecord(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewInquiryWorld(t)
	token := w.Token(t, w.Orchestrator, "github:read", nil)
	for range 3 {
		if _, err := w.Service.Introspect(t.Context(), w.Courier.Credential(), token, false); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.Records(t, exchangetest.Acme)); n != 0 {
		t.Errorf("%d records", n)
	}
}
