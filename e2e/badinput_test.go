package e2e_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// What one bad input may cost, and all of them together.
const (
	patience  = 5 * time.Second
	maxGrowth = 64 << 10 // KiB of a server's peak memory
)

const (
	badRequest = "InvalidArgument INVALID_REQUEST"
	badSubject = "InvalidArgument SUBJECT_TOKEN_INVALID"
	badForm    = "400 invalid_request"
	tooLarge   = "ResourceExhausted -" // grpc-go's own refusal, before a byte is read (GR5)
)

// bad is one input that must be refused. The name begins with the rule. words must be in the answer.
type bad struct {
	name  string
	send  func(t *testing.T) (answer, text string)
	want  string // gRPC code and ErrorInfo reason, or HTTP status and OAuth error
	words string
}

// TestBadInput: whatever a stranger, a client, an agent or an operator sends, the real servers answer it with the code that
// says whose fault it is, soon, and without growing.
func TestBadInput(t *testing.T) {
	for name, store := range engines(t) {
		t.Run(name, func(t *testing.T) {
			badInput(t, newWorld(t, options{stsStore: store(t, "sts"), execStore: store(t, "executor")}))
		})
	}
}

func badInput(t *testing.T, w *world) {
	w.apply(t, "acme")
	b := newBadWorld(t, w)
	before := map[*process]int{w.sts: peak(t, w.sts), w.executor: peak(t, w.executor)}
	for group, rows := range map[string][]bad{
		"frames": b.frames(), "forms": b.forms(), "tokens": b.tokens(t), "documents": b.documents(t), "control characters": b.controls(),
	} {
		if len(rows) == 0 {
			t.Errorf("%s: no rows", group)
		}
		for _, row := range rows {
			t.Run(group+"/"+row.name, func(t *testing.T) {
				start := time.Now()
				got, text := row.send(t)
				if took := time.Since(start); took > patience {
					t.Errorf("answered after %v", took)
				}
				if got != row.want || !strings.Contains(text, row.words) {
					t.Errorf("got %s (%.300s), want %s with %q", got, text, row.want, row.words)
				}
			})
		}
	}
	for p, was := range before {
		if now := peak(t, p); now-was > maxGrowth {
			t.Errorf("%s grew from %d to %d KiB", p.binary, was, now)
		} else {
			t.Logf("%s: peak %d KiB, then %d KiB", p.binary, was, now)
		}
	}
	if n := w.tracker.count(); n != 0 {
		t.Errorf("a bad input reached the provider %d times", n)
	}
	if _, err := w.first(t.Context(), b.exchange, "acme", w.idp.idToken(t, "acme"), "tracker:issues:read"); err != nil {
		t.Errorf("after all that an honest exchange fails: %v", err)
	}
}

// badWorld is a world with what the rows need.
type badWorld struct {
	*world
	sts, exec *grpc.ClientConn
	exchange  obov1.ExchangeServiceClient
	token     string // good at the executor
}

func newBadWorld(t *testing.T, w *world) *badWorld {
	t.Helper()
	b := &badWorld{world: w, sts: dial(t, w.stsAddr), exec: dial(t, w.execAddr)}
	b.exchange = obov1.NewExchangeServiceClient(b.sts)
	r, err := w.first(t.Context(), b.exchange, "acme", w.idp.idToken(t, "acme"), "tracker:issues:read")
	if err != nil {
		t.Fatal(err)
	}
	b.token = r.GetAccessToken()
	w.awaitPolicy(t, obov1.NewExecutorServiceClient(b.exec), b.token)
	return b
}

// peak is the most memory that a process ever had, in KiB.
func peak(t *testing.T, p *process) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (raw) Unmarshal([]byte, any) error     { return nil }
func (raw) Name() string                    { return "proto" }
func (b *badWorld) client() context.Context { return b.as("acme.orchestrator") }

func (b *badWorld) as(client string) context.Context {
	return basic(context.Background(), client, b.secrets[client])
}

func (b *badWorld) operator() context.Context { return bearer(context.Background(), b.admin) }

// call calls a method and says how it was refused.
func call(ctx context.Context, c *grpc.ClientConn, method string, in any, options ...grpc.CallOption) (answer, text string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := c.Invoke(ctx, "/obo.v1."+method, in, new(emptypb.Empty), append(options, grpc.MaxCallSendMsgSize(32<<20))...)
	s := status.Convert(err)
	reason := "-"
	text = s.Message()
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			reason = d.GetReason()
		case *errdetails.BadRequest:
			text += " " + d.String()
		}
	}
	return s.Code().String() + " " + reason, text
}

func (b *badWorld) exchanging(change func(*obov1.ExchangeRequest)) func(t *testing.T) (string, string) {
	return func(t *testing.T) (string, string) {
		in := b.honest(t)
		change(in)
		return call(b.client(), b.sts, "ExchangeService/Exchange", in)
	}
}

func (b *badWorld) honest(t *testing.T) *obov1.ExchangeRequest {
	return &obov1.ExchangeRequest{
		SubjectToken: b.idp.idToken(t, "acme"), SubjectTokenType: typeIDToken, Resource: []string{audience}, Scope: "tracker:issues:read",
	}
}

// frames are bytes that are no message, and calls that are none.
func (b *badWorld) frames() []bad {
	frame := func(c *grpc.ClientConn, method, data string) func(*testing.T) (string, string) {
		return func(*testing.T) (string, string) {
			return call(b.client(), c, method, []byte(data), grpc.ForceCodec(raw{}))
		}
	}
	const exchange, execute = "ExchangeService/Exchange", "ExecutorService/Execute"
	var rows []bad
	for name, data := range map[string]string{
		"not protobuf":               "\xff\xff\xff\xff",
		"a length beyond the end":    "\x0a\xff\xff\xff\xff\x07x",
		"a varint without end":       "\x50" + strings.Repeat("\x80", 64),
		"invalid UTF-8":              "\x0a\x02\xc3\x28",
		"field number 0":             "\x02\x01x",
		"groups nested 1,000,000":    strings.Repeat("\x7b", 1_000_000),
		"an end without a beginning": "\x7c",
	} {
		rows = append(rows,
			bad{"GR1 GR5 exchange: " + name, frame(b.sts, exchange, data), badRequest, ""},
			bad{"GR1 GR5 execute: " + name, frame(b.exec, execute, data), badRequest, ""})
	}
	return append(rows,
		bad{"GR5 unknown method of the exchange", frame(b.sts, "ExchangeService/Nothing", ""), "Unimplemented -", ""},
		bad{"GR5 unknown method of the executor", frame(b.exec, "ExecutorService/Nothing", ""), "Unimplemented -", ""},
		bad{"GR5 unknown service", frame(b.sts, "NoService/Nothing", ""), "Unimplemented -", ""},
		bad{"GR5 the executor does not exchange", frame(b.exec, exchange, ""), "Unimplemented -", ""},
		bad{"GR5 the token server does not execute", frame(b.sts, execute, ""), "Unimplemented -", ""},
		bad{"TX16 an empty message without a credential", func(*testing.T) (string, string) {
			return call(context.Background(), b.sts, exchange, []byte{}, grpc.ForceCodec(raw{}))
		}, "Unauthenticated INVALID_CLIENT", ""},
	)
}

// post sends a body to the token endpoint and holds every refusal to TE7 and TE8.
func (b *badWorld) post(t *testing.T, query, contentType string, body io.Reader, change func(*http.Request)) (answer, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.issuer+"/token"+query, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.SetBasicAuth("acme.orchestrator", b.secrets["acme.orchestrator"])
	if change != nil {
		change(req)
	}
	// Written and read at once: the answer to what is too long comes before its end is sent.
	conn := connectTo(t, strings.TrimPrefix(b.issuer, "http://"))
	go req.Write(conn)
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Token       string `json:"access_token"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&out); err != nil {
		t.Errorf("TE8: the refusal is no JSON: %v", err)
	}
	if out.Token != "" || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("TE8: a token, or headers that let caches keep the refusal: %v", resp.Header)
	}
	if strings.ContainsFunc(out.Description, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
		t.Errorf("TE8: error_description holds %q", out.Description)
	}
	return fmt.Sprint(resp.StatusCode, " ", out.Error), out.Description
}

const formType = "application/x-www-form-urlencoded"

func (b *badWorld) form(t *testing.T) url.Values {
	in := b.honest(t)
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {in.GetSubjectToken()},
		"subject_token_type": {in.GetSubjectTokenType()}, "resource": in.GetResource(), "scope": {in.GetScope()},
	}
}

// forms are token requests over HTTP that are none.
func (b *badWorld) forms() []bad {
	with := func(more string) func(*testing.T) (string, string) {
		return func(t *testing.T) (string, string) {
			return b.post(t, "", formType, strings.NewReader(b.form(t).Encode()+more), nil)
		}
	}
	var rows []bad
	for _, name := range []string{"grant_type", "subject_token", "subject_token_type", "scope", "unknown"} {
		rows = append(rows, bad{"TE5 twice: " + name, with("&" + name + "=x&" + name + "=x"), badForm, "more than once"})
	}
	for _, name := range []string{"client_secret", "subject_token", "actor_token", "client_assertion", "x"} {
		rows = append(rows, bad{"TE6 in the URI: " + name, func(t *testing.T) (string, string) {
			return b.post(t, "?"+name+"=x", formType, strings.NewReader(b.form(t).Encode()), nil)
		}, badForm, "never in the URI"})
	}
	for name, more := range map[string]string{
		"a bad escape": "&may_act=%zz", "half an escape": "&may_act=%4", "invalid UTF-8": "&may_act=%c3%28",
		"a bare semicolon": ";scope=x", "too many parameters": strings.Repeat("&x=", 10_000),
	} {
		rows = append(rows, bad{"TE2 " + name, with(more), badForm, ""})
	}
	for _, contentType := range []string{"application/json", "multipart/form-data; boundary=x", formType + "; charset=utf-16", "", "/"} {
		rows = append(rows, bad{"TE2 content type " + strconv.Quote(contentType), func(t *testing.T) (string, string) {
			return b.post(t, "", contentType, strings.NewReader(b.form(t).Encode()), nil)
		}, badForm, "urlencoded"})
	}
	return append(rows,
		bad{"TE1 GET", func(t *testing.T) (string, string) {
			return b.post(t, "", formType, nil, func(r *http.Request) { r.Method = http.MethodGet })
		}, "405 invalid_request", ""},
		bad{"TE2 a compressed body", func(t *testing.T) (string, string) {
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			for range 16 { // 16 MiB, which nobody may unpack
				_, _ = z.Write(make([]byte, 1<<20))
			}
			_ = z.Close()
			return b.post(t, "", formType, &packed, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") })
		}, badForm, "compressed"},
		bad{"TE11 two ways of authentication", with("&client_secret=x"), badForm, ""},
		bad{"TE10 no grant_type", func(t *testing.T) (string, string) {
			return b.post(t, "", formType, strings.NewReader(""), nil)
		}, badForm, "grant_type"},
	)
}
