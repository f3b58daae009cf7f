package jose

import "math/big"

// rocaPrimes are the odd primes up to 167, by which the moduli of a broken key generator are told (CVE-2017-15361).
var rocaPrimes = [...]int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127,
	131, 137, 139, 149, 151, 157, 163, 167,
}

// isROCA reports whether n looks like a modulus of that generator, whose primes are powers of 65537 modulo a product of
// small primes, and can be factored. Such a modulus is a power of 65537 modulo each of them; any other is with a chance
// of one in 100 million.
func isROCA(n *big.Int) bool {
	residue := new(big.Int)
	for _, p := range rocaPrimes {
		if !isPowerOf(65537%p, residue.Mod(n, big.NewInt(p)).Int64(), p) {
			return false
		}
	}
	return true
}

// isPowerOf reports whether x is a power of base modulo p.
func isPowerOf(base, x, p int64) bool {
	for power, n := int64(1), int64(0); n < p; power, n = power*base%p, n+1 {
		if power == x {
			return true
		}
	}
	return false
}
