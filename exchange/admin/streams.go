package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// SignalStore keeps the credentials of one org's polled streams, and knows how polling goes.
type SignalStore interface {
	PutSignalCredential(ctx context.Context, c store.SignalCredential) error
	SignalCredentials(ctx context.Context) ([]store.SignalCredential, error)
	SignalPolls(ctx context.Context) ([]store.SignalPoll, error)
}

// maxBearer is the longest credential of a stream, in bytes.
const maxBearer = 8 << 10

// PutSignalCredentialRequest is a credential for a stream that is polled.
type PutSignalCredentialRequest struct {
	Org        delegation.OrgID
	Stream     string
	Credential telemetry.Secret
	Remove     bool // forget the one that is there, instead
	DryRun     bool // check, and say what would change
}

// PutSignalCredential replaces the credential with which a stream is polled, or forgets it. It is sealed, and it is for the endpoint
// that the org's document has now: who changes that must bring another. The one of a stream that is gone can still be forgotten.
func (s Session) PutSignalCredential(ctx context.Context, req PutSignalCredentialRequest) ([]registry.Change, error) {
	if err := orgID(req.Org); err != nil {
		return nil, err
	}
	org, err := s.org(ctx, req.Org)
	if err != nil {
		return nil, err
	}
	before, err := s.signalCredential(ctx, req)
	if err != nil {
		return nil, err
	}
	c := store.SignalCredential{Stream: req.Stream, Created: s.cfg.Now()}
	detail := "the credential for polling is forgotten"
	switch {
	case req.Remove && req.Credential != "":
		err = fmt.Errorf("%w: a credential is either put or removed", ErrInvalid)
	case req.Remove && before == nil:
		err = fmt.Errorf("%w: a credential of stream %q of org %s", ErrNotFound, clip(req.Stream), req.Org)
	case !req.Remove:
		c.Endpoint, c.Sealed, err = s.sealCredential(org, req)
		detail = "new credential for polling " + c.Endpoint
	}
	if err != nil {
		return nil, err
	}
	after := &c
	if req.Remove {
		after = nil
	}
	resource := "signal_streams/" + clip(req.Stream)
	changes := credentialChange(resource+"/credential", before, after)
	if req.DryRun {
		return changes, nil
	}
	if err := s.record(ctx, req.Org, resource, detail, changes); err != nil {
		return nil, err
	}
	if err := s.cfg.Signals(req.Org).PutSignalCredential(ctx, c); err != nil {
		return nil, fmt.Errorf("admin: credential of stream %s: %w", req.Stream, err)
	}
	s.seen(ctx)
	return changes, nil
}

func (s Session) sealCredential(org *registry.Org, req PutSignalCredentialRequest) (endpoint string, sealed []byte, err error) {
	stream, ok := org.Stream(req.Stream)
	switch {
	case !ok:
		return "", nil, fmt.Errorf("%w: stream %q of org %s", ErrNotFound, clip(req.Stream), req.Org)
	case stream.PollEndpoint == "":
		return "", nil, fmt.Errorf("%w: stream %s has no poll_endpoint in the org's document: apply that first", ErrInvalid, req.Stream)
	case !bearerToken(req.Credential):
		return "", nil, fmt.Errorf("%w: the credential must be a bearer token: 1 to %d of A-Z a-z 0-9 - . _ ~ + / with = at the end alone",
			ErrInvalid, maxBearer)
	}
	binding := signals.CredentialBinding(req.Org, req.Stream, stream.PollEndpoint)
	sealed, err = s.cfg.Key.Seal([]byte(req.Credential.Reveal()), binding)
	if err != nil {
		err = fmt.Errorf("admin: credential of stream %s: %w", req.Stream, err)
	}
	return stream.PollEndpoint, sealed, err
}

// signalCredential is the one that a stream has, nil when it has none.
func (s Session) signalCredential(ctx context.Context, req PutSignalCredentialRequest) (*store.SignalCredential, error) {
	all, err := s.cfg.Signals(req.Org).SignalCredentials(ctx)
	if err != nil {
		return nil, fmt.Errorf("admin: streams of org %s: %w", req.Org, err)
	}
	i := slices.IndexFunc(all, func(c store.SignalCredential) bool { return c.Stream == req.Stream })
	if i < 0 {
		return nil, nil
	}
	return &all[i], nil
}

// bearerToken reports whether a credential is a b64token (RFC 6750 §2.1), which no header can be smuggled in.
func bearerToken(secret telemetry.Secret) bool {
	text := secret.Reveal()
	end := len(text)
	for end > 0 && text[end-1] == '=' {
		end--
	}
	for i := range end {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return end > 0 && len(text) <= maxBearer
}

// The states of a stream that is polled.
const (
	StreamWaiting = "waiting" // for its first poll
	StreamPolled  = "polled"
	StreamFailing = "failing"
	StreamOff     = "off" // it cannot be polled
)

// SignalStream is a stream of security events and, when it is polled, how that goes. The times are zero when it never came to that.
type SignalStream struct {
	registry.SignalStream
	State        string
	Credentialed time.Time // since when it has a credential that works with its endpoint
	Succeeded    time.Time // of the last poll that did
	Failed       time.Time // of the last that did not, or that brought an event that was refused
	Reason       string    // why it is off or, else, why that was
}

// ListSignalStreams lists the streams of an org as its document has them.
func (s *Service) ListSignalStreams(ctx context.Context, id delegation.OrgID) ([]SignalStream, error) {
	if err := orgID(id); err != nil {
		return nil, err
	}
	org, err := s.org(ctx, id)
	if err != nil {
		return nil, err
	}
	credentials, err := s.cfg.Signals(id).SignalCredentials(ctx)
	if err != nil {
		return nil, fmt.Errorf("admin: streams of org %s: %w", id, err)
	}
	polls, err := s.cfg.Signals(id).SignalPolls(ctx)
	if err != nil {
		return nil, fmt.Errorf("admin: streams of org %s: %w", id, err)
	}
	var out []SignalStream
	for _, stream := range org.Document().SignalStreams {
		v := SignalStream{SignalStream: stream}
		if stream.PollEndpoint != "" {
			for _, p := range polls {
				if p.Stream == stream.Name {
					v.Succeeded, v.Failed, v.Reason = p.Succeeded, p.Failed, p.Failure
				}
			}
			v.judge(s.credentialed(id, stream, credentials))
		}
		out = append(out, v)
	}
	return out, nil
}

// judge says how the stream stands, given since when its credential works, or why it does not.
func (v *SignalStream) judge(since time.Time, why string) {
	v.Credentialed = since
	switch {
	case why != "":
		v.State, v.Reason = StreamOff, why
	case v.Failed.After(v.Succeeded):
		v.State = StreamFailing
	case v.Succeeded.IsZero():
		v.State = StreamWaiting
	default:
		v.State = StreamPolled
	}
}

// credentialed says since when a stream has a credential, or why that it has is of no use.
func (s *Service) credentialed(org delegation.OrgID, stream registry.SignalStream, all []store.SignalCredential) (time.Time, string) {
	for _, c := range all {
		if c.Stream != stream.Name {
			continue
		}
		if c.Endpoint != stream.PollEndpoint {
			return time.Time{}, "its credential is for another endpoint than poll_endpoint is now: put the one for this"
		}
		if _, err := s.cfg.Key.Open(c.Sealed, signals.CredentialBinding(org, c.Stream, c.Endpoint)); err != nil {
			return time.Time{}, "its credential does not open with the key-encryption key: put it again"
		}
		return c.Created, ""
	}
	return time.Time{}, "it has no credential: put one"
}

// org is the snapshot in force of an org that must exist.
func (s *Service) org(ctx context.Context, id delegation.OrgID) (*registry.Org, error) {
	org, err := s.cfg.Registry.Org(ctx, id)
	if errors.Is(err, registry.ErrUnknownOrg) {
		return nil, fmt.Errorf("%w: org %s", ErrNotFound, id)
	}
	if err != nil {
		return nil, fmt.Errorf("admin: org %s: %w", id, err)
	}
	return org, nil
}
