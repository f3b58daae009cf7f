package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/onbehalf/obo/config"
)

// Program is a server as a command: serve, init and version. C is its configuration.
type Program[C config.Server] struct {
	Name  string // of the binary
	About string // one sentence
	// Load reads and checks the configuration and the files that it names.
	Load func(path string) (C, error)
	// Serve opens what the configuration names and serves until ctx ends, reloading when asked. It logs to log.
	Serve func(ctx context.Context, cfg C, again Reloads[C], log io.Writer) error
	// Folder is what init writes.
	Folder Folder
	// KeyFile is the file with the key-encryption key, and Sealed opens what is sealed under it.
	KeyFile func(C) KeyFile
	Sealed  func(ctx context.Context, cfg C) (Sealed, error)
}

type commands struct {
	Serve struct {
		Config      string `short:"c" required:"" placeholder:"FILE" help:"Configuration (YAML)."`
		CheckConfig bool   `help:"Read and check the configuration and the files that it names, say everything that is wrong, and exit."`
		Output      string `enum:"text,json" default:"text" help:"Of --check-config: text or json."`
	} `cmd:"" default:"withargs" help:"Serve until SIGTERM or SIGINT; then drain. SIGHUP reads the configuration again. The default command."`
	Init struct {
		Dir           string `required:"" placeholder:"DIR" help:"Folder to write to; made when it is missing. Nothing in it is overwritten."`
		KeyEncryption string `placeholder:"FILE" help:"File (YAML) with nothing but key_encryption: the key file is made encrypted, and the configuration says by what."`
	} `cmd:"" help:"Write a key-encryption key, credentials and a sample configuration to a folder."`
	Key     keyCommands `cmd:"" help:"Change the key-encryption key while servers run: add, promote, reseal, drop, each followed by a reload. Encrypt its file: wrap."`
	Version struct{}    `cmd:"" help:"Print the version."`
}

// Main runs the command that os.Args names, and ends the process when that fails.
func (p Program[C]) Main() {
	var c commands
	dir := strings.TrimPrefix(p.Name, "obo-")
	parser := kong.Must(&c, kong.Name(p.Name), kong.UsageOnError(), kong.Description(fmt.Sprintf(
		"%[1]s\n\nExample:\n  %[2]s init --dir ./%[3]s\n  %[2]s serve -c ./%[3]s/%[4]s", p.About, p.Name, dir, p.Folder.Config)))
	args := slices.Clone(os.Args[1:])
	if i := slices.Index(args, "-check-config"); i >= 0 {
		args[i] = "--check-config" // one hyphen, as Go programs have it
	}
	parsed, err := parser.Parse(args)
	parser.FatalIfErrorf(err)
	words := strings.Fields(parsed.Command())
	switch words[0] {
	case "key":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		defer stop()
		err = p.key(ctx, words[1], c.Key, os.Stdout)
	case "init":
		err = p.Init(context.Background(), c.Init.Dir, c.Init.KeyEncryption)
	case "version":
		_, err = fmt.Println(p.Name, Version())
	default:
		if c.Serve.CheckConfig {
			err = p.check(c.Serve.Config, c.Serve.Output == "json", os.Stdout)
		} else {
			err = p.serve(c.Serve.Config)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.Name, err)
		os.Exit(1)
	}
}

func (p Program[C]) serve(file string) error {
	again := make(chan os.Signal, 1) // one that waits reads what all of them meant
	signal.Notify(again, syscall.SIGHUP)
	cfg, err := p.Load(file)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return p.Serve(ctx, cfg, Reloads[C]{Load: func() (C, error) { return p.Load(file) }, Asked: again}, os.Stderr)
}

// checked is what --check-config found, for programs.
type checked struct {
	File     string           `json:"file"`
	Valid    bool             `json:"valid"`
	Problems []config.Problem `json:"problems"`
}

// check says everything that is wrong with a configuration. Its error is the text for people.
func (p Program[C]) check(file string, asJSON bool, out io.Writer) error {
	_, err := p.Load(file)
	if !asJSON {
		if err == nil {
			_, err = fmt.Fprintln(out, file, "is valid")
		}
		return err
	}
	found := checked{File: file, Valid: err == nil, Problems: []config.Problem{}}
	if invalid, ok := errors.AsType[*config.InvalidError](err); ok {
		found.Problems = invalid.Problems
	} else if err != nil {
		found.Problems = []config.Problem{{What: err.Error(), Do: "name a file that this user can read"}}
	}
	text := json.NewEncoder(out)
	text.SetIndent("", "  ")
	if wrong := text.Encode(found); wrong != nil || err == nil {
		return wrong
	}
	return fmt.Errorf("%s is not valid", file)
}

// Init writes the folder that a first start needs, and says what is next. encryption is a file with key_encryption; empty: the key lies
// in its file as it is.
func (p Program[C]) Init(ctx context.Context, dir, encryption string) error {
	dir, err := p.Folder.write(ctx, dir, encryption)
	if err != nil {
		return err
	}
	names := p.Folder.files()
	last := len(names) - 1
	_, err = fmt.Printf("wrote %s and %s to %s\nnext: %s%s serve -c %s/%s\n",
		strings.Join(names[:last], ", "), names[last], dir, p.Folder.Before, p.Name, dir, p.Folder.Config)
	return err
}

// Version is that of the module, with the commit when it was built from one, and that of Go.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version + " " + info.GoVersion
}
