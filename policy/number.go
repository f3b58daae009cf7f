package policy

import (
	"errors"
	"strconv"
	"strings"
)

var (
	errPlaces = errors.New("more decimal places than policy can see")
	errRange  = errors.New("too large for policy")
)

// scaled reads a JSON number as value × 10^scale, exactly or not at all: a rounded amount would be judged as another than the
// one that is paid.
func scaled(number string, scale int) (int64, error) {
	sign := ""
	if strings.HasPrefix(number, "-") {
		sign, number = "-", number[1:]
	}
	mantissa, exponent, _ := cutAny(number, "eE")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return 0, nil
	}
	shift := scale - len(fraction)
	trimmed := strings.TrimRight(digits, "0")
	shift += len(digits) - len(trimmed)
	if exponent != "" {
		e, err := strconv.ParseInt(exponent, 10, 32)
		if err != nil { // beyond any range, one way or the other
			if strings.HasPrefix(exponent, "-") {
				return 0, errPlaces
			}
			return 0, errRange
		}
		shift += int(e)
	}
	const most = 19 // digits of an int64
	switch {
	case shift < 0:
		return 0, errPlaces
	case len(trimmed) > most || shift > most:
		return 0, errRange
	}
	n, err := strconv.ParseInt(sign+trimmed+strings.Repeat("0", shift), 10, 64)
	if err != nil {
		return 0, errRange
	}
	return n, nil
}

func cutAny(s, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
