// Package scimhttp is the door of an org's identity provider, which keeps the org's users and groups up to date by SCIM 2.0
// (RFC 7643, RFC 7644). It translates and decides nothing: exchange/admin stands behind it.
//
// The base URL is {issuer}/scim/v2 for every org; whose directory it is, the bearer token says alone.
package scimhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/elimity-com/scim/optional"
	"github.com/elimity-com/scim/schema"
	"golang.org/x/time/rate"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/telemetry"
)

// Prefix is where the door is, below the issuer.
const Prefix = "/scim/"

// The bounds of a request.
const (
	maxBody    = 1 << 20 // bytes
	maxToken   = 256
	maxQuery   = 2048
	maxFilter  = 512
	maxMembers = 10_000 // that an answer lists, of all its groups together
	pageSize   = 200    // what a page has at most
	perSecond  = 50     // requests of one org, with a burst of as many
)

// Directories opens the directory that a token is of: *admin.Service. It MUST answer admin.ErrForbidden for any other.
type Directories interface {
	Directory(ctx context.Context, token telemetry.Secret) (admin.Directory, error)
}

// Config is what the door needs. Nothing may be left out.
type Config struct {
	Issuer      string // ours: the door is below its path
	Directories Directories
	Log         *slog.Logger
	Now         func() time.Time
}

type door struct {
	cfg     Config
	base    string // path of the base URL, without the version, which the library takes as absent too
	scim    http.Handler
	refused *rate.Sometimes // what strangers do is logged, and does not fill the log

	mu    sync.Mutex
	asked map[delegation.OrgID]*rate.Limiter // of orgs that authenticated
}

// NewHandler builds the door. It serves all below {path of the issuer}/scim/.
func NewHandler(cfg Config) (http.Handler, error) {
	issuer, err := url.Parse(cfg.Issuer)
	if err != nil || issuer.Host == "" || cfg.Directories == nil || cfg.Log == nil || cfg.Now == nil {
		return nil, errors.New("scimhttp: Issuer, Directories, Log and Now are required")
	}
	users, groups := resourceTypes()
	server, err := scim.NewServer(&scim.ServerArgs{
		ServiceProviderConfig: &scim.ServiceProviderConfig{
			MaxResults: pageSize, SupportFiltering: true, SupportPatch: true,
			AuthenticationSchemes: []scim.AuthenticationScheme{{
				Type: scim.AuthenticationTypeOauthBearerToken, Name: "Bearer token", Primary: true,
				Description: "the token that obo scim token shows", SpecURI: optional.NewString("https://www.rfc-editor.org/rfc/rfc6750"),
			}},
		},
		ResourceTypes: []scim.ResourceType{users, groups},
	}, scim.WithBaseURL(strings.TrimSuffix(cfg.Issuer, "/")+Prefix+"v2"))
	if err != nil {
		return nil, fmt.Errorf("scimhttp: %w", err)
	}
	d := &door{
		cfg: cfg, refused: &rate.Sometimes{First: 10, Interval: time.Second}, asked: map[delegation.OrgID]*rate.Limiter{},
		base: strings.TrimSuffix(issuer.Path, "/") + strings.TrimSuffix(Prefix, "/"),
		scim: http.StripPrefix(strings.TrimSuffix(issuer.Path, "/")+strings.TrimSuffix(Prefix, "/"), server),
	}
	return http.HandlerFunc(d.serve), nil
}

// resourceTypes are what is kept of the core schema: what tells people apart, says whether they may, and shows a person whom
// an entry is of. A password or a telephone number is not kept, and taken without complaint (RFC 7644 §3.3).
func resourceTypes() (users, groups scim.ResourceType) {
	of := func(s schema.Schema, kept ...string) schema.Schema {
		var attributes schema.Attributes
		for _, name := range kept {
			a, _ := s.Attributes.ContainsAttribute(name)
			attributes = append(attributes, a)
		}
		s.Attributes = attributes
		return s
	}
	users = scim.ResourceType{
		ID: optional.NewString("User"), Name: "User", Endpoint: "/Users", Description: optional.NewString("A person whom agents act for"),
		Schema: of(schema.CoreUserSchema(), keptOfUsers...), Handler: userHandler{},
	}
	groups = scim.ResourceType{
		ID: optional.NewString("Group"), Name: "Group", Endpoint: "/Groups", Description: optional.NewString("A group that policies name"),
		Schema: of(schema.CoreGroupSchema(), keptOfGroups...), Handler: groupHandler{},
	}
	return users, groups
}

func (d *door) serve(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(telemetry.WithTraceparent(r.Context(), r.Header.Get("Traceparent")))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			d.cfg.Log.ErrorContext(r.Context(), "a SCIM request failed", "error", fmt.Sprint(p), "trace_id", telemetry.TraceID(r.Context()))
			refuse(w, http.StatusInternalServerError, "", "internal error")
		}
	}()
	directory, err := d.cfg.Directories.Directory(r.Context(), bearer(r))
	switch {
	case errors.Is(err, admin.ErrForbidden):
		d.refused.Do(func() {
			d.cfg.Log.WarnContext(r.Context(), "a SCIM request without a valid token was refused", "path", r.URL.Path)
		})
		h.Set("WWW-Authenticate", `Bearer realm="scim"`)
		refuse(w, http.StatusUnauthorized, "", "the bearer token is not one of a directory here: `obo scim token ORG` makes one")
		return
	case err != nil:
		d.away(w, r, err)
		return
	}
	if wait := d.wait(directory.Org()); wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		refuse(w, http.StatusTooManyRequests, "", fmt.Sprintf("more than %d requests a second: slow down", perSecond))
		return
	}
	if err := check(r); err != nil {
		refuse(w, http.StatusBadRequest, "invalidValue", err.Error())
		return
	}
	if err := d.read(w, r); err != nil {
		bad, _ := errors.AsType[scimerrors.ScimError](err)
		refuse(w, bad.Status, string(bad.ScimType), bad.Detail)
		return
	}
	call := &call{directory: directory}
	d.scim.ServeHTTP(answer{w, call}, r.WithContext(context.WithValue(r.Context(), callKey{}, call)))
	if call.cause != nil {
		d.cfg.Log.ErrorContext(r.Context(), "a SCIM request failed", "error", call.cause, "org", string(directory.Org()),
			"method", r.Method, "trace_id", telemetry.TraceID(r.Context()))
	}
}

// call is one request's, which the library's handlers have no other place for.
type call struct {
	directory admin.Directory
	cause     error // why something is away
	listed    int   // members, of all groups of the answer
}

type callKey struct{}

func callOf(r *http.Request) *call {
	c, _ := r.Context().Value(callKey{}).(*call) // serve put it there
	return c
}

// answer turns the library's 500 into a 503 when something is away: the provider is to try again.
type answer struct {
	http.ResponseWriter
	call *call
}

func (a answer) WriteHeader(status int) {
	if status == http.StatusInternalServerError && a.call.cause != nil {
		status = http.StatusServiceUnavailable
		a.Header().Set("Retry-After", "1")
	}
	a.ResponseWriter.WriteHeader(status)
}

// bearer is the one token of the one Authorization header (RFC 6750 §2.1).
func bearer(r *http.Request) telemetry.Secret {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || len(token) > maxToken {
		return ""
	}
	return telemetry.Secret(token)
}

// wait bounds what one org asks for.
func (d *door) wait(org delegation.OrgID) time.Duration {
	now := d.cfg.Now()
	d.mu.Lock()
	l := d.asked[org]
	if l == nil {
		l = rate.NewLimiter(perSecond, perSecond)
		d.asked[org] = l
	}
	d.mu.Unlock()
	reservation := l.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// check bounds what comes in the URL. A filter is parsed recursively.
func check(r *http.Request) error {
	if len(r.URL.RawQuery) > maxQuery || len(r.URL.Query().Get("filter")) > maxFilter {
		return fmt.Errorf("the query is longer than %d bytes, or its filter than %d", maxQuery, maxFilter)
	}
	return nil
}

// read reads the body, which the library would read without a bound and with duplicate members, and brings the dialects of
// providers into the form of the RFC.
func (d *door) read(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost && r.Method != http.MethodPut && r.Method != http.MethodPatch {
		r.Body = http.NoBody
		return nil
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/scim+json" && media != "application/json" || r.Header.Get("Content-Encoding") != "" {
		return invalid("invalidSyntax", "the body must be application/scim+json, and not compressed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return scimerrors.ScimError{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf(
			"the body is larger than %d bytes: send the members of a group in several PATCH requests", maxBody)}
	}
	if err != nil {
		return invalid("invalidSyntax", "the body did not arrive whole")
	}
	if body, err = normalize(r.Method, strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, d.base), "/v2"), body); err != nil {
		return err
	}
	if body == nil { // a change of nothing that is kept: the answer is what is there
		r.Method, r.Body = http.MethodGet, http.NoBody
		return nil
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return nil
}

// away is the answer when the store is: the provider is to send it again.
func (d *door) away(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	d.cfg.Log.ErrorContext(r.Context(), "a SCIM request failed", "error", err, "trace_id", telemetry.TraceID(r.Context()))
	w.Header().Set("Retry-After", "1")
	refuse(w, http.StatusServiceUnavailable, "", "the directory cannot be reached now: try again")
}

// refuse writes an error (RFC 7644 §3.12).
func refuse(w http.ResponseWriter, status int, kind, detail string) {
	body, _ := scimerrors.ScimError{ScimType: scimerrors.ScimType(kind), Detail: detail, Status: status}.MarshalJSON() // cannot fail
	w.Header().Set("Content-Type", "application/scim+json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // it may have gone away
}

func invalid(kind, detail string) error {
	return scimerrors.ScimError{ScimType: scimerrors.ScimType(kind), Detail: detail, Status: http.StatusBadRequest}
}

// render gives an error of the directory its place in the RFC's table. What went wrong inside is for the log.
func (c *call) render(err error) error {
	detail := strings.TrimPrefix(err.Error(), "admin: ")
	if known, ok := errors.AsType[scimerrors.ScimError](err); ok {
		return known
	}
	switch {
	case errors.Is(err, admin.ErrNotFound):
		return scimerrors.ScimError{Status: http.StatusNotFound, Detail: detail}
	case errors.Is(err, admin.ErrTaken):
		return scimerrors.ScimError{ScimType: scimerrors.ScimTypeUniqueness, Status: http.StatusConflict, Detail: detail}
	case errors.Is(err, admin.ErrConflict):
		return scimerrors.ScimError{Status: http.StatusConflict, Detail: detail}
	case errors.Is(err, admin.ErrInvalid):
		return invalid("invalidValue", detail)
	}
	c.cause = err
	return scimerrors.ScimError{Status: http.StatusInternalServerError, Detail: "the change was not confirmed: try again"}
}
