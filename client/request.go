package client

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"time"
)

// The grants.
const (
	GrantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
	GrantClientCredentials = "client_credentials"
	GrantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// The types of tokens (RFC 8693 §3, and the drafts for ID-JAG and transaction tokens).
const (
	TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	TypeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	TypeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	TypeIDJAG       = "urn:ietf:params:oauth:token-type:id-jag"
	TypeTxnToken    = "urn:ietf:params:oauth:token-type:txn_token"
)

// Request is what to ask the token endpoint for (RFC 8693 §2.1). What is empty is not sent.
type Request struct {
	Grant       string // empty: GrantTokenExchange
	Subject     Source // who the token acts for: the user's ID token, or a token of obo
	SubjectType string // TypeIDToken, TypeJWT or TypeAccessToken
	Actor       Source // who will act; nil: this client's own agent
	ActorType   string // empty: TypeJWT when there is an Actor
	Assertion   Source // of GrantJWTBearer

	Resource []string // where the token will be used: URIs that the org registered
	Audience []string // the same by registered names
	Scope    string   // space-separated; empty: all that policy allows

	RequestedType        string        // empty: an access token
	AuthorizationDetails string        // JSON array (RFC 9396); empty: the subject token's
	Life                 time.Duration // empty: the server's default. Whole seconds
	MayAct               string        // client id of the one agent that may pick the token up
	RequestContext       string        // JSON object, for a transaction token
	RequestDetails       string        // JSON object, for a transaction token
}

// Source gives the token that goes into a request, each time that the request is sent: an assertion is accepted once, and an
// ID token is renewed elsewhere. Sources are compared with ==, but for Static, whose tokens are, to
// know whether two requests are the same. So a Source is of one party: where tokens are shared its context has no values, or it
// could give the token of whichever user happens to call, and everybody would act for that one.
type Source interface {
	Token(ctx context.Context) (string, error)
}

// Static is a token that is always the same.
func Static(token string) Source { return &static{func() string { return token }} }

// static holds its token in a function: fmt looks into the fields of a Request that somebody else's struct holds, does not ask
// their methods there, and cannot look into a function.
type static struct{ token func() string }

// Token is the token.
func (s *static) Token(context.Context) (string, error) { return s.token(), nil }

// SourceFunc is a Source that calls f. Keep it: each call of SourceFunc makes a source that equals no other, and so shares no
// token with another.
func SourceFunc(f func(context.Context) (string, error)) Source { return &sourceFunc{f} }

type sourceFunc struct {
	f func(context.Context) (string, error)
}

// Token calls the function.
func (s *sourceFunc) Token(ctx context.Context) (string, error) { return s.f(ctx) }

// shared is the request as it is sent for all callers: its sources learn nothing of who called first.
func (r Request) shared() Request {
	for _, s := range []*Source{&r.Subject, &r.Actor, &r.Assertion} {
		if *s != nil {
			*s = impersonal{*s}
		}
	}
	return r
}

type impersonal struct{ Source }

// Token asks the source without the values of the context.
func (s impersonal) Token(ctx context.Context) (string, error) { return s.Source.Token(valueless{ctx}) }

// valueless is a context's end without its values.
type valueless struct{ context.Context }

// Value is none.
func (valueless) Value(any) any { return nil }

// form is the request as RFC 8693 §2.1 has it, its sources asked.
func (r Request) form(ctx context.Context) (url.Values, error) {
	grant := r.Grant
	if grant == "" {
		grant = GrantTokenExchange
	}
	f := url.Values{"grant_type": {grant}}
	for _, s := range []struct {
		name   string
		source Source
	}{{"subject_token", r.Subject}, {"actor_token", r.Actor}, {"assertion", r.Assertion}} {
		if s.source == nil {
			continue
		}
		token, err := s.source.Token(ctx)
		if err != nil {
			return nil, fmt.Errorf("client: cannot get the %s: %w", s.name, err)
		}
		if token == "" {
			return nil, fmt.Errorf("client: the %s is empty", s.name)
		}
		f.Set(s.name, token)
	}
	actorType := r.ActorType
	if actorType == "" && r.Actor != nil {
		actorType = TypeJWT
	}
	for name, value := range map[string]string{
		"subject_token_type": r.SubjectType, "actor_token_type": actorType, "scope": r.Scope,
		"requested_token_type": r.RequestedType, "authorization_details": r.AuthorizationDetails, "may_act": r.MayAct,
		"request_context": r.RequestContext, "request_details": r.RequestDetails,
	} {
		if value != "" {
			f.Set(name, value)
		}
	}
	if r.Life != 0 {
		seconds := r.Life / time.Second
		if seconds < 1 || seconds > math.MaxInt32 {
			return nil, fmt.Errorf("client: Life is %v: at least a second", r.Life)
		}
		f.Set("requested_expires_in", strconv.FormatInt(int64(seconds), 10))
	}
	if len(r.Resource) > 0 {
		f["resource"] = r.Resource
	}
	if len(r.Audience) > 0 {
		f["audience"] = r.Audience
	}
	return f, nil
}

// key is the whole request, as something that can be compared: requests that differ in anything never share a token. Fixed
// tokens are in the hash, so that the cache holds none of them; other sources stand for themselves.
type key struct {
	sum                       [sha256.Size]byte
	subject, actor, assertion Source
}

var errSource = errors.New("client: a Source must be comparable, such as a pointer")

func (r Request) key() (key, error) {
	var k key
	h := sha256.New()
	for _, s := range []struct {
		source Source
		into   *Source
	}{{r.Subject, &k.subject}, {r.Actor, &k.actor}, {r.Assertion, &k.assertion}} {
		fixed, ok := s.source.(*static)
		switch {
		case s.source == nil:
			add(h, "none")
		case ok:
			add(h, "static", fixed.token())
		case !reflect.ValueOf(s.source).Comparable():
			return key{}, errSource
		default:
			add(h, "source")
			*s.into = s.source
		}
	}
	add(h, r.Grant, r.SubjectType, r.ActorType, r.Scope, r.RequestedType, r.AuthorizationDetails, r.Life.String(), r.MayAct,
		r.RequestContext, r.RequestDetails)
	add(h, strconv.Itoa(len(r.Resource)))
	add(h, r.Resource...)
	add(h, strconv.Itoa(len(r.Audience)))
	add(h, r.Audience...)
	h.Sum(k.sum[:0])
	return k, nil
}

// add hashes each text behind its length, so that no two lists of texts read alike.
func add(h hash.Hash, texts ...string) {
	for _, t := range texts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(t))) // a hash takes everything
		_, _ = h.Write([]byte(t))
	}
}
