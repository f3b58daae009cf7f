package exchangegrpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
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
	"google.golang.org/grpc/credentials"
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
	told     exchange.Introspection
	oauth    string // the error code, "" for success
	nonces   []string

	reason string // gRPC only: ErrorInfo.reason
	code   codes.Code
	field  string // the first BadRequest violation
	status int    // HTTP only
}

// door sends a logical request.
type door interface {
	// uri is what a proof for an exchange with the credential names as htu.
	uri(cred exchange.Credential) string
	exchange(t testing.TB, cred exchange.Credential, req exchange.Request) answer
	introspect(t testing.TB, cred exchange.Credential, token string, signed bool) answer
	revoke(t testing.TB, cred exchange.Credential, token string) answer
}

// both are the doors to one server.
func both(t testing.TB, x exchangegrpc.Exchanger) map[string]door {
	t.Helper()
	return map[string]door{"grpc": grpcDoor{x, dial(t, x, nil)}, "http": httpDoor{handlerOf(t, x)}}
}

// authority is the host of exchangetest.Issuer.
const authority = "sts.test"

// grpcDoor is the gRPC door. A caller with a certificate gets a connection of its own.
type grpcDoor struct {
	server exchangegrpc.Exchanger
	plain  *grpc.ClientConn
}

func (grpcDoor) uri(exchange.Credential) string {
	return "https://" + authority + obov1.ExchangeService_Exchange_FullMethodName
}

func (d grpcDoor) client(t testing.TB, cred exchange.Credential) obov1.ExchangeServiceClient {
	t.Helper()
	if len(cred.Certificates) == 0 {
		return obov1.NewExchangeServiceClient(d.plain)
	}
	return obov1.NewExchangeServiceClient(dial(t, d.server, cred.Certificates))
}

func (grpcDoor) context(t testing.TB, cred exchange.Credential) context.Context {
	t.Helper()
	var pairs []string
	switch {
	case cred.Assertion != "":
		pairs = append(pairs, "authorization", "Bearer "+cred.Assertion)
	case cred.Secret != "":
		pairs = append(pairs, "authorization", basicOf(cred.ClientID, cred.Secret.Reveal()))
	}
	if cred.ClientID != "" && cred.Secret == "" {
		pairs = append(pairs, "obo-client-id", cred.ClientID)
	}
	for _, p := range cred.Proofs {
		pairs = append(pairs, "dpop", p)
	}
	return metadata.AppendToOutgoingContext(t.Context(), pairs...)
}

func (d grpcDoor) exchange(t testing.TB, cred exchange.Credential, req exchange.Request) answer {
	t.Helper()
	var trailer metadata.MD
	out, err := d.client(t, cred).Exchange(d.context(t, cred), message(req), grpc.Trailer(&trailer))
	a := answerOf(err)
	a.nonces = trailer.Get("dpop-nonce")
	a.response = exchange.Response{
		AccessToken: out.GetAccessToken(), IssuedTokenType: out.GetIssuedTokenType(), TokenType: out.GetTokenType(),
		ExpiresIn: int(out.GetExpiresIn()), Scope: out.GetScope(), ActionID: out.GetActionId(), AuthorizationDetails: out.GetAuthorizationDetails(),
	}
	return a
}

func (d grpcDoor) introspect(t testing.TB, cred exchange.Credential, token string, signed bool) answer {
	t.Helper()
	out, err := d.client(t, cred).Introspect(d.context(t, cred), &obov1.IntrospectRequest{Token: token, TokenTypeHint: "refresh_token", Signed: signed})
	a := answerOf(err)
	a.told = exchange.Introspection{Active: out.GetActive(), Claims: []byte(out.GetClaims()), JWT: out.GetJwt()}
	return a
}

func (d grpcDoor) revoke(t testing.TB, cred exchange.Credential, token string) answer {
	t.Helper()
	_, err := d.client(t, cred).RevokeToken(d.context(t, cred), &obov1.RevokeTokenRequest{Token: token, TokenTypeHint: "refresh_token"})
	return answerOf(err)
}

func message(req exchange.Request) *obov1.ExchangeRequest {
	return &obov1.ExchangeRequest{
		GrantType: req.Grant, Assertion: req.Assertion, RequestContext: req.RequestContext, RequestDetails: req.RequestDetails,
		SubjectToken: req.SubjectToken, SubjectTokenType: req.SubjectTokenType, ActorToken: req.ActorToken,
		ActorTokenType: req.ActorTokenType, Resource: req.Resource, Audience: req.Audience, Scope: req.Scope,
		RequestedTokenType: req.RequestedTokenType, AuthorizationDetails: req.AuthorizationDetails,
		RequestedExpiresIn: int32(req.RequestedExpiresIn), MayAct: req.MayAct,
	}
}

func basicOf(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

func answerOf(err error) answer {
	if err == nil {
		return answer{}
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

// shown is a handshake that ends as TLS with a client certificate does, for a door that is tried without a network.
type shown struct {
	credentials.TransportCredentials
	certificates []*x509.Certificate
}

func (s shown) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: s.certificates}}, nil
}

func dial(t testing.TB, x exchangegrpc.Exchanger, certificates []*x509.Certificate, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	creds := insecure.NewCredentials()
	if len(certificates) > 0 {
		creds = shown{creds, certificates}
	}
	s := grpcerr.NewServer(grpc.Creds(creds), grpc.UnaryInterceptor(grpcerr.Unary(slog.New(slog.DiscardHandler))), grpc.MaxRecvMsgSize(5<<20))
	exchangegrpc.Register(s, exchangegrpc.Config{Exchange: x, Hosts: []string{"sts.test", "sts.internal"}})
	go s.Serve(l)
	t.Cleanup(s.Stop)
	options = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(authority),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })}, options...)
	conn, err := grpc.NewClient("passthrough:///bufconn", options...)
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

// httpDoor is the HTTP door.
type httpDoor struct{ handler http.Handler }

func (httpDoor) uri(exchange.Credential) string { return exchangetest.Issuer + "/token" }

func (d httpDoor) exchange(t testing.TB, cred exchange.Credential, req exchange.Request) answer {
	t.Helper()
	rec := d.send(t, "/token", cred, formOf(req), "")
	var out struct {
		AccessToken     string          `json:"access_token"`
		IssuedTokenType string          `json:"issued_token_type"`
		TokenType       string          `json:"token_type"`
		ExpiresIn       int             `json:"expires_in"`
		Scope           string          `json:"scope"`
		Details         json.RawMessage `json:"authorization_details"`
		ActionID        string          `json:"action_id"`
	}
	a := refusalOf(t, rec)
	read(t, rec, &out)
	a.response = exchange.Response{
		AccessToken: out.AccessToken, IssuedTokenType: out.IssuedTokenType, TokenType: out.TokenType,
		ExpiresIn: out.ExpiresIn, Scope: out.Scope, ActionID: out.ActionID, AuthorizationDetails: string(out.Details),
	}
	return a
}

func (d httpDoor) introspect(t testing.TB, cred exchange.Credential, token string, signed bool) answer {
	t.Helper()
	accept := ""
	if signed {
		accept = "application/token-introspection+jwt"
	}
	rec := d.send(t, "/introspect", cred, url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}, accept)
	if rec.Code != http.StatusOK {
		return refusalOf(t, rec)
	}
	a := answer{status: rec.Code}
	if signed {
		a.told.JWT = rec.Body.String()
		return a
	}
	a.told.Claims = rec.Body.Bytes()
	var out struct {
		Active bool `json:"active"`
	}
	read(t, rec, &out)
	a.told.Active = out.Active
	return a
}

func (d httpDoor) revoke(t testing.TB, cred exchange.Credential, token string) answer {
	t.Helper()
	rec := d.send(t, "/revoke", cred, url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}, "")
	if rec.Code == http.StatusOK {
		return answer{status: rec.Code}
	}
	return refusalOf(t, rec)
}

// send posts a form with a credential.
func (d httpDoor) send(t testing.TB, path string, cred exchange.Credential, form url.Values, accept string) *httptest.ResponseRecorder {
	t.Helper()
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	switch {
	case cred.Assertion != "":
		kind := cred.AssertionType
		if kind == "" {
			kind = exchange.ClientAssertionType
		}
		form.Set("client_assertion", cred.Assertion)
		form.Set("client_assertion_type", kind)
		set(form, "client_secret", cred.Secret.Reveal())
		set(form, "client_id", cred.ClientID)
	case cred.Secret != "":
		header.Set("Authorization", basicOf(cred.ClientID, cred.Secret.Reveal()))
	default:
		set(form, "client_id", cred.ClientID)
	}
	for _, p := range cred.Proofs {
		header.Add("DPoP", p)
	}
	if accept != "" {
		header.Set("Accept", accept)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header = header
	if len(cred.Certificates) > 0 {
		r.TLS = &tls.ConnectionState{PeerCertificates: cred.Certificates}
	}
	rec := httptest.NewRecorder()
	d.handler.ServeHTTP(rec, r)
	return rec
}

func refusalOf(t testing.TB, rec *httptest.ResponseRecorder) answer {
	t.Helper()
	var out struct {
		Error string `json:"error"`
	}
	read(t, rec, &out)
	return answer{status: rec.Code, oauth: out.Error, nonces: rec.Result().Header.Values("DPoP-Nonce")}
}

func read(t testing.TB, rec *httptest.ResponseRecorder, into any) {
	t.Helper()
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
		t.Fatalf("body %q: %v", rec.Body, err)
	}
}

func formOf(req exchange.Request) url.Values {
	grant := req.Grant
	if grant == "" { // gRPC's default; the form has none (TE10)
		grant = exchange.GrantType
	}
	form := url.Values{"grant_type": {grant}, "resource": req.Resource, "audience": req.Audience}
	for name, value := range map[string]string{
		"assertion": req.Assertion, "request_context": req.RequestContext, "request_details": req.RequestDetails,
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
