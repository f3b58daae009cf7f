package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// DPoP says how proofs of possession are taken (RFC 9449). They are always taken; who must bring one is the org's to say.
type DPoP struct {
	// RequireNonce demands that each proof has a nonce that this server gave (RFC 9449 §8), so that none can be made in
	// advance. It costs a caller one more round trip for each nonce_life. Default false.
	RequireNonce bool `yaml:"require_nonce"`
	// NonceLife is how long a nonce is good. Default 5m.
	NonceLife time.Duration `yaml:"nonce_life"`
}

func (d *DPoP) setDefaults() {
	if d.NonceLife == 0 {
		d.NonceLife = 5 * time.Minute
	}
}

func (p *problems) dpop(d DPoP) {
	p.duration("dpop.nonce_life", d.NonceLife, 10*time.Second, time.Hour)
}

// hosts are those under which clients reach the gRPC door: what the configuration names, the host of a URL of ours, and a
// loopback address that is listened on.
func (l Listen) hosts(of string) []string {
	hosts := slices.Clone(l.Hosts)
	if host, _, err := net.SplitHostPort(l.GRPC); err == nil && loopbackHost(host) {
		hosts = append(hosts, host)
	}
	if u, err := url.Parse(of); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	return hosts
}

// wellKnown is the folder of protected resource metadata (RFC 9728 §3).
const wellKnown = "/.well-known/oauth-protected-resource"

// plainPath is empty, or a path that reads the same everywhere: no empty segment inside, and none that begins with a dot.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?$`)

// metadataOf puts the well-known path between host and path of a resource identifier (RFC 9728 §3.1). It is empty for an
// identifier that is no plain URL of a server, such as a URN.
func metadataOf(resource string) string {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || !plainPath.MatchString(u.EscapedPath()) ||
		u.Scheme != "https" && (u.Scheme != "http" || !loopbackHost(u.Hostname())) {
		return ""
	}
	return u.Scheme + "://" + u.Host + wellKnown + strings.TrimSuffix(u.Path, "/")
}

// metadata wants the URL of a document that this server can serve.
func (p *problems) metadata(path, value string) {
	if value == "" {
		return
	}
	u := p.webURL(path, value)
	if u == nil {
		return
	}
	rest, below := strings.CutPrefix(u.EscapedPath(), wellKnown)
	if !below || !plainPath.MatchString(rest) || strings.ContainsAny(value, "?#") {
		p.add(path, "is no URL of such a document", "whose path begins with "+wellKnown+" (RFC 9728 section 3)",
			"write one such as https://executor.example"+wellKnown)
	}
}

// hosts wants names and addresses without ports.
func (p *problems) hosts(list []string) {
	for _, host := range list {
		u, err := url.Parse("https://" + bracket(host))
		if err != nil || host == "" || u.Host != bracket(host) || u.Hostname() != host || strings.HasSuffix(host, ":") {
			p.add("listen.hosts", fmt.Sprintf("%q is no host", host), "", "use a name or an address without port, such as sts.internal")
		}
	}
}

// bracket makes a host of an IPv6 address.
func bracket(host string) string {
	if strings.Count(host, ":") > 1 {
		return "[" + host + "]"
	}
	return host
}
