package config

import (
	"errors"
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

// Problem is one thing that is wrong, and what to do about it. None of it ever holds a secret.
type Problem struct {
	Path string `json:"path,omitempty"` // "listen.grpc"; empty when What names a line
	What string `json:"what"`
	Why  string `json:"why,omitempty"` // why it matters; empty when nobody would ask
	Do   string `json:"do"`
}

// String is one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.What)
	if p.Why != "" {
		b.WriteString(", " + p.Why)
	}
	return b.String() + ": " + p.Do
}

// Error has one line a problem.
func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString("config: ")
	if e.File != "" {
		fmt.Fprintf(&b, "%s: ", e.File)
	}
	for _, p := range e.Problems {
		if len(e.Problems) > 1 {
			b.WriteString("\n  ")
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// problems collects what is wrong.
type problems struct {
	list []Problem
	// allows is told what values each key may have, by whoever checks them; nil when nobody asks.
	allows func(path, values string)
}

func (p *problems) err(file string) error {
	if len(p.list) == 0 {
		return nil
	}
	return &InvalidError{File: file, Problems: p.list}
}

func (p *problems) add(path, what, why, do string) {
	p.list = append(p.list, Problem{Path: path, What: what, Why: why, Do: do})
}

func (p *problems) allow(path, format string, args ...any) {
	if p.allows != nil {
		p.allows(path, fmt.Sprintf(format, args...))
	}
}

// known reports whether something is already wrong there: one cause, one line.
func (p *problems) known(path string) bool {
	return slices.ContainsFunc(p.list, func(q Problem) bool { return q.Path == path })
}

func (p *problems) required(path, value, hint string) {
	if value == "" && !p.known(path) {
		p.add(path, "is missing", "and there is no default", hint)
	}
}

func (p *problems) oneOf(path, value string, allowed ...string) {
	p.allow(path, "%s", strings.Join(allowed, ", "))
	if !slices.Contains(allowed, value) {
		p.add(path, fmt.Sprintf("%q is unknown", value), "", "use one of "+strings.Join(allowed, ", "))
	}
}

func (p *problems) between(path string, value, low, high int) {
	p.allow(path, "%d to %d", low, high)
	if value < low || value > high {
		p.add(path, fmt.Sprintf("is %d", value), "", fmt.Sprintf("use %d to %d", low, high))
	}
}

func (p *problems) duration(path string, value, low, high time.Duration) {
	p.allow(path, "%s to %s", short(low), short(high))
	if value < low || value > high {
		p.add(path, "is "+short(value), "", fmt.Sprintf("use %s to %s", short(low), short(high)))
	}
}

// short is a duration as a person writes it: 5m and not 5m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (p *problems) drain(d Drain) { p.duration("drain.delay", d.Delay, 0, 5*time.Minute) }

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
		p.add(path, "is no absolute URI without fragment", "which every identifier of a resource is",
			"write one such as https://executor.example")
	}
}

// webURL wants https, or http on this machine.
func (p *problems) webURL(path, value string) *url.URL {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		p.add(path, "is no URL of a server", "", "write one such as https://sts.example, without user or password")
		return nil
	case u.Port() != "" && !isPort(u.Port()):
		p.noPort(path, u.Port())
		return nil
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		p.add(path, "is http on an address that is not loopback", "where tokens can be read on the way", "use https")
		return nil
	}
	return u
}

// issuer wants an issuer identifier (RFC 8414 §2).
func (p *problems) issuer(path, value string) {
	if u := p.webURL(path, value); u != nil && (strings.ContainsAny(value, "?#") || strings.HasSuffix(value, "/")) {
		p.add(path, "has a query, a fragment or a trailing slash", "though it is compared byte for byte with iss", "remove it")
	}
}

func (p *problems) listen(l Listen) {
	for _, at := range []struct{ path, address string }{{"listen.grpc", l.GRPC}, {"listen.http", l.HTTP}} {
		_, port, err := net.SplitHostPort(at.address)
		switch {
		case err != nil || port == "":
			p.add(at.path, "is no host:port", "", "write one such as 127.0.0.1:8443")
		case !isPort(port) && port != "0": // 0 is any that is free
			p.noPort(at.path, port)
		case l.TLS == nil && !isLoopback(at.address):
			p.add(at.path, "is reachable from the network and listen.tls is absent", "so tokens would travel in clear",
				"set listen.tls, or use a loopback address such as 127.0.0.1:"+port)
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
			p.add(path, "names no absolute path", "so the file would depend on where the server is started",
				"write one such as sqlite:/var/lib/obo/sts.db")
		}
		return
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		p.add(path, "is no URL of a store", "", "write sqlite:/absolute/path or postgres://user@host/database")
	}
}

func (p *problems) secretFile(path, file string) {
	if file == "" {
		return
	}
	if _, err := readSecretFile(file); err != nil {
		p.bad(path, err)
	}
}

func (p *problems) tokenFile(path, file string) telemetry.Secret {
	if file == "" {
		return ""
	}
	token, err := readToken(file)
	if err != nil {
		p.bad(path, err)
	}
	return token
}

// badFile is why a file cannot be used, and what to do about it.
type badFile Problem

// Error is one line.
func (e *badFile) Error() string { return Problem(*e).String() }

// bad adds an error of reading a file.
func (p *problems) bad(path string, err error) {
	if e, ok := errors.AsType[*badFile](err); ok {
		p.add(path, e.What, e.Why, e.Do)
		return
	}
	p.add(path, "cannot be read", err.Error(), "correct the path, or let this user read it")
}

func (p *problems) noPort(path, port string) {
	p.add(path, fmt.Sprintf("there is no port %q", port), "", "use a number from 1 to 65535")
}

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
