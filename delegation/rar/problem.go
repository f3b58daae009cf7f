package rar

import (
	"fmt"
	"strconv"
	"strings"
)

// Problem is one thing wrong with a registered type.
type Problem struct {
	Type    string // its name
	Field   string // empty when it is about the type as a whole
	Message string
}

// String is `type "payment", field "amount": message`.
func (p Problem) String() string {
	where := "type " + name(p.Type)
	if p.Field != "" {
		where += ", field " + name(p.Field)
	}
	return where + ": " + p.Message
}

// InvalidError is all that Compile found wrong.
type InvalidError struct{ Problems []Problem }

func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "rar: " + strings.Join(lines, "\n")
}

// problems collects what is wrong with one type.
type problems struct {
	typ  string
	list []Problem
}

func (p *problems) add(field, format string, args ...any) {
	p.list = append(p.list, Problem{Type: p.typ, Field: field, Message: fmt.Sprintf(format, args...)})
}

// name quotes a name that somebody sent: short, and ASCII.
func name(s string) string {
	const limit = 64
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// oneLine keeps what a library says short.
func oneLine(s string) string {
	const limit = 300
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
