//go:build awskms

package awskms_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/keys/awskms"
	"github.com/onbehalf/obo/keys/keystest"
	"github.com/onbehalf/obo/seal"
)

// TestMain gives the SDK credentials, so that it looks for none elsewhere.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		_ = os.Setenv(name, value)
	}
	os.Exit(m.Run())
}

// service speaks the wire protocol of the service (JSON 1.1, TrentService) for the three calls that are made, with real keys.
type service struct {
	url string

	mu      sync.Mutex
	keys    map[string]crypto.Signer // by ARN
	aliases map[string]string        // to ARN
	usage   string
	refuse  []string            // error types of the next answers
	hidden  int                 // how many times a key is not known yet
	lost    bool                // answers to CreateKey are lost
	gone    []string            // ARNs that are to be deleted
	signAs  string              // ARN of the key that really signs
	damage  func([]byte) []byte // of signatures
}

func serve(t *testing.T) *service {
	t.Helper()
	s := &service{keys: map[string]crypto.Signer{}, usage: "SIGN_VERIFY", aliases: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *service) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	fail := func(kind string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": "as told"})
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=test/") {
		fail("MissingAuthenticationTokenException")
		return
	}
	if len(s.refuse) > 0 {
		kind := s.refuse[0]
		s.refuse = s.refuse[1:]
		fail(kind)
		return
	}
	var in struct {
		KeySpec, KeyUsage, KeyId, MessageType, SigningAlgorithm string
		Message                                                 []byte
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		fail("SerializationException")
		return
	}
	arn := in.KeyId
	if to, ok := s.aliases[arn]; ok {
		arn = to
	} else if _, ok := s.keys[arn]; !ok && arn != "" {
		arn = "arn:aws:kms:eu-central-1:111122223333:key/" + in.KeyId
	}
	if call == "GetPublicKey" && s.hidden > 0 {
		s.hidden--
		fail("NotFoundException")
		return
	}
	key, ok := s.keys[arn]
	if !ok && call != "CreateKey" {
		fail("NotFoundException")
		return
	}
	switch call {
	case "CreateKey":
		arn = s.add(in.KeySpec)
		if s.lost {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyMetadata": map[string]any{"Arn": arn, "KeyId": arn[strings.LastIndex(arn, "/")+1:]}})
	case "GetPublicKey":
		der, _ := x509.MarshalPKIXPublicKey(key.Public())
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": arn, "KeyUsage": s.usage, "PublicKey": der})
	case "Sign":
		var opts crypto.SignerOpts = crypto.SHA256
		if in.SigningAlgorithm == "RSASSA_PSS_SHA_256" {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
		}
		if other := s.keys[s.signAs]; other != nil {
			key = other
		}
		signature, err := key.Sign(rand.Reader, in.Message, opts)
		if err != nil || in.MessageType != "DIGEST" {
			fail("ValidationException")
			return
		}
		if s.damage != nil {
			signature = s.damage(signature)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": arn, "Signature": signature, "SigningAlgorithm": in.SigningAlgorithm})
	case "ScheduleKeyDeletion":
		s.gone = append(s.gone, arn)
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": arn})
	default:
		fail("UnknownOperationException")
	}
}

// add makes a key; the lock is held.
func (s *service) add(spec string) string {
	var key crypto.Signer
	switch spec {
	case "ECC_NIST_P256":
		key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECC_NIST_P384":
		key, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		key, _ = rsa.GenerateKey(rand.Reader, 3072)
	}
	arn := fmt.Sprintf("arn:aws:kms:eu-central-1:111122223333:key/%08d", len(s.keys))
	s.keys[arn] = key
	return arn
}

func (s *service) edit(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *service) open(t *testing.T) *awskms.Source {
	t.Helper()
	source, err := awskms.Open(t.Context(), awskms.Config{Region: "eu-central-1", Endpoint: s.url})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// TestServiceSigns: keys that the service made sign real tokens, after a restart too, and nothing private is in our store.
func TestServiceSigns(t *testing.T) {
	t.Parallel()
	s := serve(t)
	kek, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	algorithms := []jose.Algorithm{jose.ES256, jose.PS256, jose.RS256}
	cfg := keys.Config{
		Store: &keystest.Store{}, Key: kek, Source: "awskms", Sources: map[string]keys.Source{"awskms": s.open(t)}, Now: time.Now,
		Burnt: func(string, time.Time) bool { return false },
		Policy: keys.Policy{
			Algorithm: algorithms[0], Algorithms: algorithms[1:], PublishAhead: time.Hour, ActiveFor: 720 * time.Hour, MaxTokenLife: time.Hour,
		},
	}
	open := func() *keys.Ring {
		t.Helper()
		r, err := keys.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, again := open(), open()
	if string(first.JWKS()) != string(again.JWKS()) {
		t.Error("other keys after a restart")
	}
	for _, alg := range algorithms {
		kid := keystest.Signs(t, first, alg, time.Now())
		if other := keystest.Signs(t, again, alg, time.Now()); kid != other {
			t.Errorf("%s: signed by %s, and after a restart by %s", alg, kid, other)
		}
	}
	for _, k := range first.Keys() {
		if !strings.HasPrefix(k.Source, "awskms:arn:aws:kms:") {
			t.Errorf("%s is in %q", k.KID, k.Source)
		}
	}
	if err := first.Rotate(t.Context()); err != nil || len(first.Keys()) != 2*len(algorithms) {
		t.Errorf("%d keys after a rotation, %v", len(first.Keys()), err)
	}
}

// TestFaults: what the service says wrong, or does not say, is an error and never a signature.
func TestFaults(t *testing.T) {
	t.Parallel()
	digest := sha256.Sum256([]byte("x"))
	for name, c := range map[string]struct {
		fault func(s *service, arn string)
		good  bool
	}{
		"nothing":         {func(*service, string) {}, true},
		"throttled twice": {func(s *service, _ string) { s.refuse = []string{"ThrottlingException", "ThrottlingException"} }, true},
		"throttled":       {func(s *service, _ string) { s.refuse = slices.Repeat([]string{"ThrottlingException"}, 9) }, false},
		"disabled":        {func(s *service, _ string) { s.refuse = []string{"DisabledException"} }, false},
		"denied":          {func(s *service, _ string) { s.refuse = []string{"AccessDeniedException"} }, false},
		"gone":            {func(s *service, arn string) { delete(s.keys, arn) }, false},
		"another key":     {func(s *service, _ string) { s.signAs = s.add("ECC_NIST_P256") }, false},
		"damaged":         {func(s *service, _ string) { s.damage = func(b []byte) []byte { b[len(b)-1] ^= 1; return b } }, false},
		"cut off":         {func(s *service, _ string) { s.damage = func(b []byte) []byte { return b[:8] } }, false},
		"empty":           {func(s *service, _ string) { s.damage = func([]byte) []byte { return nil } }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			source := s.open(t)
			arn, err := source.Generate(t.Context(), jose.ES256)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := source.Signer(t.Context(), arn)
			if err != nil {
				t.Fatal(err)
			}
			s.edit(func() { c.fault(s, arn) })
			signature, err := signer.Sign(nil, digest[:], crypto.SHA256)
			if c.good != (err == nil) || err != nil && signature != nil {
				t.Errorf("%v", err)
			}
			if c.good && !ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest[:], signature) {
				t.Error("the signature does not verify")
			}
		})
	}
}

// TestSignerRefuses: a key that is not meant for this, or that could become another one.
func TestSignerRefuses(t *testing.T) {
	t.Parallel()
	s := serve(t)
	source := s.open(t)
	var p256, p384 string
	s.edit(func() {
		p256, p384 = s.add("ECC_NIST_P256"), s.add("ECC_NIST_P384")
		s.aliases["alias/obo"] = p256
	})
	id := p256[strings.LastIndex(p256, "/")+1:]
	for reference, good := range map[string]bool{p256: true, id: true, p384: false, "alias/obo": false, "nothing": false, "": false} {
		if _, err := source.Signer(t.Context(), reference); good != (err == nil) {
			t.Errorf("%q: %v", reference, err)
		}
	}
	s.edit(func() { s.usage = "KEY_AGREEMENT" })
	if _, err := source.Signer(t.Context(), p256); err == nil {
		t.Error("a key that is not for signing")
	}
	if _, err := source.Generate(t.Context(), jose.EdDSA); err == nil {
		t.Error("a key for EdDSA")
	}
	s.edit(func() { s.usage = "SIGN_VERIFY" })
	signer, err := source.Signer(t.Context(), p256)
	if err != nil {
		t.Fatal(err)
	}
	long := make([]byte, 64)
	if _, err := signer.Sign(nil, long, crypto.SHA512); err == nil {
		t.Error("a SHA-512 digest")
	}
	if _, err := signer.Sign(nil, long, crypto.SHA256); err == nil {
		t.Error("a digest that is none")
	}
}

// TestNoKeyIsLeftBehind: a key is made once, waited for while the service does not know it yet, and given back when it is of no use.
func TestNoKeyIsLeftBehind(t *testing.T) {
	t.Parallel()
	s := serve(t)
	source := s.open(t)
	s.edit(func() { s.hidden = 3 })
	if _, err := source.Generate(t.Context(), jose.ES256); err != nil || len(s.keys) != 1 || len(s.gone) != 0 {
		t.Errorf("a key that is known late: %d keys, %q, %v", len(s.keys), s.gone, err)
	}
	s.edit(func() { s.lost = true })
	if _, err := source.Generate(t.Context(), jose.ES256); err == nil || len(s.keys) != 2 {
		t.Errorf("a lost answer: %d keys, %v", len(s.keys), err)
	}
	s.edit(func() { s.lost, s.hidden = false, 1_000_000 })
	if _, err := source.Generate(t.Context(), jose.ES256); err == nil || len(s.gone) != 1 {
		t.Errorf("a key that is never known: given back %q, %v", s.gone, err)
	}
}

// TestAway: a service that is away is an error in bounded time.
func TestAway(t *testing.T) {
	t.Parallel()
	source, err := awskms.Open(t.Context(), awskms.Config{Region: "eu-central-1", Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Generate(t.Context(), jose.ES256); err == nil {
		t.Error("a key of nowhere")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source.Signer(ended, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that nobody waits for: %v", err)
	}
}
