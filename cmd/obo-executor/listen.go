package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/onbehalf/obo/config"
)

// doors are the open sockets.
type doors struct {
	grpc, http net.Listener
	tls        *tls.Config // nil for plaintext
}

// listen opens both sockets, so that a port in use ends the start and not the service.
func listen(ctx context.Context, cfg config.Listen) (*doors, error) {
	d := &doors{}
	if cfg.TLS != nil {
		cert, err := tls.LoadX509KeyPair(cfg.TLS.CertFile, cfg.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("listen.tls: %w", err)
		}
		d.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	}
	var err error
	if d.grpc, err = open(ctx, cfg.GRPC, d.tls); err != nil {
		return nil, err
	}
	if d.http, err = open(ctx, cfg.HTTP, d.tls); err != nil {
		d.close()
		return nil, err
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

func (d *doors) close() {
	for _, l := range []net.Listener{d.grpc, d.http} {
		if l != nil {
			_ = l.Close() // closed already by whoever served it
		}
	}
}
