package grpcpeer_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/onbehalf/obo/wire/grpcpeer"
)

const method = "/obo.v1.ExchangeService/Exchange"

// TestURI: DP10. Only an authority of ours makes a URI, and only plaintext to this machine is http.
func TestURI(t *testing.T) {
	t.Parallel()
	secure := credentials.TLSInfo{State: tls.ConnectionState{}}
	for name, c := range map[string]struct {
		authority []string
		info      credentials.AuthInfo
		want      string
	}{
		"TLS":                        {[]string{"sts.example:8443"}, secure, "https://sts.example:8443" + method},
		"TLS that a proxy ended":     {[]string{"STS.example"}, nil, "https://STS.example" + method},
		"plaintext on this machine":  {[]string{"127.0.0.1:8443"}, nil, "http://127.0.0.1:8443" + method},
		"TLS on this machine":        {[]string{"127.0.0.1:8443"}, secure, "https://127.0.0.1:8443" + method},
		"IPv6":                       {[]string{"[::1]:8443"}, nil, "http://[::1]:8443" + method},
		"another host":               {[]string{"evil.example"}, secure, ""},
		"our host as a user":         {[]string{"sts.example@evil.example"}, secure, ""},
		"our host before a path":     {[]string{"sts.example/x"}, secure, ""},
		"a query":                    {[]string{"sts.example?x"}, secure, ""},
		"two authorities":            {[]string{"sts.example", "sts.example"}, secure, ""},
		"none":                       {nil, secure, ""},
		"something that is no host":  {[]string{"%zz"}, secure, ""},
		"a host that ends like ours": {[]string{"notsts.example"}, secure, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}, AuthInfo: c.info})
			ctx = metadata.NewIncomingContext(ctx, metadata.MD{":authority": c.authority})
			if got := grpcpeer.From(ctx, method, []string{"sts.example", "127.0.0.1", "::1"}); got.URI != c.want {
				t.Errorf("got %q, want %q", got.URI, c.want)
			}
		})
	}
}

// TestConnection: CA8. Certificates and address are those of the connection, whatever the metadata say.
func TestConnection(t *testing.T) {
	t.Parallel()
	leaf := &x509.Certificate{Raw: []byte("leaf")}
	ctx := peer.NewContext(t.Context(), &peer.Peer{
		Addr:     &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7},
		AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}},
	})
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("x-forwarded-for", "203.0.113.9", "client-cert", ":bGllcw==:"))
	got := grpcpeer.From(ctx, method, nil)
	if got.IP.String() != "192.0.2.1" || len(got.Certificates) != 1 || got.Certificates[0] != leaf {
		t.Errorf("got %v", got)
	}
	if none := grpcpeer.From(context.Background(), method, nil); none.IP.IsValid() || none.Certificates != nil || none.URI != "" {
		t.Errorf("without a connection: %v", none)
	}
}
