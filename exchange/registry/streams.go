package registry

import (
	"fmt"
	"slices"

	"github.com/onbehalf/obo/jose"
)

const (
	maxStreams  = 64
	maxCritical = 16
)

// Stream is a registered stream of security events, made ready. It never changes.
type Stream struct {
	SignalStream
	Of   Issuer      // whose users it tells of
	Keys jose.KeySet // empty: by discovery

	fapi bool
}

// AcceptsAlgorithm reports whether the transmitter may sign with it.
func (s *Stream) AcceptsAlgorithm(alg jose.Algorithm) bool { return accepts(s.Algorithms, alg, s.fapi) }

// Stream finds a stream of security events by its name.
func (o *Org) Stream(name string) (*Stream, bool) { s, ok := o.streams[name]; return s, ok }

// Listens reports whether the org takes SETs of a transmitter that are for an audience.
func (o *Org) Listens(transmitter, audience string) bool {
	return slices.ContainsFunc(o.doc.SignalStreams, func(s SignalStream) bool {
		return s.Transmitter == transmitter && s.Audience == audience
	})
}

func (o *Org) openStreams() error {
	o.streams = make(map[string]*Stream, len(o.doc.SignalStreams))
	for _, s := range o.doc.SignalStreams {
		ready := &Stream{SignalStream: s, fapi: o.FAPI()}
		at := slices.IndexFunc(o.doc.Issuers, func(i Issuer) bool { return i.Name == s.Issuer })
		if at < 0 {
			return fmt.Errorf("stream %s: its issuer is not registered", s.Name)
		}
		ready.Of = o.doc.Issuers[at]
		if len(s.JWKS) > 0 {
			var err error
			if ready.Keys, err = jose.ParseKeySet(s.JWKS); err != nil {
				return fmt.Errorf("stream %s: %w", s.Name, err)
			}
		}
		o.streams[s.Name] = ready
	}
	return nil
}

func (v *validator) streams() {
	list := v.doc.SignalStreams
	v.require(len(list) <= maxStreams, "signal_streams", "has %d entries; at most %d", len(list), maxStreams)
	for i, s := range list[:min(len(list), maxStreams)] {
		path := "signal_streams/" + label(s.Name, i)
		v.require(isLabel(s.Name), path+"/name", "must be 1 to 63 of a-z, 0-9 and hyphen")
		for _, before := range list[:i] {
			v.require(before.Name != s.Name, path+"/name", "is used twice")
		}
		v.stream(path, s)
	}
}

func (v *validator) stream(path string, s SignalStream) {
	at := slices.IndexFunc(v.doc.Issuers, func(i Issuer) bool { return i.Name == s.Issuer })
	v.require(at >= 0, path+"/issuer", "%q is not in issuers", clip(s.Issuer))
	v.require(at < 0 || v.doc.Issuers[at].SubjectClaim == "", path+"/issuer",
		"%q has a subject_claim, and events name users by sub: they would end nobody's tokens", clip(s.Issuer))
	v.url(path+"/transmitter", s.Transmitter)
	v.require(isText(s.Audience), path+"/audience", "must be 1 to %d printable characters: the aud of the stream", maxText)
	for _, i := range v.doc.Issuers { // JW4: what is for both could be taken for the other
		v.require(!slices.Contains(i.Audiences, s.Audience), path+"/audience",
			"is one that logins of issuers/%s are for: let the transmitter use one that is for its events alone", clip(i.Name))
	}
	v.require(s.StreamID == "" || isText(s.StreamID), path+"/stream_id", "must be at most %d printable characters", maxText)
	v.require(s.Subject == "" || s.Subject == SubjectOpaque, path+"/subject",
		"%q is not known: leave it out, or write opaque when an opaque sub_id is the sub of the issuer's logins", clip(s.Subject))
	v.require(len(s.CriticalSubjectMembers) <= maxCritical && !slices.ContainsFunc(s.CriticalSubjectMembers, func(m string) bool { return !isText(m) }),
		path+"/critical_subject_members", "must be at most %d names of members, each 1 to %d printable characters", maxCritical, maxText)
	if s.PollEndpoint != "" {
		v.url(path+"/poll_endpoint", s.PollEndpoint)
	}
	v.algorithms(path, s.Algorithms)
	v.jwks(path+"/jwks", s.JWKS)
	if set, err := jose.ParseKeySet(s.JWKS); len(s.JWKS) > 0 && err == nil {
		v.require(len(set.Keys()) > 0, path+"/jwks", "has no keys: list them, or leave jwks out for discovery")
	}
}
