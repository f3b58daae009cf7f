package jose

import (
	"crypto/ed25519"
	"encoding/hex"
)

// smallOrder are the points of Ed25519 whose multiples are eight at most, without the sign bit: zero and one in both of their
// spellings, minus one, and the two of order eight.
var smallOrder = map[string]bool{
	"0000000000000000000000000000000000000000000000000000000000000000": true,
	"0100000000000000000000000000000000000000000000000000000000000000": true,
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05": true,
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a": true,
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true,
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true,
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true,
}

// isSmallOrder reports whether a key is a point of small order. Nobody has the private part of one, and nobody needs it: a
// signature that fits one message in eight can be written down.
func isSmallOrder(p ed25519.PublicKey) bool {
	const sign = 0x80
	point := [ed25519.PublicKeySize]byte(p)
	point[len(point)-1] &^= sign
	return smallOrder[hex.EncodeToString(point[:])]
}
