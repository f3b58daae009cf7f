package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// The two owners of policies. They are the first part of a policy's id, so neither can take the other's name.
const (
	ownerOrg      = "org"
	ownerPlatform = "platform"
)

const maxPolicyID = 128

// parsed is one policy with the text that it came from.
type parsed struct {
	owner     string
	id        cedar.PolicyID // "org/<@id>"
	source    source
	statement statement
	policy    *cedar.Policy
}

func (p parsed) ast() *ast.Policy { return (*ast.Policy)(p.policy.AST()) }

// problem places a message at the policy as a whole.
func (p parsed) problem(message, hint string) Problem {
	return p.source.problem(p.statement.start, message, hint)
}

// parse reads the files of one owner. The size is checked first, the nesting second, and only then does a parser see text.
func parse(owner string, files []File, found *findings) []parsed {
	total := 0
	for _, f := range files {
		total += len(f.Text)
	}
	if total > MaxSetSize {
		found.add(Problem{
			Message: fmt.Sprintf("the policies of the %s have %d bytes; at most %d are read", owner, total, MaxSetSize)})
		return nil
	}
	var out []parsed
	taken := map[cedar.PolicyID]parsed{}
	for _, f := range files {
		for _, p := range parseFile(owner, f, found) {
			if first, ok := taken[p.id]; ok {
				where := first.problem("", "")
				found.add(p.problem(fmt.Sprintf("@id(%q) is taken", p.name()), fmt.Sprintf("by %s:%d", where.File, where.Line)))
				continue
			}
			taken[p.id] = p
			out = append(out, p)
		}
	}
	return out
}

func (p parsed) name() string { return strings.TrimPrefix(string(p.id), p.owner+"/") }

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

func parseFile(owner string, f File, found *findings) []parsed {
	src := source{name: f.Name, text: f.Text}
	if len(f.Name) > maxFileName || strings.ContainsFunc(f.Name, unprintable) {
		found.add(Problem{File: clip(strconv.QuoteToASCII(f.Name)), // it goes to logs and terminals
			Message: fmt.Sprintf("a file name has at most %d bytes, all of them printable", maxFileName)})
		return nil
	}
	if len(f.Text) > MaxFileSize {
		found.add(Problem{File: f.Name, Message: fmt.Sprintf("%d bytes; at most %d are read", len(f.Text), MaxFileSize),
			Hint: "split it into several files"})
		return nil
	}
	if at := notText(f.Text); at >= 0 {
		found.add(src.problem(at, "not UTF-8 text", ""))
		return nil
	}
	statements, problem := src.split()
	if problem != nil {
		found.add(*problem)
		return nil
	}
	var out []parsed
	for _, st := range statements {
		p := parsed{owner: owner, source: src, statement: st, policy: new(cedar.Policy)}
		if err := p.policy.UnmarshalCedar([]byte(f.Text[st.start:st.end])); err != nil {
			found.add(p.syntaxProblem(err))
			continue
		}
		id, ok := p.policy.Annotations()["id"]
		switch {
		case !ok || id == "":
			found.add(p.problem("the policy has no @id", `write @id("a-name") before it: decisions and the audit trail name it`))
		case !isPolicyID(string(id)):
			found.add(p.problem(fmt.Sprintf("@id(%q) is no usable id", clip(string(id))),
				fmt.Sprintf("use 1 to %d of a-z, A-Z, 0-9, . _ -", maxPolicyID)))
		default:
			p.id = cedar.PolicyID(owner + "/" + string(id))
			out = append(out, p)
		}
	}
	return out
}

// notText is the offset of the first byte that is not UTF-8, or is NUL; -1 when all is text.
func notText(s string) int {
	for i, r := range s {
		if r == 0 {
			return i
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return i
			}
		}
	}
	return -1
}

func isPolicyID(id string) bool {
	return len(id) <= maxPolicyID && !strings.ContainsFunc(id, func(r rune) bool {
		return r > '~' || (!isWord(byte(r)) && r != '-' && r != '.')
	})
}

var (
	placed   = regexp.MustCompile(`(?s)^parse error at <input>:(\d+):(\d+) "(?:[^"\\]|\\.)*": (.*)$`)
	wanted   = regexp.MustCompile(`(?s)^(?:exact )?got (.*) want (.*)$`)
	tooLarge = regexp.MustCompile(`^strconv\.ParseInt: parsing "-?(\d+)": value out of range$`)
	backtick = regexp.MustCompile("`([^`]*)`")
)

// syntaxProblem puts a parser's error into words and at its place. The parser counts lines from the start of the statement,
// and names the token behind the one that it did not want.
func (p parsed) syntaxProblem(err error) Problem {
	m := placed.FindStringSubmatch(err.Error())
	if m == nil {
		if n := tooLarge.FindStringSubmatch(err.Error()); n != nil {
			return p.at(n[1], fmt.Sprintf("`%s` is beyond the range of Long", clip(n[1])), "")
		}
		return p.problem(err.Error(), "")
	}
	at, message := p.tokenAt(m[1], m[2]), m[3]
	var hint string
	names := p.statement.tokens
	if w := wanted.FindStringSubmatch(message); w != nil {
		got, want := w[1], w[2]
		switch {
		case got == "":
			message = fmt.Sprintf("the policy ends where `%s` should be", want)
			return p.source.problem(p.statement.end, message, "")
		case want == ";":
			message = fmt.Sprintf("found `%s` where the policy should end with `;`", got)
			hint = nearest(got, []string{"when", "unless"})
		default:
			message, hint = fmt.Sprintf("found `%s` where `%s` should be", got, want), nearest(got, []string{want})
		}
		at = stepBack(at, names, func(t token) bool { return p.source.word(t) == got })
		return p.source.problem(p.offset(at), message, hint)
	}
	if b := backtick.FindStringSubmatch(message); b != nil {
		at = stepBack(at, names, func(t token) bool { return p.source.word(t) == b[1] })
		return p.source.problem(p.offset(at), message, nearest(b[1], functions))
	}
	at = max(0, at-1)
	word := ""
	if at < len(names) {
		word = p.source.word(names[at])
	}
	switch {
	case strings.HasPrefix(message, "unexpected effect"):
		return p.source.problem(p.offset(at), fmt.Sprintf("`%s` is neither permit nor forbid", word),
			nearest(word, []string{"permit", "forbid"}))
	case message == "invalid primary":
		return p.source.problem(p.offset(at), fmt.Sprintf("`%s` cannot stand here", word),
			nearest(word, []string{"principal", "action", "resource", "context", "true", "false"}))
	}
	return p.source.problem(p.offset(at), fmt.Sprintf("%s, found `%s`", message, word), "")
}

// at places a problem at the first token that is written so, or else at the policy as a whole.
func (p parsed) at(word, message, hint string) Problem {
	for _, t := range p.statement.tokens {
		if p.source.word(t) == word {
			return p.source.problem(t.start, message, hint)
		}
	}
	return p.problem(message, hint)
}

// stepBack looks for the last such token at a place or before it.
func stepBack(at int, tokens []token, is func(token) bool) int {
	for i := min(at, len(tokens)-1); i >= 0; i-- {
		if is(tokens[i]) {
			return i
		}
	}
	return at
}

// tokenAt is the index of the token at a line and a column within the statement.
func (p parsed) tokenAt(line, column string) int {
	l, _ := strconv.Atoi(line)
	c, _ := strconv.Atoi(column)
	rest := p.source.text[p.statement.start:p.statement.end]
	offset := p.statement.start
	for ; l > 1; l-- {
		n := strings.IndexByte(rest, '\n') + 1
		rest, offset = rest[n:], offset+n
	}
	for i := range rest {
		if c--; c == 0 {
			offset += i
			break
		}
	}
	if c > 0 {
		return len(p.statement.tokens)
	}
	i, _ := slices.BinarySearchFunc(p.statement.tokens, offset, func(t token, o int) int { return t.start - o })
	return i
}

func (p parsed) offset(i int) int {
	if i >= len(p.statement.tokens) {
		return p.statement.end
	}
	return p.statement.tokens[i].start
}
