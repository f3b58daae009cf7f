package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
)

// ServerTLS is a certificate and its key. Both files are read again when they change, without a restart.
type ServerTLS struct {
	// CertFile is a PEM file with the certificate, then its intermediates. Required.
	CertFile string `yaml:"cert_file"`
	// KeyFile is a PEM file with the private key, mode 0600. Required.
	KeyFile string `yaml:"key_file"`
}

// ClientTLS says which server a client trusts.
type ClientTLS struct {
	// CAFile is a PEM file with the certificate authorities to trust. Default: the system's.
	CAFile string `yaml:"ca_file"`
	// ServerName is the name to expect in the certificate. Default: the host of the address.
	ServerName string `yaml:"server_name"`
}

// Read returns the content of both files. It is asked again and again, so it parses nothing.
func (t ServerTLS) Read() (cert, key []byte, err error) {
	if cert, err = readBounded(t.CertFile); err != nil {
		return nil, nil, fmt.Errorf("config: listen.tls.cert_file: %w", err)
	}
	if key, err = readSecretFile(t.KeyFile); err != nil {
		return nil, nil, fmt.Errorf("config: listen.tls.key_file: %w", err)
	}
	return cert, key, nil
}

// TLSConfig returns what the feed is dialled with; nil means plaintext, which is only for a loopback address.
func (f Feed) TLSConfig() (*tls.Config, error) {
	if f.TLS == nil && isLoopback(f.Address) {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(f.Address)
	if err != nil {
		return nil, fmt.Errorf("config: feed.address: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if f.TLS == nil {
		return c, nil
	}
	if f.TLS.ServerName != "" {
		c.ServerName = f.TLS.ServerName
	}
	if c.RootCAs, err = f.TLS.roots(); err != nil {
		return nil, fmt.Errorf("config: feed.tls.ca_file: %w", err)
	}
	return c, nil
}

// roots are the authorities to trust; nil means the system's.
func (t ClientTLS) roots() (*x509.CertPool, error) {
	if t.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", t.CAFile)
	}
	return pool, nil
}

// serverTLS finds a pair that cannot be served before anybody waits for it.
func (p *problems) serverTLS(t *ServerTLS) {
	if t == nil || t.CertFile == "" || t.KeyFile == "" {
		return
	}
	p.secretFile("listen.tls.key_file", t.KeyFile)
	if p.known("listen.tls.key_file") {
		return
	}
	cert, key, err := t.Read()
	if err == nil {
		_, err = tls.X509KeyPair(cert, key)
	}
	if err != nil {
		p.add("listen.tls", "the certificate cannot be served", err.Error(),
			"name a PEM certificate, with its intermediates, and the private key that belongs to it")
	}
}

func (p *problems) clientTLS(path string, t *ClientTLS) {
	if t == nil {
		return
	}
	if _, err := t.roots(); err != nil {
		p.add(path+".ca_file", "cannot be used", err.Error(), "name a PEM file with the authorities to trust")
	}
}
