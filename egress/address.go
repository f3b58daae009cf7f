package egress

import "net/netip"

// Loopback is this machine, for Config.AllowPrivate in development.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// internet6 is the part of IPv6 that is given out; everything else (loopback, unique local, link-local, multicast,
// IPv4-compatible, NAT64) is not the public internet.
var internet6 = netip.MustParsePrefix("2000::/3")

// notPublic are the addresses that are not the public internet (IANA special-purpose registries, RFC 6890), and the
// addresses under which clouds serve credentials to their machines.
var notPublic = prefixes(
	"0.0.0.0/8",        // this network
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // carrier-grade NAT; Alibaba's metadata service
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // Azure's host: metadata and credentials under a public address
	"169.254.0.0/16",   // link-local; the metadata service of AWS, Google, Azure and others
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // IETF protocol assignments; Oracle's metadata service
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // 6to4 relay
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, broadcast
	"2001::/23",        // IETF protocol assignments, Teredo: tunnels to an IPv4 address of the sender's choice
	"2001:db8::/32",    // documentation
	"2002::/16",        // 6to4: the same
	"3fff::/20",        // documentation
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// public reports whether an address is on the public internet.
func public(a netip.Addr) bool {
	if a.Is6() && !internet6.Contains(a) {
		return false
	}
	return a.IsValid() && !contains(notPublic, a)
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
