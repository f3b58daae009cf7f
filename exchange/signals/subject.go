package signals

import (
	"encoding/json"
	"slices"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/revocation"
)

// The formats of a sub_id that are read (RFC 9493; SSF §3).
const (
	formatOpaque    = "opaque"
	formatIssuerSub = "iss_sub"
	formatComplex   = "complex"
	formatEmail     = "email"
)

// subject is a sub_id, or a member of a complex one.
type subject struct {
	Format  string `json:"format"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	ID      string `json:"id"`
	Email   string `json:"email"`

	complex map[string]subject
	unread  bool // it has a member of which it is not known what it narrows
}

// readSubject reads a sub_id. Formats that name nobody here, such as phone_number, are left as they are.
func readSubject(raw json.RawMessage) (subject, error) {
	s, err := readSimple(raw)
	if err != nil || s.Format != formatComplex {
		return s, err
	}
	members := map[string]json.RawMessage{}
	if jose.DecodeClaims(raw, &members) != nil {
		return s, malformed("its sub_id is malformed")
	}
	delete(members, "format")
	s.complex = map[string]subject{}
	for name, member := range members {
		if !slices.Contains([]string{"user", "session", "tenant", "device"}, name) {
			s.unread = true
			continue
		}
		if s.complex[name], err = readSimple(member); err != nil {
			return s, err
		}
		if s.complex[name].Format == formatComplex {
			return s, malformed("its sub_id has a complex subject within a complex one")
		}
	}
	if len(members) == 0 {
		return s, malformed("its sub_id names nobody")
	}
	return s, nil
}

func readSimple(raw json.RawMessage) (subject, error) {
	var s subject
	var kind struct {
		Format string `json:"format"`
	}
	if jose.DecodeClaims(raw, &kind) != nil || kind.Format == "" {
		return s, malformed("its sub_id is malformed, or has no format")
	}
	if s.Format = kind.Format; s.Format != formatOpaque && s.Format != formatIssuerSub && s.Format != formatEmail {
		return s, nil
	}
	switch {
	case jose.DecodeClaims(raw, &s) != nil:
	case s.Format == formatOpaque && s.ID == "":
	case s.Format == formatEmail && (s.Email == "" || !text(s.Email)):
	case s.Format == formatIssuerSub && (s.Issuer == "" || s.Subject == ""):
	default:
		return s, nil
	}
	return s, malformed("a member of its sub_id is missing or malformed")
}

// target finds whose tokens an event ends (SS3). Of a complex subject the session counts, when the event ends sessions and one
// is named. No token says on which device its user sat. So an event about a device ends all of the user: whoever found the device
// would otherwise go on, and all that it costs the others is a new login. See onDevice for what would cost more.
func (s Stream) target(who subject, known event) (Effect, error) {
	if who.Format != formatComplex {
		return s.user(who, known)
	}
	if t, ok := who.complex["tenant"]; ok && s.Tenant != "" {
		if t.Format != formatOpaque || t.ID != s.Tenant {
			return Effect{}, &Refusal{AccessDenied, "its sub_id is of another tenant than the stream's"}
		}
	}
	user, named := who.complex["user"]
	effect, err := nothing(known.name, "its sub_id names no user"), error(nil)
	if named {
		effect, err = s.user(user, known) // also when a session decides: both are of one principal
	}
	session, ends := who.complex["session"]
	switch {
	case err != nil:
		return Effect{}, err
	case who.unread: // it could mean less than all of the rest
		return nothing(known.name, "its sub_id has a member that is not handled here"), nil
	case who.onDevice() && slices.Contains(s.Critical, "device"):
		return nothing(known.name, "it is about a device, and its transmitter wants it discarded where devices are not told apart"), nil
	case ends && known.session && session.Format == formatOpaque && text(session.ID):
		return Effect{Event: known.name, Kind: revocation.Session, ID: session.ID}, nil
	}
	return effect, nil
}

// onDevice reports whether the subject is not all of its user but what is on one device.
func (s subject) onDevice() bool { _, ok := s.complex["device"]; return ok }

// user is the effect on all that is of one user.
func (s Stream) user(who subject, known event) (Effect, error) {
	sub := who.Subject
	switch {
	case who.Format == formatIssuerSub && who.Issuer != s.IssuerURL:
		return Effect{}, &Refusal{AccessDenied, "its sub_id is of another issuer than the stream's"}
	case who.Format == formatIssuerSub:
	case who.Format == formatOpaque && s.Opaque:
		sub = who.ID
	case who.Format == formatEmail && s.Addressee != "":
		return Effect{Event: known.name, Kind: revocation.Subject, ID: s.Addressee}, nil
	case who.Format == formatEmail:
		return nothing(known.name, "its e-mail address is not that of one user of the org's directory"), nil
	default:
		return nothing(known.name, "its sub_id has a format that names no user here"), nil
	}
	id, err := delegation.UserID(s.Org, s.IssuerName, sub)
	if err != nil {
		return nothing(known.name, "its sub_id names no user that could have logged in"), nil //nolint:nilerr // as it says
	}
	return Effect{Event: known.name, Kind: revocation.Subject, ID: id}, nil
}
