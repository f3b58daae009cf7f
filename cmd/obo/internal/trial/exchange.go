package trial

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/egress"
)

// Exchange is one request and its answer, without a value that anybody but the record's author has put there.
type Exchange struct {
	Method     string   `json:"method"`
	Host       string   `json:"host"`
	Path       string   `json:"path"`
	Parameters []string `json:"parameters,omitempty"` // names, of the query and the body
	Sent       []string `json:"sent_headers,omitempty"`

	Status      int      `json:"status,omitempty"` // 0: no answer
	NoAnswer    string   `json:"no_answer,omitempty"`
	ContentType string   `json:"content_type,omitempty"`
	Headers     []string `json:"headers,omitempty"` // names of those that matter
	AuthError   string   `json:"www_authenticate_error,omitempty"`
	Body        any      `json:"body,omitempty"` // see shape
}

// answer is what came, for those who read it as the executor does.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// send makes a request once, and shows its exchange in the step.
func (r *run) send(ctx context.Context, s *Step, request *http.Request) (a answer) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	x := r.asked(request)
	s.Exchange = x
	request = request.WithContext(ctx)
	request.GetBody = nil // nothing may send it again by itself
	response, err := r.HTTP.Do(request)
	if err == nil {
		defer response.Body.Close()
		a.status, a.header = response.StatusCode, response.Header
		a.body, err = io.ReadAll(io.LimitReader(response.Body, connection.MaxAnswer+1))
		if err == nil && len(a.body) > connection.MaxAnswer {
			err = egress.ErrTooLarge
		}
	}
	if err != nil {
		a.err, x.NoAnswer = err, r.clean(r.places().Replace(why(err)))
		s.see("no answer: %s", x.NoAnswer)
		return a
	}
	x.Status = a.status
	x.ContentType = mediaType(a.header)
	x.Headers = telling(a.header)
	if m := authError.FindStringSubmatch(a.header.Get("WWW-Authenticate")); m != nil {
		x.AuthError = errorCode(m[1])
	}
	x.Body = shape(a.body, x.ContentType, a.status >= 400, r.clean)
	seen := cmp.Or(x.ContentType, "without a content type")
	if fields, ok := x.Body.(map[string]any); ok {
		seen = "with " + strings.Join(slices.Sorted(maps.Keys(fields)), " ")
	}
	s.see("HTTP %d, %s", a.status, seen)
	return a
}

// asked describes a request. What a setting or an argument put into its host or its path is replaced by the name.
func (r *run) asked(request *http.Request) *Exchange {
	names := slices.Collect(maps.Keys(request.URL.Query()))
	if request.GetBody != nil {
		if body, err := request.GetBody(); err == nil {
			text, _ := io.ReadAll(io.LimitReader(body, connection.MaxArguments))
			names = append(names, bodyNames(text, request.Header.Get("Content-Type"))...)
		}
	}
	for i, name := range names {
		names[i] = r.clean(fieldName(name))
	}
	slices.Sort(names)
	var sent []string
	for name := range request.Header {
		if name != "User-Agent" {
			sent = append(sent, strings.ToLower(name))
		}
	}
	slices.Sort(sent)
	places := r.places()
	host, path := places.Replace(request.URL.Host), places.Replace(request.URL.EscapedPath())
	return &Exchange{
		Method: request.Method, Host: r.clean(host), Path: r.clean(path), Parameters: slices.Compact(names), Sent: sent,
	}
}

// places replaces what settings, arguments and the client's id may put into a URL.
func (r *run) places() *strings.Replacer {
	values := map[string]string{}
	put := func(name, value string) {
		if u, err := url.Parse(value); err == nil && u.Host != "" { // a setting that is a URL
			values[u.Host] = name
			value = strings.TrimSuffix(u.EscapedPath(), "/")
		}
		if len(value) > 1 {
			strict := strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
			values[value], values[url.PathEscape(value)], values[strict] = name, name, name
		}
	}
	var argument func(name string, v any)
	argument = func(name string, v any) {
		switch x := v.(type) {
		case string:
			put(name, x)
		case json.Number:
			put(name, x.String())
		case []any:
			for _, item := range x {
				argument(name, item)
			}
		case map[string]any:
			for inner, item := range x {
				argument(inner, item)
			}
		}
	}
	var all any
	d := json.NewDecoder(bytes.NewReader(r.Arguments.JSON()))
	d.UseNumber()
	if d.Decode(&all) == nil {
		argument("", all)
	}
	for name, value := range r.settings {
		put(name, value)
	}
	put("client_id", r.Client.ID)
	var pairs []string
	for _, value := range slices.SortedFunc(maps.Keys(values), func(a, b string) int { // the longest first
		return cmp.Or(len(b)-len(a), strings.Compare(a, b))
	}) {
		pairs = append(pairs, value, "{"+values[value]+"}")
	}
	return strings.NewReplacer(pairs...)
}

// bodyNames are the parameters of a body.
func bodyNames(text []byte, contentType string) []string {
	switch {
	case strings.HasPrefix(contentType, "application/json"):
		var fields map[string]json.RawMessage
		if json.Unmarshal(text, &fields) == nil {
			return slices.Collect(maps.Keys(fields))
		}
	case strings.HasPrefix(contentType, formType):
		if form, err := url.ParseQuery(string(text)); err == nil {
			return slices.Collect(maps.Keys(form))
		}
	}
	return nil
}

// why is the innermost cause: those around it quote the URL, and addresses of this machine.
func why(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "none in " + askFor.String()
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, egress.ErrAddress):
		return "the host's address is not public, and is not called (--allow-loopback allows this machine)"
	case errors.Is(err, egress.ErrPlaintext):
		return "http is not spoken to a host elsewhere"
	case errors.Is(err, egress.ErrTooLarge):
		return "it is too long"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "the host's name: " + dns.Err
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}

const formType = "application/x-www-form-urlencoded"

func mediaType(h http.Header) string {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || len(media) > 100 {
		return ""
	}
	return media
}

var authError = regexp.MustCompile(`\berror="?([^",\s]+)`)

// telling are the names of the headers that a record can be about.
func telling(h http.Header) []string {
	var out []string
	for name := range h {
		name = strings.ToLower(name)
		if slices.Contains([]string{"www-authenticate", "retry-after", "location", "dpop-nonce", "content-encoding"}, name) ||
			strings.Contains(name, "ratelimit") || strings.Contains(name, "rate-limit") || strings.HasSuffix(name, "-scopes") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
