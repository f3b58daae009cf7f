package main

// What the groups of commands show below their flags. Each command of a group has a text of its own.

// Help is shown below the flags.
func (devCommand) Help() string {
	return `obo dev takes the flags of obo dev start: --state DIR, --postgres DSN, --log-level LEVEL.

` + devStartCommand{}.Help()
}

// Help is shown below the flags.
func (tokenCommand) Help() string {
	return `Examples:
  obo token inspect --file second
  obo token verify --file second
  obo token introspect --file second
  obo token revoke --file first`
}

// Help is shown below the flags.
func (orgCommand) Help() string {
	return `Examples:
  obo org list
  obo org show acme`
}

// Help is shown below the flags.
func (platformCommand) Help() string { return "Example:\n  obo platform apply -f guardrails" }

// Help is shown below the flags.
func (agentsCommand) Help() string { return "Example:\n  obo agents secret acme researcher" }

// Help is shown below the flags.
func (providersCommand) Help() string {
	return `Examples:
  obo providers list
  obo providers show google
  obo providers lint orgs/acme/providers/*.yaml
  obo providers test github --client-id ID --client-secret-file FILE`
}

// Help is shown below the flags.
func (connectionCommand) Help() string {
	return `Examples:
  obo connection put alice-tracker --provider tracker --subject "user:acme/sample|alice" < alice.key
  obo connection list
  obo connection delete alice-tracker`
}

// Help is shown below the flags.
func (keysCommand) Help() string {
	return `Examples:
  obo keys list
  obo keys rotate`
}

// Help is shown below the flags.
func (auditCommand) Help() string {
	return `Examples:
  obo audit list
  obo audit tail
  obo audit show ACTION`
}

// Help is shown below the flags.
func (benchCommand) Help() string {
	return `obo bench takes the flags of obo bench table, among them --postgres DSN, --rounds, --duration and --workers.

Examples:
  obo bench
  obo bench --postgres env --rounds 5
  obo bench revocation --rounds 200`
}
