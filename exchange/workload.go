package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// maxWorkloadLife bounds a token of a workload issuer or a trust domain, which can be used as often as it is shown.
const maxWorkloadLife = 24 * time.Hour

// byWorkload is workload federation: a token of the platform that the agent runs on (a Kubernetes service account, a CI job, a
// cloud's identity), as a client assertion. The agent's registration says which tokens are its own.
func (s *Service) byWorkload(ctx context.Context, cred Credential, a assertion, now time.Time) (caller, error) {
	c, err := s.named(ctx, cred.ClientID, "a workload's token")
	if err != nil {
		return caller{}, err
	}
	issuer, claims, err := s.openWorkload(ctx, c.org, a, "", now)
	if err == nil && !c.client.Runs(issuer.Name, claims) {
		err = flaw("no rule of the agent's registration fits its claims")
	}
	if err != nil {
		return caller{}, notClient("workload token", err)
	}
	c.method = methodWorkload
	return c, nil
}

// openWorkload verifies a token of an issuer that the org registered for workloads. Its claims are then what that issuer says.
// Without an audience it must be for agents.
func (s *Service) openWorkload(ctx context.Context, org *registry.Org, a assertion, audience string, now time.Time) (
	*registry.Workload, map[string]json.RawMessage, error,
) {
	issuer, ok := org.WorkloadIssuer(a.claims.Issuer)
	switch alg := a.message.Algorithm(); {
	case !ok:
		return nil, nil, flawIssuer
	case !issuer.AcceptsAlgorithm(alg):
		return nil, nil, flawAlgorithm
	}
	key, err := s.workloadKey(ctx, issuer, a.message)
	if err != nil {
		return nil, nil, err
	}
	payload, err := a.message.Verify(key)
	if err != nil {
		return nil, nil, flawSignature
	}
	claims := map[string]json.RawMessage{}
	if jose.Decode(payload, &claims) != nil {
		return nil, nil, flaw("its claims are malformed")
	}
	if audience == "" {
		audience = s.workloadAudience(issuer)
	}
	if err := onlyAudience(a.claims.Audience, audience); err != nil {
		return nil, nil, err
	}
	if err := checkLife(a.claims.Expiry, a.claims.IssuedAt, a.claims.NotBefore, now); err != nil {
		return nil, nil, err
	}
	if org.FAPI() && !fapiAlgorithm(a.message.Algorithm()) {
		return nil, nil, flawFAPI
	}
	return issuer, claims, nil
}

// workloadAudience is whom a workload issuer's tokens must be for.
func (s *Service) workloadAudience(issuer *registry.Workload) string {
	if issuer.Audience == "" {
		return s.cfg.Issuer
	}
	return issuer.Audience
}

// workloadKey finds the key among the registered ones or, where none are, among those that the issuer publishes (JW3).
func (s *Service) workloadKey(ctx context.Context, issuer *registry.Workload, m jose.Message) (jose.Key, error) {
	if len(issuer.JWKS) == 0 {
		_, key, err := s.issuers.key(ctx, issuer.URL, m)
		return key, err
	}
	key, ok := issuer.Keys.Find(m.KeyID(), m.Algorithm())
	if !ok {
		return jose.Key{}, flawKey
	}
	return key, nil
}

// workloadActor finds the agent that an actor_token of a workload issuer or a SPIFFE trust domain proves (WI6). ok is false
// when the token is of no such kind, and then nothing was decided.
func (s *Service) workloadActor(ctx context.Context, c caller, token string, now time.Time) (
	agent *registry.Client, ok bool, err error,
) {
	if isSPIFFEID(subjectOf(token)) {
		v, err := s.readSVID(token, now)
		if err == nil {
			err = s.proveSVID(c.org, v)
		}
		if err != nil {
			return nil, true, err
		}
		if agent, ok = c.org.Member(v.id.String()); !ok {
			return nil, true, flaw("its SPIFFE ID is that of no agent")
		}
		return agent, true, nil
	}
	if !c.org.HasWorkloads() {
		return nil, false, nil
	}
	a, err := openAssertion(token, "", "jwt")
	if err != nil {
		return nil, false, nil //nolint:nilerr // of another kind: whoever reads those says what is wrong
	}
	issuer, claims, err := s.openWorkload(ctx, c.org, a, "", now)
	switch {
	case errors.Is(err, flawIssuer):
		return nil, false, nil
	case err != nil:
		return nil, true, err
	}
	agents := c.org.Running(issuer.Name, claims)
	if len(agents) != 1 {
		return nil, true, flaw("its claims fit the rules of no agent, or of several")
	}
	return agents[0], true, nil
}

// onlyAudience wants one audience, as a string or an array of one: a token that is good elsewhere too could be replayed from
// there.
func onlyAudience(raw json.RawMessage, want string) error {
	var one string
	var several []string
	switch {
	case jose.Decode(raw, &one) == nil:
	case jose.Decode(raw, &several) == nil && len(several) == 1:
		one = several[0]
	}
	if one == "" || one != want {
		return flaw("its aud must be exactly " + want + ", and nothing beside it")
	}
	return nil
}

// checkLife judges the dates of a token that is not for single use.
func checkLife(expiry, issuedAt, notBefore *numericDate, now time.Time) error {
	switch {
	case expiry == nil:
		return flaw("it has no exp")
	case !now.Before(expiry.time()):
		return flaw("it has expired")
	case issuedAt.time().After(now.Add(skew)), notBefore.time().After(now.Add(skew)): // JW11
		return flaw("it is from the future")
	case expiry.time().After(now.Add(maxWorkloadLife)),
		issuedAt != nil && expiry.time().Sub(issuedAt.time()) > maxWorkloadLife:
		return flaw("it is good for more than 24 hours")
	case issuedAt != nil && !expiry.time().After(issuedAt.time()):
		return flaw("its exp is not after its iat")
	}
	return nil
}
