package exchange

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"

	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// maxSPIFFEID is the longest SPIFFE ID, in bytes (SPIFFE-ID §2.3).
const maxSPIFFEID = 2048

// bySVID is a JWT-SVID as a client assertion (CA10), or as a bearer on the gRPC door (WI4). It is good until it expires, as
// often as it is shown: SPIFFE has no single use.
func (s *Service) bySVID(ctx context.Context, cred Credential, now time.Time) (caller, error) {
	v, err := s.readSVID(cred.Assertion, now)
	if err != nil {
		return caller{}, notClient("JWT-SVID", err)
	}
	c, err := s.named(ctx, cred.ClientID, "a JWT-SVID")
	if err != nil {
		return caller{}, err
	}
	if err := s.proveSVID(c.org, v); err != nil {
		return caller{}, notClient("JWT-SVID", err)
	}
	if v.id.String() != c.client.Registration.SPIFFEID {
		return caller{}, notClient("JWT-SVID", flawOther)
	}
	c.method = methodSPIFFE
	return c, nil
}

// svid is a JWT-SVID that is in order, and that nobody has verified.
type svid struct {
	token     string
	algorithm jose.Algorithm
	id        spiffeid.ID
}

// svidHeader is all that the header of a JWT-SVID may have (JWT-SVID §2).
type svidHeader struct {
	Algorithm string  `json:"alg"`
	KeyID     string  `json:"kid"`
	Type      *string `json:"typ"`
}

type svidClaims struct {
	Subject   string          `json:"sub"`
	Audience  json.RawMessage `json:"aud"`
	Expiry    *numericDate    `json:"exp"`
	IssuedAt  *numericDate    `json:"iat"`
	NotBefore *numericDate    `json:"nbf"`
}

// readSVID checks all that needs no registration (WI1, WI2). The library, which verifies the rest, lets any audience stand
// beside ours, headers that the standard does not have, and a minute after the end; so those are checked here.
func (s *Service) readSVID(token string, now time.Time) (svid, error) {
	header, claims, err := splitSVID(token)
	if err != nil {
		return svid{}, err
	}
	id, err := spiffeid.FromString(claims.Subject)
	if err != nil || checkSPIFFEID(id) != nil {
		return svid{}, flaw("its sub is no SPIFFE ID with a path")
	}
	if err := onlyAudience(claims.Audience, s.cfg.Issuer); err != nil {
		return svid{}, err
	}
	return svid{token, jose.Algorithm(header.Algorithm), id}, checkLife(claims.Expiry, claims.IssuedAt, claims.NotBefore, now)
}

// proveSVID verifies the signature with the keys for JWT-SVIDs of the bundle of the very domain that the ID is of. The library
// looks at the dates again, by the clock of the machine.
func (s *Service) proveSVID(org *registry.Org, v svid) error {
	domain, ok := org.TrustDomain(v.id.TrustDomain().Name())
	if !ok {
		return flawDomain
	}
	if _, err := jwtsvid.ParseAndValidate(v.token, domain.Bundle, []string{s.cfg.Issuer}); err != nil {
		return flawSVID
	}
	if org.FAPI() && !fapiAlgorithm(v.algorithm) {
		return flawFAPI
	}
	return nil
}

// splitSVID reads a token's parts as this server reads every token: strict about their alphabet, exact about names.
func splitSVID(token string) (h svidHeader, c svidClaims, err error) {
	parts := strings.Split(token, ".")
	if len(token) > jose.MaxTokenSize || len(parts) != 3 {
		return h, c, flaw("it is not a signed JWT")
	}
	header, errHeader := decode64(parts[0])
	payload, errPayload := decode64(parts[1])
	if errHeader != nil || errPayload != nil {
		return h, c, flaw("it is not a signed JWT")
	}
	if jose.DecodeClosed(header, &h) != nil || jose.DecodeClaims(header, new(map[string]string)) != nil {
		return h, c, flaw("its header has more than alg, kid and typ")
	}
	if h.Type != nil && *h.Type != "JWT" && *h.Type != "JOSE" { // JW5
		return h, c, flaw("its typ is that of another kind of token")
	}
	if !slices.Contains(svidAlgorithms, h.Algorithm) {
		return h, c, flaw("its alg is not one that SPIFFE allows: RS, ES or PS with 256, 384 or 512")
	}
	if jose.DecodeClaims(payload, &c) != nil {
		return h, c, flaw("its claims are malformed")
	}
	return h, c, nil
}

// svidAlgorithms are those of JWT-SVID §2.1: EdDSA is not among them.
var svidAlgorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}

func decode64(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") { // the decoder would skip them (JW8)
		return nil, flaw("it is not base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(part)
}

// subjectOf is the sub of a token that nobody has verified, or empty.
func subjectOf(token string) string {
	parts := strings.Split(token, ".")
	if len(token) > jose.MaxTokenSize || len(parts) != 3 {
		return ""
	}
	payload, err := decode64(parts[1])
	var named struct {
		Subject string `json:"sub"`
	}
	if err != nil || jose.Decode(payload, &named) != nil {
		return ""
	}
	return named.Subject
}

// checkSPIFFEID adds what the library leaves open: the length, and that a workload's ID has a path (X509-SVID §5.2).
func checkSPIFFEID(id spiffeid.ID) error {
	if len(id.String()) > maxSPIFFEID || id.Path() == "" {
		return flaw("it is not a workload's SPIFFE ID")
	}
	return nil
}
