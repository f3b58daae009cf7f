package oauthhttp

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/onbehalf/obo/exchange"
)

// introspectionJWT is the media type of a signed introspection answer (RFC 9701 section 5).
const introspectionJWT = "application/token-introspection+jwt"

// introspect is the introspection endpoint (RFC 7662), with the signed answer of RFC 9701 for who accepts it.
func (d door) introspect(w http.ResponseWriter, r *http.Request, f form) error {
	signed := accepts(r.Header.Values("Accept"), introspectionJWT)
	cred, err := d.credential(r, f, introspectPath)
	if err == nil {
		var out exchange.Introspection
		if out, err = d.cfg.Exchange.Introspect(r.Context(), cred, f.get("token"), signed); err == nil {
			if signed {
				d.write(w, http.StatusOK, introspectionJWT, []byte(out.JWT))
			} else {
				d.write(w, http.StatusOK, "application/json", out.Claims)
			}
			return nil
		}
	}
	if signed && exchange.ReasonOf(err) == exchange.InvalidClient { // IN7, C6: 400 here, where RFC 7662 has 401
		d.writeErrorAs(w, r, err, http.StatusBadRequest)
		return nil
	}
	return err
}

// accepts reports whether the Accept header names a media type. A wildcard does not: it is what clients send that never heard
// of the type.
func accepts(values []string, want string) bool {
	for element := range strings.SplitSeq(strings.Join(values, ","), ",") {
		media, parameters, err := mime.ParseMediaType(element)
		if err != nil || media != want {
			continue
		}
		q, given := parameters["q"]
		weight, err := strconv.ParseFloat(q, 64)
		return !given || err == nil && weight > 0
	}
	return false
}

// revoke is the revocation endpoint (RFC 7009): the answer says that the token is dead, and nothing else.
func (d door) revoke(w http.ResponseWriter, r *http.Request, f form) error {
	cred, err := d.credential(r, f, revokePath)
	if err != nil {
		return err
	}
	if err := d.cfg.Exchange.RevokeToken(r.Context(), cred, f.get("token"), f.get("token_type_hint")); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}
