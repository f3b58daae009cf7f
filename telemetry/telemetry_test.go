package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const canary = "canary-5ecre7"

type holder struct {
	Name   string
	Secret Secret
	Nested struct{ Secrets []Secret }
	ByName map[string]Secret
}

func held() holder {
	h := holder{Name: "n", Secret: canary, ByName: map[string]Secret{"a": canary}}
	h.Nested.Secrets = []Secret{canary}
	return h
}

func TestSecretDoesNotPrint(t *testing.T) {
	t.Parallel()
	h := held()
	var out bytes.Buffer
	for _, v := range []any{h.Secret, &h.Secret, h, &h, []any{h.Secret}, fmt.Errorf("wrapped: %v", h.Secret), errors.New(fmt.Sprint(h))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if data, err := json.Marshal(v); err == nil {
			out.Write(data)
		}
		for _, format := range []string{"text", "json"} {
			log := NewLogger(&out, slog.LevelDebug, format)
			log.With("with", v).WithGroup("g").Info("message", "key", v, slog.Group("inner", "key", v))
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("a logger that is not ours", "key", v)
	}
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("it prints as %q in\n%s", form, out.String())
		}
	}
	if !strings.Contains(out.String(), Redacted) || h.Secret.Reveal() != canary {
		t.Error("nothing was redacted, or Reveal does not reveal")
	}
}

// protoMessage looks like a request: Go ignores debug_redact.
type protoMessage struct{ SubjectToken string }

func (*protoMessage) ProtoMessage() {}

func TestLoggerDropsWhatLooksLikeASecret(t *testing.T) {
	t.Parallel()
	const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ"
	values := map[string]any{
		"jwt":            jwt,
		"jwt within":     "token " + jwt + " is bad",
		"half a jwt":     jwt[:30],
		"jwe":            jwt + ".x.y",
		"bearer":         "Bearer " + canary,
		"basic":          "authorization: basic " + canary,
		"dpop":           "DPoP " + canary,
		"form":           "grant_type=x&client_secret=" + canary + "&y=z",
		"query":          errors.New(`Get "https://idp.example/cb?code=` + canary + `&state=1": EOF`),
		"dsn":            fmt.Errorf("dial postgres://obo:%s@db/obo", canary),
		"keyword dsn":    "host=db password=" + canary,
		"bytes":          []byte("Bearer " + canary),
		"strings":        []string{"a", "Bearer " + canary},
		"struct":         struct{ Header string }{"Bearer " + canary},
		"pointer":        &struct{ Header map[string][]string }{map[string][]string{"Authorization": {"Bearer " + canary}}},
		"proto":          &protoMessage{canary},
		"github":         "ghp_" + strings.Repeat("canary", 6),
		"slack":          "xoxb-canary-canary",
		"google":         "ya29.canarycanary",
		"id_token in it": "id_token=" + canary,
	}
	for name, v := range values {
		for _, format := range []string{"text", "json"} {
			var out bytes.Buffer
			log := NewLogger(&out, slog.LevelDebug, format)
			log.Info("m", "key", v)
			log.With("key", v).Info("m", slog.Group("g", "key", v))
			log.Info(fmt.Sprint(v))
			if s := out.String(); strings.Contains(s, "canary") && name != "proto" || strings.Contains(s, "eyJ") {
				t.Errorf("%s in %s: %s", name, format, s)
			}
		}
	}
	var out bytes.Buffer
	NewLogger(&out, slog.LevelInfo, "json").Info("m", "key", &protoMessage{canary})
	if strings.Contains(out.String(), canary) {
		t.Errorf("a message was printed: %s", out.String())
	}
}

func TestLoggerKeepsTheRest(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := NewLogger(&out, slog.LevelInfo, "json")
	log.Debug("not at this level")
	log.Info("an error: code = Unavailable code=14", "n", 7, "ok", true, "error", errors.New("rpc error: no route"),
		"url", "https://sts.example:8443/jwks", "key", "value", "none", nil, "scope", "github:issues:write")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"msg": "an error: code = Unavailable code=14", "n": 7.0, "ok": true, "error": "rpc error: no route",
		"url": "https://sts.example:8443/jwks", "key": "value", "none": nil, "level": "INFO", "scope": "github:issues:write",
	} {
		if got := line[key]; got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	out.Reset()
	NewLogger(&out, slog.LevelInfo, "text").Info("hello")
	if !strings.Contains(out.String(), "level=INFO msg=hello") {
		t.Errorf("text: %s", out.String())
	}
}

func TestTraceparent(t *testing.T) {
	t.Parallel()
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for s, ok := range map[string]bool{
		"00-" + id + "-" + parent + "-01":                              true,
		"00-" + id + "-" + parent + "-00":                              true,
		"cc-" + id + "-" + parent + "-01":                              true, // a later version
		"cc-" + id + "-" + parent + "-01-what-the-future-will-be-like": true,
		"00-" + id + "-" + parent + "-01-more":                         false,
		"cc-" + id + "-" + parent + "-01.more":                         false,
		"ff-" + id + "-" + parent + "-01":                              false,
		"00-" + strings.ToUpper(id) + "-" + parent + "-01":             false,
		"00-" + strings.Repeat("0", 32) + "-" + parent + "-01":         false,
		"00-" + id + "-" + strings.Repeat("0", 16) + "-01":             false,
		"00-" + id + "-" + parent + "-0":                               false,
		"00-" + id + "-" + parent:                                      false,
		"00-" + id[:31] + "-" + parent + "-01x":                        false,
		"00-" + id[:30] + "\n\n-" + parent + "-01":                     false,
		"":                                false,
		"00-" + id + "-" + parent + "-zz": false,
		"0x-" + id + "-" + parent + "-01": false,
		"00_" + id + "_" + parent + "_01": false,
		strings.Repeat("a", 1<<16):        false,
	} {
		got, valid := ParseTraceparent(s)
		if valid != ok || ok && got != id {
			t.Errorf("%.80q: %q, %v", s, got, valid)
		}
		ctx := WithTraceparent(context.Background(), s)
		if got := TraceID(ctx); len(got) != 32 || ok != (got == id) {
			t.Errorf("%.80q: trace id %q", s, got)
		}
	}
	if one, other := NewTraceID(), NewTraceID(); TraceID(context.Background()) != "" || one == other {
		t.Error("trace ids are not what they should be")
	}
}

func TestRedactIsIdempotentAndDropsTokens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before, after := rapid.String().Draw(t, "before"), rapid.String().Draw(t, "after")
		s := Redact(before + " Bearer " + canary + " " + after)
		if strings.Contains(s, canary) || Redact(s) != s {
			t.Errorf("%q, then %q", s, Redact(s))
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	for name, s := range map[string]string{"plain": "cannot read changes from the store", "token": "Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Redact(s)
			}
		})
	}
}
