// Package awskmstest is a service on loopback that speaks the protocol of the AWS Key Management Service (JSON 1.1, TrentService) for two
// calls, with real keys.
package awskmstest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Service is one that runs.
type Service struct {
	URL string

	mu     sync.Mutex
	keys   map[string]cipher.AEAD // by ARN
	refuse []string
	calls  int
}

// Start starts one without keys.
func Start(t testing.TB) *Service {
	t.Helper()
	s := &Service{keys: map[string]cipher.AEAD{}}
	server := httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Add makes a key, and returns its ARN.
func (s *Service) Add(t testing.TB, id string) string {
	t.Helper()
	block, err := aes.NewCipher([]byte(rand.Text() + rand.Text())[:32])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	arn := "arn:aws:kms:eu-central-1:111122223333:key/" + id
	s.keys[arn] = aead
	return arn
}

// Refuse answers the next calls with errors of these types.
func (s *Service) Refuse(kinds ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = kinds
}

// Calls is how many there were.
func (s *Service) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
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
		KeyID             string `json:"KeyId"`
		Plaintext         []byte
		CiphertextBlob    []byte
		EncryptionContext map[string]string
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		fail("SerializationException")
		return
	}
	key, ok := s.keys[in.KeyID]
	if !ok {
		fail("NotFoundException")
		return
	}
	associated, _ := json.Marshal(in.EncryptionContext)
	out := map[string]any{"KeyId": in.KeyID}
	switch call := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService."); {
	case call == "Encrypt" && len(in.Plaintext) <= 4096:
		out["CiphertextBlob"] = key.Seal(nil, nil, in.Plaintext, associated)
	case call == "Decrypt":
		plain, err := key.Open(nil, nil, in.CiphertextBlob, associated)
		if err != nil {
			fail("InvalidCiphertextException")
			return
		}
		out["Plaintext"] = plain
	default:
		fail("ValidationException")
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}
