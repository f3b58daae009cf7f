package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of what is looked at. They are checked before cedar's parser, which recurses by nesting: 400,000 parentheses end the
// process, and no recover helps. The scan below does not recurse and stops at the first limit.
const (
	MaxFileSize   = 64 << 10 // bytes of one policy file
	MaxSetSize    = 1 << 20  // bytes of all files of an org, and of all files of the platform
	maxFileName   = 256      // bytes
	maxTokens     = 2048     // of one policy: what bounds the depth of chains such as a && b && c
	maxNesting    = 32       // of ( [ {
	maxConditions = 32       // `if`s of one policy: they nest without brackets
	maxUnary      = 4        // ! and - in a row, as in Cedar's own parser
)

type tokenKind byte

const (
	tokenWord tokenKind = iota
	tokenNumber
	tokenString
	tokenMark
)

// token is a piece of a policy file, by its offsets.
type token struct {
	kind       tokenKind
	start, end int
}

// statement is what lies between two semicolons: one policy, or what is left at the end of a file.
type statement struct {
	start, end int
	tokens     []token
}

// source is one policy file.
type source struct {
	name string
	text string
}

// problem places a message at an offset.
func (s source) problem(offset int, message, hint string) Problem {
	before := s.text[:offset]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return Problem{File: s.name, Line: line, Column: column, Message: message, Hint: hint}
}

func (s source) word(t token) string { return s.text[t.start:t.end] }

// split cuts a file into statements at the marks that cedar itself would see, and holds it to the limits.
func (s source) split() ([]statement, *Problem) {
	var out []statement
	var current statement
	limits := nesting{}
	for at := 0; ; {
		t, next, problem := s.next(at)
		if problem != nil {
			return nil, problem
		}
		if next == at { // the end
			break
		}
		at = next
		if len(current.tokens) == 0 {
			current.start = t.start
		}
		current.tokens = append(current.tokens, t)
		current.end = t.end
		if message := limits.add(s.word(t), len(current.tokens)); message != "" {
			p := s.problem(t.start, message, "split it into several policies")
			return nil, &p
		}
		if t.kind == tokenMark && s.word(t) == ";" {
			out = append(out, current)
			current, limits = statement{}, nesting{}
		}
	}
	if len(current.tokens) > 0 {
		out = append(out, current)
	}
	return out, nil
}

// nesting counts what makes a parser recurse.
type nesting struct{ brackets, conditions, unary int }

func (n *nesting) add(word string, tokens int) string {
	unary := 0
	switch word {
	case "(", "[", "{":
		n.brackets++
	case ")", "]", "}":
		n.brackets = max(0, n.brackets-1)
	case "if":
		n.conditions++
	case "!", "-":
		unary = n.unary + 1
	}
	n.unary = unary
	switch {
	case n.brackets > maxNesting:
		return fmt.Sprintf("brackets are nested more than %d deep", maxNesting)
	case n.conditions > maxConditions:
		return fmt.Sprintf("one policy has more than %d conditions (if)", maxConditions)
	case n.unary > maxUnary:
		return fmt.Sprintf("more than %d of ! or - in a row", maxUnary)
	case tokens > maxTokens:
		return fmt.Sprintf("one policy has more than %d words and marks", maxTokens)
	}
	return ""
}

// next finds the token at or after an offset. At the end of the text it answers with the offset that it was given.
func (s source) next(at int) (token, int, *Problem) {
	start, problem := s.skip(at)
	if problem != nil {
		return token{}, at, problem
	}
	if start == len(s.text) {
		return token{}, at, nil
	}
	c := s.text[start]
	end := start + 1
	kind := tokenMark
	switch {
	case isWord(c) && !isDigit(c):
		kind = tokenWord
		for end < len(s.text) && isWord(s.text[end]) {
			end++
		}
	case isDigit(c):
		kind = tokenNumber
		for end < len(s.text) && isDigit(s.text[end]) {
			end++
		}
	case c == '"':
		kind = tokenString
		end = s.closingQuote(start)
		if end < 0 {
			p := s.problem(start, "the string does not end on its line", `close it with "`)
			return token{}, at, &p
		}
	case end < len(s.text) && isPair(s.text[start:end+1]):
		end++
	}
	return token{kind, start, end}, end, nil
}

// skip passes over white space and comments.
func (s source) skip(at int) (int, *Problem) {
	for at < len(s.text) {
		switch rest := s.text[at:]; {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			at++
		case strings.HasPrefix(rest, "//"):
			line := strings.IndexByte(rest, '\n')
			if line < 0 {
				return len(s.text), nil
			}
			at += line
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				p := s.problem(at, "the comment does not end", "close it with */")
				return at, &p
			}
			at += 2 + end + 2
		default:
			return at, nil
		}
	}
	return at, nil
}

// closingQuote is the offset behind a string, or -1.
func (s source) closingQuote(start int) int {
	for i := start + 1; i < len(s.text); i++ {
		switch s.text[i] {
		case '"':
			return i + 1
		case '\n':
			return -1
		case '\\':
			i++
		}
	}
	return -1
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c == '_' || isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
}

func isPair(s string) bool {
	switch s {
	case "::", "==", "!=", "<=", ">=", "&&", "||":
		return true
	}
	return false
}
