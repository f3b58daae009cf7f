package sample

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/onbehalf/obo/telemetry"
)

// KeyHeader is where the tracker expects its API key.
const KeyHeader = "X-Api-Key"

// Account is a user of the tracker.
type Account struct {
	User string           `json:"user"` // "alice of acme"
	Key  telemetry.Secret `json:"-"`
}

// Issue is one entry of the tracker.
type Issue struct {
	Number  int       `json:"number"`
	Project string    `json:"project"`
	Title   string    `json:"title"`
	Body    string    `json:"body,omitempty"`
	State   string    `json:"state"`
	Author  string    `json:"author"`
	Bounty  int       `json:"bounty,omitempty"` // dollars promised for it
	Created time.Time `json:"created"`
}

// Seen is one request as the tracker saw it: whose credential came, and which headers, but no header's value.
type Seen struct {
	Time    time.Time `json:"time"`
	Method  string    `json:"method"`
	Path    string    `json:"path"`
	Account string    `json:"account"` // empty when no known key came
	Headers []string  `json:"headers"`
	Status  int       `json:"status"`
}

// maxSeen bounds what the tracker remembers of its visitors and how many issues it keeps.
const maxSeen, maxIssues = 10_000, 10_000

// Tracker is a small issue tracker with API keys, and with OAuth for those who would rather allow than hand out. It keeps everything in
// memory.
type Tracker struct {
	accounts []Account
	consents *consents
	now      func() time.Time

	mu     sync.Mutex
	issues []Issue
	seen   []Seen
}

// NewTracker makes a tracker at a URL with a few issues in it.
func NewTracker(url string, accounts []Account, now func() time.Time) *Tracker {
	users := make([]string, len(accounts))
	for i, a := range accounts {
		users[i] = a.User
	}
	t := &Tracker{accounts: accounts, consents: newConsents(url, users, now), now: now}
	for _, i := range []Issue{
		{Project: "apollo", Title: "Landing radar reports altitude twice", State: "open", Author: "margaret"},
		{Project: "apollo", Title: "Program alarm 1202 floods the log", State: "open", Author: "jack"},
		{Project: "apollo", Title: "Typo in the checklist", State: "closed", Author: "alice"},
		{Project: "payroll", Title: "Salary bands 2026", State: "open", Author: "carol"},
	} {
		i.Number, i.Created = len(t.issues)+1, now().Add(-24*time.Hour).UTC().Truncate(time.Second)
		t.issues = append(t.issues, i)
	}
	return t
}

// Handler serves the tracker's API under /v1, its authorization server under /oauth, and what it has seen at /seen.
func (t *Tracker) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /seen", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, t.Seen()) })
	mux.Handle("/oauth/", t.consents.handler())
	api := http.NewServeMux()
	for _, route := range []struct {
		pattern, scope string
		handle         func(http.ResponseWriter, *http.Request, string)
	}{
		{"GET /v1/account", "", t.account},
		{"GET /v1/projects/{project}/issues", "issues:read", t.list},
		{"POST /v1/projects/{project}/issues", "issues:write", t.create},
		{"GET /v1/projects/{project}/issues/{number}", "issues:read", t.get},
		{"POST /v1/projects/{project}/issues/{number}/close", "issues:close", t.close},
		{"POST /v1/projects/{project}/issues/{number}/bounty", "bounties:award", t.award},
	} {
		api.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			from, _ := t.visitor(r) // guard knows
			if route.scope != "" && !slices.Contains(from.scopes, route.scope) {
				answer(w, http.StatusForbidden, map[string]string{"error": "insufficient_scope", "message": "it needs " + route.scope})
				return
			}
			route.handle(w, r, from.user)
		})
	}
	mux.Handle("/v1/", t.guard(api))
	return mux
}

// Seen are the requests to the API so far.
func (t *Tracker) Seen() []Seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.seen)
}

// guard lets known keys and access tokens in and remembers every request.
func (t *Tracker) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := Seen{Time: t.now().UTC(), Method: r.Method, Path: r.URL.Path}
		for name := range r.Header {
			s.Headers = append(s.Headers, name)
		}
		slices.Sort(s.Headers)
		from, problem := t.visitor(r)
		s.Account = from.user
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		if problem != "" {
			answer(recorder, http.StatusUnauthorized, map[string]string{"error": problem, "message": "the credential is not known here, or not any more"})
		} else {
			r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
			next.ServeHTTP(recorder, r)
		}
		s.Status = recorder.status
		t.mu.Lock()
		defer t.mu.Unlock()
		t.seen = append(t.seen, s)
		if len(t.seen) > maxSeen {
			t.seen = slices.Delete(t.seen, 0, len(t.seen)-maxSeen)
		}
	})
}

// visitor is who sends a request, by an access token or by an API key, which may do everything; or the problem with it.
func (t *Tracker) visitor(r *http.Request) (from consent, problem string) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if from, ok = t.consents.allows(token); !ok {
			return consent{}, "invalid_token"
		}
		return from, ""
	}
	for _, a := range t.accounts {
		if same(r.Header.Get(KeyHeader), a.Key) {
			from = consent{a.User, scopes()}
		}
	}
	if from.user == "" {
		return from, "bad_key"
	}
	return from, ""
}

// account says whose credential it is.
func (t *Tracker) account(w http.ResponseWriter, _ *http.Request, user string) {
	answer(w, http.StatusOK, map[string]string{"user": user})
}

func (t *Tracker) list(w http.ResponseWriter, r *http.Request, _ string) {
	state := cmp.Or(r.URL.Query().Get("state"), "open")
	t.mu.Lock()
	defer t.mu.Unlock()
	found := []Issue{}
	for _, i := range t.issues {
		if i.Project == r.PathValue("project") && (state == "all" || i.State == state) {
			found = append(found, i)
		}
	}
	answer(w, http.StatusOK, map[string]any{"issues": found})
}

func (t *Tracker) create(w http.ResponseWriter, r *http.Request, user string) {
	var in struct{ Title, Body string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Title == "" {
		answer(w, http.StatusUnprocessableEntity, map[string]string{"error": "bad_issue", "message": "an issue needs a title"})
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.issues) >= maxIssues {
		answer(w, http.StatusInsufficientStorage, map[string]string{"error": "full", "message": "no more issues"})
		return
	}
	i := Issue{Number: len(t.issues) + 1, Project: r.PathValue("project"), Title: in.Title, Body: in.Body, State: "open",
		Author: user, Created: t.now().UTC()}
	t.issues = append(t.issues, i)
	answer(w, http.StatusCreated, i)
}

func (t *Tracker) get(w http.ResponseWriter, r *http.Request, _ string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.find(r); i != nil {
		answer(w, http.StatusOK, *i)
		return
	}
	answer(w, http.StatusNotFound, map[string]string{"error": "not_found", "message": "no such issue"})
}

func (t *Tracker) close(w http.ResponseWriter, r *http.Request, _ string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.find(r); i != nil {
		i.State = "closed"
		answer(w, http.StatusOK, *i)
		return
	}
	answer(w, http.StatusNotFound, map[string]string{"error": "not_found", "message": "no such issue"})
}

func (t *Tracker) award(w http.ResponseWriter, r *http.Request, _ string) {
	var in struct{ Dollars int }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Dollars < 1 {
		answer(w, http.StatusUnprocessableEntity, map[string]string{"error": "bad_bounty", "message": "a bounty is of whole dollars"})
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.find(r); i != nil {
		i.Bounty += in.Dollars
		answer(w, http.StatusOK, *i)
		return
	}
	answer(w, http.StatusNotFound, map[string]string{"error": "not_found", "message": "no such issue"})
}

// find is called with the lock held.
func (t *Tracker) find(r *http.Request) *Issue {
	number, err := strconv.Atoi(r.PathValue("number"))
	if err != nil || number < 1 || number > len(t.issues) || t.issues[number-1].Project != r.PathValue("project") {
		return nil
	}
	return &t.issues[number-1]
}

// statusRecorder remembers the status that was sent.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}
