package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/onbehalf/obo/config"
)

// certificatePoll is how often the files of a certificate are looked at. They are small, and a look at their content misses no
// change, whatever a file system says of times.
const certificatePoll = 5 * time.Second

// certificate is a pair of files that may change while it is served: a new pair is served from the next handshake on. A pair
// that is not in order, such as one of which only a half was written yet, changes nothing.
type certificate struct {
	files config.ServerTLS
	now   atomic.Pointer[tls.Certificate] // what is served

	// Of the one goroutine that looks.
	seen    [sha256.Size]byte // the content that is served
	problem string            // that was told last
}

// openCertificate reads a pair that must be in order.
func openCertificate(files config.ServerTLS) (*certificate, error) {
	c := &certificate{files: files}
	_, err := c.look()
	return c, err
}

// look reads the files, and serves what they hold if it is new and in order.
func (c *certificate) look() (changed bool, err error) {
	certPEM, keyPEM, err := c.files.Read()
	if err != nil {
		return false, err
	}
	content := sha256.Sum256(slices.Concat(certPEM, []byte{0}, keyPEM)) // no PEM holds a 0
	if content == c.seen {
		return false, nil
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return false, err
	}
	c.seen = content
	c.now.Store(&pair)
	return true, nil
}

// watch looks again and again until ctx ends.
func (c *certificate) watch(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(certificatePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			c.tell(ctx, log)
		}
	}
}

// tell looks once and logs what is new: a pair that stays broken is told of once.
func (c *certificate) tell(ctx context.Context, log *slog.Logger) {
	changed, err := c.look()
	switch {
	case err != nil && err.Error() != c.problem:
		c.problem = err.Error()
		log.ErrorContext(ctx, "the new TLS certificate cannot be used; the one before is served until the files are in order",
			"cert_file", c.files.CertFile, "key_file", c.files.KeyFile, "error", err, "expires", c.now.Load().Leaf.NotAfter)
	case err == nil && (changed || c.problem != ""):
		c.problem = ""
		log.InfoContext(ctx, "TLS certificate in force", "cert_file", c.files.CertFile, "expires", c.now.Load().Leaf.NotAfter)
	}
}

// config is that of both doors. They ask for a client certificate and do not judge it: which one means what is the org's to
// say, and a certificate that means nothing is no reason to refuse a caller with a secret. The suites are those of BCP 195:
// ephemeral keys and authenticated encryption (FA5); those of TLS 1.3 are nothing else.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   suites(),
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil },
	}
}

func suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}
