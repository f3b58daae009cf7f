package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"time"

	"github.com/onbehalf/obo/telemetry"
)

// Executor is the configuration of obo-executor.
type Executor struct {
	// Audience is the executor's resource identifier: `aud` of every token that it takes (RFC 8707 §2). An absolute URI
	// without fragment. Required.
	Audience string `yaml:"audience"`
	// Issuer is the issuer identifier of the token server, exactly as it stands in `iss`. Required.
	Issuer string `yaml:"issuer"`
	// JWKSURL is where the token server's key set is. Default: as the issuer's metadata says (RFC 8414 §3), which may name a
	// place on the issuer's own scheme and host only.
	JWKSURL string `yaml:"jwks_url"`
	// ResourceMetadata is the URL at which agents find the protected resource metadata (RFC 9728), on the HTTP listener or
	// what stands in front of it. Challenges name it. Its path must begin with /.well-known/oauth-protected-resource.
	// Default: made of audience when that is an https URL (RFC 9728 §3.1); otherwise none, and challenges name none.
	ResourceMetadata string `yaml:"resource_metadata"`
	// PublicURL is where browsers reach the HTTP listener: scheme and host. Users connect accounts at its /connect, and every client
	// that an org registers has the redirect URI PUBLIC_URL/connect/callback. Default: scheme and host of audience, when that is a URL
	// of a server; otherwise it is missing, and an error.
	PublicURL string `yaml:"public_url"`
	// DPoP says how proofs of possession are taken. Optional.
	DPoP DPoP `yaml:"dpop"`
	// RequireDPoP refuses every token that comes without a DPoP proof, whatever the org says. Default false.
	RequireDPoP bool `yaml:"require_dpop"`
	// Feed is the token server's feed of revocations and policy. Required.
	Feed Feed `yaml:"feed"`
	// Listen says where to serve. Required.
	Listen Listen `yaml:"listen"`
	// Store is the database; never the token server's. Required.
	Store Store `yaml:"store"`
	// KeyFile is the file with the key-encryption key, made by `obo-executor init`, mode 0600. What is in it is read again
	// at a reload. Required.
	KeyFile string `yaml:"key_file"`
	// KeyEncryption says what encrypts the key in that file. Default: nothing; the file's mode is all that protects it.
	KeyEncryption *KeyEncryption `yaml:"key_encryption"`
	// Admin is the operator's credential for ExecutorAdminService and AuditService. Required.
	Admin Credential `yaml:"admin"`
	// Egress says where calls to providers may go. Optional.
	Egress Egress `yaml:"egress"`
	// Drain says how the server ends. Optional.
	Drain Drain `yaml:"drain"`
	// Log says what to log. Optional.
	Log Log `yaml:"log"`
}

// Feed is the way to the token server's feed.
type Feed struct {
	// Address is that of the token server's gRPC listener, host:port. Required.
	Address string `yaml:"address"`
	// Addresses are those of other replicas, host:port, at most 16. When one is silent for half of stale_after the next is
	// tried, so that the executor goes on when a replica ends.
	Addresses []string `yaml:"addresses"`
	// Name is how `obo followers` lists this executor: 1 to 63 of letters, digits, '.', '_', ':' and '-'. Default: the
	// host's name.
	Name string `yaml:"name"`
	// TokenFile is a file with the follower credential, mode 0600, at least 32 bytes. A reload reads it again; it is presented
	// when the feed is opened next. Required.
	TokenFile string `yaml:"token_file" reload:"true"`
	// StaleAfter is how long the executor goes on without hearing from the feed before it refuses every call. Default 5s.
	StaleAfter time.Duration `yaml:"stale_after"`
	// TLS says whom to trust. Without it, a loopback address is spoken to in plaintext and any other with TLS and the
	// system's roots. Optional.
	TLS *ClientTLS `yaml:"tls"`
}

// Token reads the follower credential from its file.
func (f Feed) Token() (telemetry.Secret, error) { return readToken(f.TokenFile) }

// Hosts are those that a DPoP proof for a gRPC call may name.
func (c *Executor) Hosts() []string { return c.Listen.hosts(c.Audience) }

// LoadExecutor reads and validates the configuration of obo-executor, with its defaults filled in.
func LoadExecutor(path string) (Executor, error) {
	var c Executor
	if err := load(path, &c); err != nil {
		return Executor{}, err
	}
	return c, nil
}

// Validate reports everything that is wrong, as an *InvalidError.
func (c *Executor) Validate() error {
	var p problems
	c.check(&p)
	return p.err("")
}

func (c *Executor) setDefaults() {
	if c.Feed.StaleAfter == 0 {
		c.Feed.StaleAfter = 5 * time.Second
	}
	if c.ResourceMetadata == "" {
		c.ResourceMetadata = metadataOf(c.Audience)
	}
	if u, err := url.Parse(c.Audience); c.PublicURL == "" && err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		c.PublicURL = u.Scheme + "://" + u.Host
	}
	c.DPoP.setDefaults()
	c.Log.setDefaults()
}

func (c *Executor) check(p *problems) {
	p.uri("audience", c.Audience)
	p.issuer("issuer", c.Issuer)
	p.metadata("resource_metadata", c.ResourceMetadata)
	if c.Audience != "" { // else that is what is missing
		p.publicURL("public_url", c.PublicURL)
	}
	p.dpop(c.DPoP)
	if c.JWKSURL != "" {
		p.webURL("jwks_url", c.JWKSURL)
	}
	p.feed(c.Feed)
	p.required("feed.token_file", c.Feed.TokenFile, "name the file with the follower credential")
	p.duration("feed.stale_after", c.Feed.StaleAfter, time.Second, time.Minute)
	p.listen(c.Listen)
	p.store(c.Store)
	p.required("key_file", c.KeyFile, "name the file that `obo-executor init` made")
	p.keyEncryption(c.KeyEncryption)
	p.required("admin.token_file", c.Admin.TokenFile, "name the file with the operator's credential")
	p.drain(c.Drain)
	p.log(c.Log)
}

// publicURL wants an origin that browsers may be sent to.
func (p *problems) publicURL(path, text string) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		p.add(path, "is missing", "audience is no URL of a server, so where browsers come is not known", "write https://HOST of the HTTP listener")
	case err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		p.add(path, "is no scheme and host", "users are sent there with a browser", "write https://HOST, without a path")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopbackHost(u.Hostname())):
		p.add(path, "is not https", "codes and keys of users go there", "write https://HOST; http is for loopback, in development")
	}
}

// feed wants addresses that can be dialled, and a name that can be shown.
func (p *problems) feed(f Feed) {
	p.feedAddress("feed.address", f.Address)
	p.between("feed.addresses", len(f.Addresses), 0, 16)
	for i, address := range f.Addresses {
		p.feedAddress(fmt.Sprintf("feed.addresses[%d]", i), address)
	}
	if f.Name != "" && !followerName.MatchString(f.Name) {
		p.add("feed.name", "is no name for a follower", "operators see it, and scripts match it",
			"write 1 to 63 of letters, digits, '.', '_', ':' and '-', or leave it out")
	}
}

var followerName = regexp.MustCompile(`^[a-zA-Z0-9._:-]{1,63}$`)

func (p *problems) feedAddress(path, address string) {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		p.add(path, "is no host:port", "", "write that of the token server's gRPC listener, such as sts.example:8443")
	} else if !isPort(port) {
		p.noPort(path, port)
	}
}

// Servers are the feeds to follow, each with what it is dialled with.
func (f Feed) Servers() ([]FeedServer, error) {
	var out []FeedServer
	for _, address := range append([]string{f.Address}, f.Addresses...) {
		secure, err := Feed{Address: address, TLS: f.TLS}.TLSConfig()
		if err != nil {
			return nil, err
		}
		out = append(out, FeedServer{Address: address, TLS: secure})
	}
	return out, nil
}

// FeedServer is one feed.
type FeedServer struct {
	Address string
	TLS     *tls.Config // nil: plaintext, to a loopback address
}

func (c *Executor) checkFiles(p *problems) {
	p.secretFile("key_file", c.KeyFile)
	p.tokenFile("admin.token_file", c.Admin.TokenFile)
	p.tokenFile("feed.token_file", c.Feed.TokenFile)
	p.serverTLS(c.Listen.TLS)
	p.clientTLS("feed.tls", c.Feed.TLS)
}

func (c *Executor) storeURL() string { return c.Store.URL.Reveal() }
