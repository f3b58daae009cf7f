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
	var readable bool
	if p.list, readable = decode(data, c); !readable {
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

// decode reads one YAML document, refusing keys that the type does not have and keys that come twice. What it could read is
// in c when the document is readable, so that what else is wrong can be told with it.
func decode(data []byte, c any) (found []Problem, readable bool) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	err := d.Decode(c)
	if errors.Is(err, io.EOF) {
		return []Problem{{What: "the file is empty", Do: "write a configuration to it; init makes a sample"}}, false
	}
	var list *yaml.TypeError
	if err != nil && !errors.As(err, &list) {
		return []Problem{{What: telemetry.Redact(strings.TrimPrefix(err.Error(), "yaml: ")), Do: "correct the YAML there"}}, false
	}
	if list != nil {
		found = yamlProblems(list)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		found = append(found, Problem{What: "the file has more than one YAML document", Do: "keep the first"})
	}
	return found, true
}

var unknownKey = regexp.MustCompile(`^line (\d+): field (.+) not found in type config\.(\w+)$`)

// yamlProblems puts the decoder's errors in our words. They quote what they could not read, so they are redacted.
func yamlProblems(list *yaml.TypeError) []Problem {
	var out []Problem
	for _, e := range list.Errors {
		p := Problem{What: telemetry.Redact(e), Do: "write a value of the type that docs/CONFIG.md has for the key"}
		if m := unknownKey.FindStringSubmatch(e); m != nil {
			p.What, p.Do = fmt.Sprintf("line %s: unknown key %q", m[1], m[2]), "correct its spelling or remove it; docs/CONFIG.md lists the keys"
		}
		out = append(out, p)
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
			expandAll(p, join(path, v.Type().Field(i).Tag.Get("yaml")), v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			expandAll(p, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.String:
		v.SetString(reference.ReplaceAllStringFunc(v.String(), func(ref string) string {
			value, err := resolve(ref)
			if err != nil {
				p.bad(path, err)
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
			return "", &badFile{What: "environment variable " + name + " is not set or empty", Do: "set it, or write the value another way"}
		}
		return value, nil
	case kind == "file":
		data, err := readSecretFile(name)
		if err != nil {
			return "", err
		}
		value := strings.TrimRight(string(data), "\r\n")
		if value == "" {
			return "", &badFile{What: name + " is empty", Do: "put the secret in it"}
		}
		return value, nil
	}
	return "", &badFile{What: "holds a reference of another form", Do: "a reference must be ${env:NAME} or ${file:/path}"}
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
		return nil, &badFile{What: err.Error(), Do: "create the file or correct the path"}
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &badFile{What: path + " is not a regular file", Do: "name a file that holds the secret"}
	case info.Mode().Perm()&0o077 != 0:
		return nil, &badFile{
			What: fmt.Sprintf("%s has mode %04o", path, info.Mode().Perm()), Why: "so others on this machine can read the secret",
			Do: "chmod 600 " + path,
		}
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
		return "", &badFile{
			What: fmt.Sprintf("%s holds %d bytes", path, len(token)), Why: "which can be guessed",
			Do: fmt.Sprintf("put at least %d random ones in it, such as from `openssl rand -hex 32`", minToken),
		}
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return "", &badFile{What: path + " holds a byte that cannot travel in a header", Do: "use letters and digits"}
		}
	}
	return telemetry.Secret(token), nil
}
