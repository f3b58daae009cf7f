package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/onbehalf/obo/telemetry"
)

// maxFile bounds a configuration file, and each file that a reference names.
const maxFile = 1 << 20

// document is a server's configuration.
type document interface {
	setDefaults()
	check(p *problems)      // what can be seen in the document
	checkFiles(p *problems) // what can be seen in the files that it names
	storeURL() string
}

// load reads a file into c. Its error is an *InvalidError unless the file cannot be read.
func load(path string, c document) error {
	data, err := readBounded(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	var p problems
	if err := decode(data, c); err != nil {
		p.list = err
		return p.err(path)
	}
	inline := inlinePassword.MatchString(c.storeURL())
	expandAll(&p, "", reflect.ValueOf(c).Elem())
	if inline {
		p.secretFile("store.url", path)
	}
	c.setDefaults()
	c.check(&p)
	c.checkFiles(&p)
	return p.err(path)
}

// decode reads one YAML document, refusing keys that the type does not have and keys that come twice.
func decode(data []byte, c any) []Problem {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	switch err := d.Decode(c); {
	case errors.Is(err, io.EOF):
		return []Problem{{Message: "the file is empty"}}
	case err != nil:
		return yamlProblems(err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return []Problem{{Message: "the file has more than one YAML document; keep the first"}}
	}
	return nil
}

var unknownKey = regexp.MustCompile(`^line (\d+): field (.+) not found in type config\.(\w+)$`)

// yamlProblems puts the decoder's errors in our words. They quote what they could not read, so they are redacted.
func yamlProblems(err error) []Problem {
	var list *yaml.TypeError
	if !errors.As(err, &list) {
		return []Problem{{Message: telemetry.Redact(strings.TrimPrefix(err.Error(), "yaml: "))}}
	}
	var out []Problem
	for _, e := range list.Errors {
		if m := unknownKey.FindStringSubmatch(e); m != nil {
			e = fmt.Sprintf("line %s: unknown key %q; correct its spelling or remove it", m[1], m[2])
		}
		out = append(out, Problem{Message: telemetry.Redact(e)})
	}
	return out
}

var (
	reference      = regexp.MustCompile(`\$\{([^}]*)\}?`)
	inlinePassword = regexp.MustCompile(`://[^/@]*:[^/@$]+@|password=[^&$]`)
)

// expandAll replaces the references in every string of a struct and of its lists.
func expandAll(p *problems, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			expandAll(p, path, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("yaml")
			if path != "" {
				name = path + "." + name
			}
			expandAll(p, name, v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			expandAll(p, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.String:
		v.SetString(reference.ReplaceAllStringFunc(v.String(), func(ref string) string {
			value, err := resolve(ref)
			if err != nil {
				p.add(path, "%s", err)
			}
			return value
		}))
	}
}

// resolve returns what one reference stands for. References in the result are not followed.
func resolve(ref string) (string, error) {
	inner, ok := strings.CutSuffix(strings.TrimPrefix(ref, "${"), "}")
	kind, name, colon := strings.Cut(inner, ":")
	switch {
	case !ok || !colon || name == "":
	case kind == "env":
		value := os.Getenv(name)
		if value == "" {
			return "", fmt.Errorf("environment variable %s is not set or empty: set it", name)
		}
		return value, nil
	case kind == "file":
		data, err := readSecretFile(name)
		if err != nil {
			return "", err
		}
		value := strings.TrimRight(string(data), "\r\n")
		if value == "" {
			return "", fmt.Errorf("%s is empty: put the secret in it", name)
		}
		return value, nil
	}
	return "", errors.New("a reference must be ${env:NAME} or ${file:/path}")
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

func readAll(f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", f.Name(), maxFile)
	}
	return data, err
}

// readSecretFile reads a file that only its owner may read. The mode is that of the open file, so nobody can swap it.
func readSecretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: create the file or correct the path", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s has mode %04o, so others on this machine can read the secret: chmod 600 %s",
			path, info.Mode().Perm(), path)
	}
	return readAll(f)
}

const minToken = 32

// readToken reads a bearer credential.
func readToken(path string) (telemetry.Secret, error) {
	data, err := readSecretFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if len(token) < minToken {
		return "", fmt.Errorf("%s holds %d bytes, which can be guessed: put at least %d random ones in it, "+
			"such as from `openssl rand -hex 32`", path, len(token), minToken)
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return "", fmt.Errorf("%s holds a byte that cannot travel in a header: use letters and digits", path)
		}
	}
	return telemetry.Secret(token), nil
}
