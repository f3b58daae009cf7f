// Package render prints for a person or for a program: text with a little colour on a terminal, JSON elsewhere on request.
//
// Much of what is printed came from outside (a provider's answer, a claim, a reason in the trail). Clean takes out what a
// terminal would obey.
package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Printer writes results. The zero value is not usable: W is required.
type Printer struct {
	W     io.Writer
	JSON  bool
	Color bool
}

// New makes a printer for w: colour only on a terminal, and never when NO_COLOR is set (no-color.org).
func New(w io.Writer, asJSON, noColor bool) Printer {
	return Printer{W: w, JSON: asJSON, Color: !asJSON && !noColor && terminal(w)}
}

// terminal reports whether w is a character device.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Print writes v as indented JSON, or lets text write for a person.
func (p Printer) Print(v any, text func()) error {
	if !p.JSON {
		text()
		return nil
	}
	data, err := encode(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = p.W.Write(b.Bytes())
	return err
}

// Line writes v as one line of JSON, for streams, or lets text write for a person.
func (p Printer) Line(v any, text func()) error {
	if !p.JSON {
		text()
		return nil
	}
	data, err := encode(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = p.W.Write(b.Bytes())
	return err
}

func encode(v any) ([]byte, error) {
	if m, ok := v.(proto.Message); ok {
		return protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	}
	return json.Marshal(v)
}

// Proto is a message as JSON inside another document.
func Proto(m proto.Message) json.RawMessage {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return json.RawMessage("null")
	}
	return data
}

// Protos are messages as JSON inside another document.
func Protos[M proto.Message](messages []M) []json.RawMessage {
	out := make([]json.RawMessage, len(messages))
	for i, m := range messages {
		out[i] = Proto(m)
	}
	return out
}

// Printf writes text for a person.
func (p Printer) Printf(format string, args ...any) { fmt.Fprintf(p.W, format, args...) }

// Bold is for what a line is about.
func (p Printer) Bold(s string) string { return p.paint("1", s) }

// Dim is for what is said beside it.
func (p Printer) Dim(s string) string { return p.paint("2", s) }

// Green is for what is well.
func (p Printer) Green(s string) string { return p.paint("32", s) }

// Red is for what is not.
func (p Printer) Red(s string) string { return p.paint("31", s) }

// Yellow is for what changes or is not known.
func (p Printer) Yellow(s string) string { return p.paint("33", s) }

func (p Printer) paint(code, s string) string {
	if !p.Color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Clean replaces what a terminal would obey (escape sequences, line breaks, direction marks) by a visible dot.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '·'
		}
		return r
	}, s)
}

// Table writes rows in aligned columns; the first row is the head.
func (p Printer) Table(rows [][]string) {
	width := map[int]int{}
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i == len(row)-1 {
				b.WriteString(cell)
				break
			}
			b.WriteString(cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		line := strings.TrimRight(b.String(), " ")
		if n == 0 {
			line = p.Bold(line)
		}
		p.Printf("%s\n", line)
	}
}
