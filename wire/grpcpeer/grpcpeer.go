// Package grpcpeer says who is at the other end of a gRPC call, by the connection and never by metadata that anybody can
// write (CA8), and which URI a proof of possession for the call must name (DP10).
package grpcpeer

import (
	"context"
	"crypto/x509"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// Peer is what the connection and the call's authority tell.
type Peer struct {
	IP           netip.Addr          // zero when unknown
	Certificates []*x509.Certificate // of the TLS client, the leaf first; nobody has judged them
	URI          string              // htu of a proof for this call; empty when its authority is not one of ours
}

// Method is htm of a proof for any gRPC call.
const Method = "POST"

// From reads the peer of a call of a full method such as "/obo.v1.ExchangeService/Exchange". Hosts are our own, without
// ports. The authority is the caller's own word, so its host must be one of them: otherwise whoever is called by another name
// could relay the proofs that it gets.
func From(ctx context.Context, method string, hosts []string) Peer {
	p, secure := connection(ctx)
	values := metadata.ValueFromIncomingContext(ctx, ":authority")
	if len(values) != 1 {
		return p
	}
	// https also when somebody in front of us ends the TLS; http only for plaintext to this machine itself.
	at, err := url.Parse("https://" + values[0] + method)
	if err != nil || at.Host != values[0] || at.Path != method { // it holds a path, or somebody's name before the host
		return p
	}
	if !slices.ContainsFunc(hosts, func(ours string) bool { return strings.EqualFold(ours, at.Hostname()) }) {
		return p
	}
	if !secure && loopback(at.Hostname()) {
		at.Scheme = "http"
	}
	p.URI = at.String()
	return p
}

func connection(ctx context.Context) (p Peer, secure bool) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return p, false
	}
	if from.Addr != nil {
		if at, err := netip.ParseAddrPort(from.Addr.String()); err == nil {
			p.IP = at.Addr().Unmap()
		}
	}
	info, secure := from.AuthInfo.(credentials.TLSInfo)
	if secure {
		p.Certificates = info.State.PeerCertificates
	}
	return p, secure
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
