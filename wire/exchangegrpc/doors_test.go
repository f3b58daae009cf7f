package exchangegrpc_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/wire/exchangegrpc"
	"github.com/onbehalf/obo/wire/grpcerr"
	"github.com/onbehalf/obo/wire/oauthhttp"
)

// answer is what a door said, in words that both have.
type answer struct {
	response exchange.Response
	oauth    string // the error code, "" for success

	reason string // gRPC only: ErrorInfo.reason
	code   codes.Code
	field  string // the first BadRequest violation
	status int    // HTTP only
}

// door sends a logical request.
type door func(t testing.TB, cred exchange.Credential, req exchange.Request) answer

// TestGR9Parity: the same request says the same at both doors, success or refusal.
func TestGR9Parity(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	grpcDoor, httpDoor := overGRPC(t, w.Service), overHTTP(t, w.Service)
	cases := exchangetest.Cases()
	if len(cases) == 0 {
		t.Fatal("there are no cases")
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			for name, send := range map[string]door{"http": httpDoor, "grpc": grpcDoor} {
				cred, req := c.Build(t, w) // anew: an assertion is used once
				if name == "grpc" && cred.Assertion != "" && (cred.ClientID != "" || cred.Secret != "") {
					continue // one authorization value cannot say it
				}
				got := send(t, cred, req)
				if c.Want == "" {
					checkSuccess(t, w, c, name, got)
					continue
				}
				if got.oauth != c.Want.OAuth() {
					t.Errorf("%s: error %q, want %q (%s)", name, got.oauth, c.Want.OAuth(), c.Want)
				}
				if name == "grpc" {
					checkStatus(t, c, got)
				}
			}
		})
	}
}

func checkSuccess(t *testing.T, w *exchangetest.World, c exchangetest.Case, name string, got answer) {
	t.Helper()
	r := got.response
	if got.oauth != "" || r.AccessToken == "" || r.IssuedTokenType == "" || r.TokenType == "" || r.ExpiresIn <= 0 || r.ActionID == "" {
		t.Errorf("%s: %q %v, want a token (TX12, TE13, TE14)", name, got.oauth, r)
		return
	}
	if c.Check != nil {
		c.Check(t, w, r)
	}
}

func checkStatus(t *testing.T, c exchangetest.Case, got answer) {
	t.Helper()
	if got.reason != string(c.Want) || got.field != c.Field {
		t.Errorf("grpc: %s of field %q, want %s of %q (GR3)", got.reason, got.field, c.Want, c.Field)
	}
	if (got.code == codes.Unauthenticated) != (c.Want == exchange.InvalidClient) {
		t.Errorf("grpc: %s for %s (GR1, GR4)", got.code, c.Want)
	}
	if c.Want == exchange.DelegationDenied && got.code != codes.PermissionDenied {
		t.Errorf("grpc: %s for %s (GR1)", got.code, c.Want)
	}
}

func overGRPC(t testing.TB, x exchangegrpc.Exchanger) door {
	t.Helper()
	client := obov1.NewExchangeServiceClient(dial(t, x))
	return func(t testing.TB, cred exchange.Credential, req exchange.Request) answer {
		t.Helper()
		ctx := t.Context()
		switch {
		case cred.Assertion != "":
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+cred.Assertion)
		case cred.ClientID != "" || cred.Secret != "":
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", basicOf(cred.ClientID, cred.Secret.Reveal()))
		}
		out, err := client.Exchange(ctx, message(req))
		return answerOf(out, err)
	}
}

func message(req exchange.Request) *obov1.ExchangeRequest {
	return &obov1.ExchangeRequest{
		SubjectToken: req.SubjectToken, SubjectTokenType: req.SubjectTokenType, ActorToken: req.ActorToken,
		ActorTokenType: req.ActorTokenType, Resource: req.Resource, Audience: req.Audience, Scope: req.Scope,
		RequestedTokenType: req.RequestedTokenType, AuthorizationDetails: req.AuthorizationDetails,
		RequestedExpiresIn: int32(req.RequestedExpiresIn), MayAct: req.MayAct,
	}
}

func basicOf(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

func answerOf(out *obov1.ExchangeResponse, err error) answer {
	if err == nil {
		return answer{response: exchange.Response{
			AccessToken: out.GetAccessToken(), IssuedTokenType: out.GetIssuedTokenType(), TokenType: out.GetTokenType(),
			ExpiresIn: int(out.GetExpiresIn()), Scope: out.GetScope(), ActionID: out.GetActionId(),
		}}
	}
	s := status.Convert(err)
	a := answer{code: s.Code(), oauth: "(no ErrorInfo)"}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			a.reason, a.oauth = d.GetReason(), d.GetMetadata()[grpcerr.OAuthKey]
		case *errdetails.BadRequest:
			a.field = d.GetFieldViolations()[0].GetField()
		}
	}
	return a
}

func dial(t testing.TB, x exchangegrpc.Exchanger) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	s := grpcerr.NewServer(grpc.UnaryInterceptor(grpcerr.Unary(slog.New(slog.DiscardHandler))), grpc.MaxRecvMsgSize(5<<20))
	exchangegrpc.Register(s, x)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func handlerOf(t testing.TB, x oauthhttp.Exchanger) http.Handler {
	t.Helper()
	h, err := oauthhttp.NewHandler(oauthhttp.Config{
		Issuer: exchangetest.Issuer, Exchange: x, JWKS: func() []byte { return nil }, JWKSMaxAge: time.Minute,
		Ready: func() error { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func overHTTP(t testing.TB, x oauthhttp.Exchanger) door {
	t.Helper()
	h := handlerOf(t, x)
	return func(t testing.TB, cred exchange.Credential, req exchange.Request) answer {
		t.Helper()
		form := formOf(req)
		header := ""
		switch {
		case cred.Assertion != "":
			form.Set("client_assertion", cred.Assertion)
			form.Set("client_assertion_type", exchange.ClientAssertionType)
			set(form, "client_id", cred.ClientID)
			set(form, "client_secret", cred.Secret.Reveal())
		case cred.ClientID != "" || cred.Secret != "":
			header = basicOf(cred.ClientID, cred.Secret.Reveal())
		}
		return sendForm(t, h, form.Encode(), header)
	}
}

func formOf(req exchange.Request) url.Values {
	form := url.Values{"grant_type": {exchange.GrantType}, "resource": req.Resource, "audience": req.Audience}
	for name, value := range map[string]string{
		"subject_token": req.SubjectToken, "subject_token_type": req.SubjectTokenType, "actor_token": req.ActorToken,
		"actor_token_type": req.ActorTokenType, "scope": req.Scope, "requested_token_type": req.RequestedTokenType,
		"authorization_details": req.AuthorizationDetails, "may_act": req.MayAct,
	} {
		set(form, name, value)
	}
	if req.RequestedExpiresIn != 0 {
		form.Set("requested_expires_in", strconv.Itoa(req.RequestedExpiresIn))
	}
	return form
}

func set(form url.Values, name, value string) {
	if value != "" {
		form.Set(name, value)
	}
}

func sendForm(t testing.TB, h http.Handler, body, authorization string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	data, err := io.ReadAll(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		AccessToken     string `json:"access_token"`
		IssuedTokenType string `json:"issued_token_type"`
		TokenType       string `json:"token_type"`
		ExpiresIn       int    `json:"expires_in"`
		Scope           string `json:"scope"`
		ActionID        string `json:"action_id"`
		Error           string `json:"error"`
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("body %q: %v", data, err)
	}
	return answer{status: rec.Code, oauth: out.Error, response: exchange.Response{
		AccessToken: out.AccessToken, IssuedTokenType: out.IssuedTokenType, TokenType: out.TokenType,
		ExpiresIn: out.ExpiresIn, Scope: out.Scope, ActionID: out.ActionID,
	}}
}
