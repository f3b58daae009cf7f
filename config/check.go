package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onbehalf/obo/telemetry"
)

// InvalidError lists everything that is wrong with a configuration.
type InvalidError struct {
	File     string // empty when the configuration did not come from a file
	Problems []Problem
}

// Problem is one thing that is wrong, and what to do about it.
type Problem struct {
	Path    string // "listen.grpc"; empty when the message names a line
	Message string // never holds a secret
}

// Error has one line a problem.
func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString("config: ")
	if e.File != "" {
		fmt.Fprintf(&b, "%s: ", e.File)
	}
	for i, p := range e.Problems {
		if len(e.Problems) > 1 {
			b.WriteString("\n  ")
		}
		if p.Path != "" {
			b.WriteString(p.Path + ": ")
		}
		b.WriteString(e.Problems[i].Message)
	}
	return b.String()
}

// problems collects what is wrong.
type problems struct{ list []Problem }

func (p *problems) err(file string) error {
	if len(p.list) == 0 {
		return nil
	}
	return &InvalidError{File: file, Problems: p.list}
}

func (p *problems) add(path, format string, args ...any) {
	p.list = append(p.list, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// known reports whether something is already wrong there: one cause, one line.
func (p *problems) known(path string) bool {
	return slices.ContainsFunc(p.list, func(q Problem) bool { return q.Path == path })
}

func (p *problems) required(path, value, hint string) {
	if value == "" && !p.known(path) {
		p.add(path, "is required: %s", hint)
	}
}

func (p *problems) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add(path, "%q is unknown: use one of %s", value, strings.Join(allowed, ", "))
	}
}

func (p *problems) between(path string, value, low, high int) {
	if value < low || value > high {
		p.add(path, "is %d: use %d to %d", value, low, high)
	}
}

func (p *problems) duration(path string, value, low, high time.Duration) {
	if value < low || value > high {
		p.add(path, "is %s: use %s to %s", value, low, high)
	}
}

func (p *problems) log(l Log) {
	p.oneOf("log.level", l.Level, "debug", "info", "warn", "error")
	p.oneOf("log.format", l.Format, "json", "text")
}

func (l *Log) setDefaults() {
	if l.Level == "" {
		l.Level = "info"
	}
	if l.Format == "" {
		l.Format = "json"
	}
}

// uri wants a resource identifier (RFC 8707 §2).
func (p *problems) uri(path, value string) {
	if u, err := url.Parse(value); err != nil || !u.IsAbs() || strings.Contains(value, "#") {
		p.add(path, "must be an absolute URI without fragment, such as https://executor.example")
	}
}

// webURL wants https, or http on this machine.
func (p *problems) webURL(path, value string) *url.URL {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		p.add(path, "must be a URL such as https://sts.example")
		return nil
	case u.Port() != "" && !isPort(u.Port()):
		p.add(path, noPort, u.Port())
		return nil
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		p.add(path, "is http on an address that is not loopback, where tokens can be read on the way: use https")
		return nil
	}
	return u
}

// issuer wants an issuer identifier (RFC 8414 §2).
func (p *problems) issuer(path, value string) {
	if u := p.webURL(path, value); u != nil && (strings.ContainsAny(value, "?#") || strings.HasSuffix(value, "/")) {
		p.add(path, "must have no query, fragment or trailing slash: it is compared byte for byte with iss")
	}
}

func (p *problems) listen(l Listen) {
	for _, at := range []struct{ path, address string }{{"listen.grpc", l.GRPC}, {"listen.http", l.HTTP}} {
		_, port, err := net.SplitHostPort(at.address)
		switch {
		case err != nil || port == "":
			p.add(at.path, "must be host:port, such as 127.0.0.1:8443")
		case !isPort(port) && port != "0": // 0 is any that is free
			p.add(at.path, noPort, port)
		case l.TLS == nil && !isLoopback(at.address):
			p.add(at.path, "is reachable from the network and listen.tls is absent, so tokens would travel in clear: "+
				"set listen.tls, or use a loopback address such as 127.0.0.1:%s", port)
		}
	}
	p.hosts(l.Hosts)
	if l.TLS != nil {
		p.required("listen.tls.cert_file", l.TLS.CertFile, "name the PEM file with the certificate")
		p.required("listen.tls.key_file", l.TLS.KeyFile, "name the PEM file with the private key")
	}
}

// store never puts the URL in a message: it may hold a password.
func (p *problems) store(s Store) {
	const path = "store.url"
	address := s.URL.Reveal()
	if p.known(path) {
		return
	}
	if file, ok := s.SQLitePath(); ok {
		if !filepath.IsAbs(file) {
			p.add(path, "must name an absolute path, such as sqlite:/var/lib/obo/sts.db")
		}
		return
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		p.add(path, "must be sqlite:/absolute/path or postgres://user@host/database")
	}
}

func (p *problems) secretFile(path, file string) {
	if file == "" {
		return
	}
	if _, err := readSecretFile(file); err != nil {
		p.add(path, "%s", err)
	}
}

func (p *problems) tokenFile(path, file string) telemetry.Secret {
	if file == "" {
		return ""
	}
	token, err := readToken(file)
	if err != nil {
		p.add(path, "%s", err)
	}
	return token
}

const noPort = "there is no port %q: use a number from 1 to 65535"

// isPort reports whether a client can dial it.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// isLoopback reports whether host:port is on this machine only. A name other than localhost is not: it may resolve to
// anything, and an empty host is every address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && loopbackHost(host)
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
