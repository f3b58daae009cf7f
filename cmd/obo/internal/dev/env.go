package dev

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Names are the names of the env file, in its order. They are a contract (docs/OPERATING.md): scripts read them.
func Names() []string {
	return []string{
		"OBO_ISSUER", "OBO_STS_GRPC", "OBO_EXECUTOR_GRPC", "OBO_EXECUTOR_HTTP", "OBO_EXECUTOR_AUDIENCE",
		"OBO_ADMIN_TOKEN_FILE", "OBO_ORG", "OBO_ORG2",
		"OBO_ORCHESTRATOR_ID", "OBO_ORCHESTRATOR_SECRET", "OBO_ORCHESTRATOR_KEY",
		"OBO_RESEARCHER_ID", "OBO_RESEARCHER_SECRET", "OBO_RESEARCHER_KEY",
		"OBO_RESOURCE_SERVER_ID", "OBO_RESOURCE_SERVER_SECRET", "OBO_RESOURCE_SERVER_KEY",
		"OBO_ORG2_AGENT_ID", "OBO_ORG2_AGENT_SECRET", "OBO_ORG2_AGENT_KEY",
		"OBO_USER_TOKEN_FILE", "OBO_PROVIDER_URL", "OBO_LOGIN_ISSUER", "OBO_LOGIN_CLIENT_ID",
	}
}

var (
	lineForm = regexp.MustCompile(`^([A-Z][A-Z0-9_]*)=(.*)$`)
	// plain is what a shell reads as itself, unquoted.
	plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]*$`)
)

// ReadEnv reads an env file: one NAME=value a line, without quotes.
func ReadEnv(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	env := map[string]string{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := lineForm.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("%s:%d: not NAME=value", path, n)
		}
		env[m[1]] = m[2]
	}
	return env, lines.Err()
}

// writeEnv writes the env file, whole or not at all.
func writeEnv(path string, env map[string]string) error {
	var b strings.Builder
	for _, name := range Names() {
		value, ok := env[name]
		if !ok {
			return fmt.Errorf("no value for %s", name)
		}
		if !plain.MatchString(value) {
			return fmt.Errorf("%s=%s: a shell would need quotes; choose a state directory with a plainer name", name, value)
		}
		fmt.Fprintf(&b, "%s=%s\n", name, value)
	}
	return writeFile(path, []byte(b.String()))
}

// writeFile replaces a file of ours, readable by its owner alone.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	if err := tmp.Chmod(0o600); err != nil {
		_ = tmp.Close()
		return err
	}
	if _, err := tmp.Write(data); err != nil {
		_ = tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
