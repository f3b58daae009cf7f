package main

// The files of a folder that init made.
const (
	keyFile    = "kek.json"
	adminFile  = "admin.token"
	configFile = "obo-executor.yaml"
)

const sample = `# obo-executor. Every key is documented in docs/CONFIG.md; check a change with obo-executor -check-config -c FILE.
audience: http://127.0.0.1:8081     # what tokens for this executor have as aud; a registered resource of each org
issuer: http://127.0.0.1:8080       # of obo-sts
feed:
  address: 127.0.0.1:8443           # gRPC listener of obo-sts
  token_file: %[1]s/feed.token      # the credential that obo-sts init wrote: copy it here, mode 0600
listen:
  grpc: 127.0.0.1:8444
  http: 127.0.0.1:8081
  # tls: {cert_file: /path/cert.pem, key_file: /path/key.pem}   # required on any address but loopback
  # hosts: [executor.internal]   # further names under which agents call the gRPC listener, for DPoP
store:
  url: sqlite:%[1]s/executor.db   # or postgres://obo:${file:/path/password}@host/obo_executor?sslmode=verify-full
key_file: %[1]s/` + keyFile + `
admin:
  token_file: %[1]s/` + adminFile + `
`
