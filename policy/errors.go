package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a bundle, and where.
type Problem struct {
	File    string `json:"file,omitempty"`   // empty when it is not in a policy file
	Line    int    `json:"line,omitempty"`   // from 1
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what was probably meant, or what to do
}

// String is "file:line:column: message (hint)", as compilers print it.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		fmt.Fprintf(&b, " (%s)", p.Hint)
	}
	return b.String()
}

// InvalidError is what Compile found wrong, in the order of files and lines. It quotes policy text and names, never a secret.
type InvalidError struct{ Problems []Problem }

func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "policy: " + strings.Join(lines, "\n")
}

// maxProblems bounds an answer: who has a hundred problems reads the first few.
const maxProblems = 100

// findings collects problems.
type findings struct {
	problems []Problem
	more     int
}

func (f *findings) add(p Problem) {
	if len(f.problems) == maxProblems {
		f.more++
		return
	}
	f.problems = append(f.problems, p)
}

// err is nil when nothing was found.
func (f *findings) err() error {
	if len(f.problems) == 0 {
		return nil
	}
	problems := f.problems
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if f.more > 0 {
		problems = append(problems, Problem{Message: fmt.Sprintf("and %d more", f.more)})
	}
	return &InvalidError{Problems: problems}
}
