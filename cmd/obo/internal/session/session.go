// Package session keeps who is logged in where: an administrator's token for each token server and org, in a file that its owner
// alone can read, and where that person signs in, for the next time.
package session

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/signin"
	"github.com/onbehalf/obo/telemetry"
)

// Session is a login at a token server.
type Session struct {
	Server   string           // host:port of the token server
	Org      string           // empty: the server itself
	Token    telemetry.Secret // empty: logged out
	Subject  string
	Role     string
	Expires  time.Time
	Provider signin.Provider // where the person signs in
}

// file is a session as it is kept.
type file struct {
	Server   string          `json:"server"`
	Org      string          `json:"org_id,omitempty"`
	Token    string          `json:"token,omitempty"`
	Subject  string          `json:"subject,omitempty"`
	Role     string          `json:"role,omitempty"`
	Expires  time.Time       `json:"expires,omitzero"`
	Provider signin.Provider `json:"provider,omitzero"`
}

// forgotten is when a login is dropped that nobody renews.
const forgotten = 180 * 24 * time.Hour

// Store is a folder of sessions.
type Store struct{ dir string }

// Open finds the folder: $XDG_STATE_HOME/obo/logins, or ~/.local/state/obo/logins.
func Open(env func(string) (string, bool)) (Store, error) {
	if state, _ := env("XDG_STATE_HOME"); filepath.IsAbs(state) { // the specification: others are to be ignored
		return Store{filepath.Join(state, "obo", "logins")}, nil
	}
	if home, _ := env("HOME"); filepath.IsAbs(home) {
		return Store{filepath.Join(home, ".local", "state", "obo", "logins")}, nil
	}
	return Store{}, explain.Misuse("there is no place for logins", "neither XDG_STATE_HOME nor HOME is an absolute path",
		"set one of them")
}

// path is a file for each server and org. The name is a hash, so that nothing in it steers a path.
func (s Store) path(server, org string) string {
	sum := sha256.Sum256([]byte(server + "\n" + org)) // neither has a line break
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16])+".json")
}

// Load returns the session of a server and org. ok is false when there is none.
func (s Store) Load(server, org string) (_ Session, ok bool, err error) {
	path := s.path(server, org)
	data, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Session{}, false, nil
	case err != nil:
		return Session{}, false, err
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil || f.Server != server || f.Org != org {
		return Session{}, false, explain.Failure("cannot read the login in "+path, errors.New("it is not what obo login wrote"),
			"delete it, and log in again")
	}
	return Session{f.Server, f.Org, telemetry.Secret(f.Token), f.Subject, f.Role, f.Expires, f.Provider}, true, nil
}

// read reads a file that nobody else can read or write.
func read(path string) ([]byte, error) {
	for _, p := range []string{filepath.Dir(path), path} {
		info, err := os.Lstat(p)
		switch {
		case err != nil:
			return nil, err
		case info.Mode().Perm()&0o077 != 0:
			why := fmt.Errorf("others can read or write %s (mode %04o)", p, info.Mode().Perm())
			return nil, explain.Failure("cannot use the login in "+path, why, "chmod go= "+p+", and log in again")
		case p == path && !info.Mode().IsRegular():
			return nil, explain.Failure("cannot use the login in "+path, errors.New("it is no plain file"), "delete it, and log in again")
		}
	}
	return os.ReadFile(path)
}

// Save keeps a session, whole or not at all, in the place of the one before.
func (s Store) Save(x Session, now time.Time) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(file{x.Server, x.Org, x.Token.Reveal(), x.Subject, x.Role, x.Expires.UTC(), x.Provider}, "", "  ")
	if err != nil {
		return err
	}
	s.sweep(now)
	return replace(s.path(x.Server, x.Org), data)
}

// replace writes a file of mode 0600 beside the old one and puts it in its place.
func replace(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	if _, err := tmp.Write(data); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// sweep drops what was left long ago: servers on ports of a day, writes that were broken off.
func (s Store) sweep(now time.Time) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > forgotten {
			_ = os.Remove(filepath.Join(s.dir, e.Name()))
		}
	}
}
