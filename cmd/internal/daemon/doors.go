package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/onbehalf/obo/config"
)

// Doors are the open sockets.
type Doors struct {
	GRPC, HTTP net.Listener
	TLS        *tls.Config // nil for plaintext

	certificate *certificate // of TLS
}

// Listen opens both sockets, so that a port in use ends the start and not the service.
func Listen(ctx context.Context, cfg config.Listen) (*Doors, error) {
	d := &Doors{}
	var err error
	if cfg.TLS != nil {
		if d.certificate, err = openCertificate(*cfg.TLS); err != nil {
			return nil, fmt.Errorf("listen.tls: %w", err)
		}
		d.TLS = d.certificate.config()
	}
	if d.GRPC, err = open(ctx, cfg.GRPC, d.TLS); err != nil {
		return nil, err
	}
	if d.HTTP, err = open(ctx, cfg.HTTP, d.TLS); err != nil {
		return nil, errors.Join(err, d.GRPC.Close())
	}
	return d, nil
}

// open refuses plaintext on any address but loopback, by the address that was really bound: the configuration was checked
// by its text, and a name may resolve to anything (TX20).
func open(ctx context.Context, address string, secure *tls.Config) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	at, ok := l.Addr().(*net.TCPAddr)
	if secure == nil && (!ok || !at.IP.IsLoopback()) {
		return nil, errors.Join(fmt.Errorf("%s is reachable from the network: set listen.tls", l.Addr()), l.Close())
	}
	return l, nil
}

// Close closes what is still open; a server that ran has closed its own.
func (d *Doors) Close() {
	_ = d.GRPC.Close()
	_ = d.HTTP.Close()
}
