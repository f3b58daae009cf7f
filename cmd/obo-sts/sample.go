package main

// The files of a folder that init made.
const (
	keyFile    = "kek.json"
	adminFile  = "admin.token"
	feedFile   = "feed.token"
	configFile = "obo-sts.yaml"
)

const sample = `# obo-sts. Every key is documented in docs/CONFIG.md; check a change with obo-sts -check-config -c FILE.
issuer: http://127.0.0.1:8080
listen:
  grpc: 127.0.0.1:8443
  http: 127.0.0.1:8080
  # tls: {cert_file: /path/cert.pem, key_file: /path/key.pem}   # required on any address but loopback
  # hosts: [sts.internal]   # further names under which clients call the gRPC listener, for DPoP
store:
  url: sqlite:%[1]s/sts.db   # or postgres://obo:${file:/path/password}@host/obo?sslmode=verify-full
key_file: %[1]s/` + keyFile + `
admin:
  token_file: %[1]s/` + adminFile + `
feed:
  token_file: %[1]s/` + feedFile + `
`
