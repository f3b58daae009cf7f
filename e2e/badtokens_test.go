package e2e_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

const huge = 10 << 20

// tokens are too long, too deep or signed by the wrong key.
func (b *badWorld) tokens(t *testing.T) []bad {
	t.Helper()
	long := strings.Repeat("a", huge)
	onHTTP := func(name, value string) func(*testing.T) (string, string) {
		return func(t *testing.T) (string, string) {
			form := b.form(t)
			form.Set(name, value)
			return b.post(t, "", formType, strings.NewReader(form.Encode()), nil)
		}
	}
	execute := func(token string) func(*testing.T) (string, string) {
		return func(*testing.T) (string, string) {
			return call(bearer(context.Background(), token), b.exec, "ExecutorService/Execute",
				&obov1.ExecuteRequest{Tool: "tracker.list_issues", Arguments: `{"project":"apollo"}`})
		}
	}
	over := func(name, token string) func(*testing.T) (string, string) {
		return b.exchanging(func(r *obov1.ExchangeRequest) {
			r.ProtoReflect().Set(r.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name)), protoreflect.ValueOfString(token))
		})
	}
	foreign := b.newKey(t, "foreign")
	const noToken = "Unauthenticated INVALID_TOKEN"
	rows := []bad{
		{"JW16 10 MiB subject_token over gRPC", over("subject_token", long), tooLarge, ""},
		{"JW16 10 MiB actor_token over gRPC", over("actor_token", long), tooLarge, ""},
		{"JW16 2 MiB subject_token over gRPC", over("subject_token", long[:2<<20]), badRequest, "larger than 65536"},
		{"JW16 17 KiB subject_token over gRPC", over("subject_token", long[:17<<10]), badRequest, "longer than 16384"},
		{"JW16 10 MiB subject_token over HTTP", onHTTP("subject_token", long), badForm, "larger than 65536"},
		{"JW16 10 MiB subject_token over HTTP, length not told", func(t *testing.T) (string, string) {
			return b.post(t, "", formType, struct{ io.Reader }{strings.NewReader("subject_token=" + long)}, nil)
		}, badForm, "larger than 65536"},
		{"JW16 17 KiB subject_token over HTTP", onHTTP("subject_token", long[:17<<10]), badForm, "longer than 16384"},
		{"JW16 10 MiB credential over HTTP", b.longHeader(long), "431", ""},
		{"JW16 10 MiB bearer token at the executor", headerFlood(b.execAddr, long), "refused", ""},
		{"JW16 10 MiB bearer token at the exchange", headerFlood(b.stsAddr, long), "refused", ""},
		{"JW16 17 KiB bearer token at the executor", execute(long[:17<<10]), noToken, ""},
		{"EX6 act 100 deep, foreign key, at the executor", execute(b.deep(t, foreign, "at+jwt", b.issuer, 100)), noToken, ""},
		{"EX6 act 20 deep, foreign key, at the executor", execute(b.deep(t, foreign, "at+jwt", b.issuer, 20)), noToken, ""},
	}
	for _, c := range []struct{ name, kind, token string }{
		{"ACT6 act 100 deep, foreign key", typeAccessToken, b.deep(t, foreign, "at+jwt", b.issuer, 100)},
		{"ACT6 act 100 deep, foreign key in the idp's name", typeIDToken, b.deep(t, b.newKey(t, "idp-1"), "JWT", b.idp.url, 100)},
		{"ACT6 act 100 deep, the trusted idp's JWT", typeJWT, b.deep(t, b.idp.signer, "JWT", b.idp.url, 100)},
		{"ACT6 act 100 deep, the trusted idp's ID token", typeIDToken, b.deep(t, b.idp.signer, "JWT", b.idp.url, 100)},
		{"TX6 the idp's token as ours", typeAccessToken, b.idp.idToken(t, "acme")},
		{"JW6 a kid of 10 kB", typeIDToken, b.withHeader(t, `{"alg":"ES256","kid":"`+strings.Repeat("k", 10_000)+`"}`)},
		{"JW6 a kid that is a path", typeIDToken, b.withHeader(t, `{"alg":"ES256","kid":"../../../../etc/passwd"}`)},
		{"JW6 a jku", typeIDToken, b.withHeader(t, `{"alg":"ES256","kid":"idp-1","jku":"`+b.tracker.url+`"}`)},
		{"JW9 alg twice", typeIDToken, b.withHeader(t, `{"alg":"ES256","alg":"none","kid":"idp-1"}`)},
		{"JW1 alg none", typeIDToken, b.withHeader(t, `{"alg":"none","kid":"idp-1"}`)},
		{"JW8 a header nested 3,000 deep", typeIDToken, b.withHeader(t, `{"alg":"ES256","kid":`+strings.Repeat("[", 3000)+`}`)},
		{"JW16 five parts", typeIDToken, "e30.e30.e30.e30.e30"},
		{"JW8 only dots", typeIDToken, strings.Repeat(".", 16<<10)},
	} {
		change := func(r *obov1.ExchangeRequest) { r.SubjectToken, r.SubjectTokenType = c.token, c.kind }
		rows = append(rows, bad{c.name + " over gRPC (GR4)", b.exchanging(change), badSubject, ""},
			bad{c.name + " over HTTP (GR9)", func(t *testing.T) (string, string) {
				form := b.form(t)
				form.Set("subject_token", c.token)
				form.Set("subject_token_type", c.kind)
				return b.post(t, "", formType, strings.NewReader(form.Encode()), nil)
			}, badForm, ""})
	}
	return rows
}

// deep is a token whose act is nested n deep, else as good as can be.
func (b *badWorld) deep(t *testing.T, key jose.Signer, typ, issuer string, n int) string {
	t.Helper()
	act := strings.Repeat(`{"iss":"`+b.issuer+`","sub":"agent:acme/orchestrator","act":`, n-1) +
		`{"iss":"` + b.issuer + `","sub":"agent:acme/orchestrator"}` + strings.Repeat("}", n-1)
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": issuer, "aud": audience, "sub": user("acme"), "org_id": "acme", "org": "acme", "client_id": "acme.orchestrator",
		"scope": "tracker:issues:read", "iat": now, "exp": now + 300, "jti": random(t), "txn": random(t), "act": json.RawMessage(act),
	}
	if issuer == b.idp.url {
		claims["sub"], claims["aud"] = "alice", "obo"
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := key.Sign(typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// withHeader is an ID token under another header.
func (b *badWorld) withHeader(t *testing.T, header string) string {
	t.Helper()
	_, rest, _ := strings.Cut(b.idp.idToken(t, "acme"), ".")
	return base64URL(header) + "." + rest
}

// longHeader sends a credential that no header line holds, while it reads the answer.
func (b *badWorld) longHeader(long string) func(*testing.T) (string, string) {
	return func(t *testing.T) (string, string) {
		conn := connectTo(t, strings.TrimPrefix(b.issuer, "http://"))
		go io.WriteString(conn, "POST /token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic "+long+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err.Error(), ""
		}
		defer resp.Body.Close()
		return resp.Status[:3], ""
	}
}

// headerFlood sends a call whose authorization metadata is too long, in CONTINUATION frames: grpc-go's own client would not.
func headerFlood(addr, long string) func(*testing.T) (string, string) {
	return func(t *testing.T) (string, string) {
		conn := connectTo(t, addr)
		block := literal(":method", "POST") + literal(":scheme", "http") + literal(":path", "/obo.v1.ExecutorService/Execute") +
			literal("content-type", "application/grpc") + literal("te", "trailers") + literal("authorization", "Bearer "+long)
		go func() {
			_, _ = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+http2Frame(4, 0, 0, ""))
			for kind, at := byte(1), 0; at < len(block); kind, at = 9, at+16<<10 {
				end := min(at+16<<10, len(block))
				flags := byte(0)
				if end == len(block) {
					flags = 4 // END_HEADERS
				}
				if _, err := io.WriteString(conn, http2Frame(kind, flags, 1, block[at:end])); err != nil {
					return // refused half way: what we want
				}
			}
		}()
		for r := bufio.NewReader(conn); ; {
			head := make([]byte, 9)
			if _, err := io.ReadFull(r, head); err != nil {
				if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
					return "no answer", ""
				}
				return "refused", "" // the connection is closed
			}
			n := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
			if _, err := io.CopyN(io.Discard, r, n); err != nil {
				return "refused", ""
			}
			switch head[3] {
			case 3, 7: // RST_STREAM, GOAWAY
				return "refused", ""
			case 0:
				return "data", ""
			}
		}
	}
}

// literal is a header field that is in no table (RFC 7541 section 6.2.2).
func literal(name, value string) string { return "\x00" + hpackString(name) + hpackString(value) }

func hpackString(s string) string {
	if len(s) < 127 {
		return string([]byte{byte(len(s))}) + s
	}
	return "\x7f" + string(binary.AppendUvarint(nil, uint64(len(s)-127))) + s
}

func http2Frame(kind, flags byte, stream uint32, payload string) string {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return string(binary.BigEndian.AppendUint32(head, stream)) + payload
}

func connectTo(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	return conn
}
