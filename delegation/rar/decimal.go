package rar

import (
	"cmp"
	"errors"
	"strconv"
	"strings"
)

// Numbers beyond these are not read: arbitrary precision would cost the reader, not the sender (1e999999999 is twelve bytes).
const (
	maxDigits   = 34 // significant ones, as of a decimal128
	maxExponent = 64
)

var errNumber = errors.New("a number of more digits than can be compared")

// decimal is ±digits × 10^exponent, exactly. Digits have no zero at either end; those of zero are empty. Amounts are money: a
// float64 would take 0.1 and 9007199254740993 for their neighbours.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

// parseDecimal reads a number that is JSON.
func parseDecimal(text string) (decimal, error) {
	var d decimal
	text, d.negative = strings.CutPrefix(text, "-")
	mantissa, exponent := text, ""
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, exponent = text[:i], text[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	d.digits = strings.TrimRight(digits, "0")
	if d.digits == "" {
		return decimal{}, nil // zero has no sign
	}
	if len(d.digits) > maxDigits {
		return decimal{}, errNumber
	}
	d.exponent = len(digits) - len(d.digits) - len(fraction)
	if exponent != "" {
		e, err := strconv.ParseInt(exponent, 10, 32)
		if err != nil {
			return decimal{}, errNumber
		}
		d.exponent += int(e)
	}
	if d.exponent < -maxExponent || d.exponent > maxExponent {
		return decimal{}, errNumber
	}
	return d, nil
}

// compare is -1, 0 or 1, as a is less than b, equal to it, or more.
func (a decimal) compare(b decimal) int {
	if c := cmp.Compare(a.sign(), b.sign()); c != 0 || a.digits == "" {
		return c
	}
	// Both have the same sign. The place of the first digit decides, then the digits from there on.
	c := cmp.Or(cmp.Compare(len(a.digits)+a.exponent, len(b.digits)+b.exponent), strings.Compare(a.digits, b.digits))
	return a.sign() * c
}

func (a decimal) sign() int {
	switch {
	case a.digits == "":
		return 0
	case a.negative:
		return -1
	}
	return 1
}

// String is the one spelling of a number: 100, 0.01, -1.5, and 1e40 where zeros would be many.
func (a decimal) String() string {
	const manyZeros = 20
	text := a.digits
	switch point := len(a.digits) + a.exponent; {
	case text == "":
		return "0"
	case a.exponent > manyZeros || point < -manyZeros:
		text += "e" + strconv.Itoa(a.exponent)
	case a.exponent >= 0:
		text += strings.Repeat("0", a.exponent)
	case point > 0:
		text = text[:point] + "." + text[point:]
	default:
		text = "0." + strings.Repeat("0", -point) + text
	}
	if a.negative {
		return "-" + text
	}
	return text
}
