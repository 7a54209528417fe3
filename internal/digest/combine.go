package digest

import "math/bits"

// Polynomials in the reflected form: the coefficient of x^0 is the highest bit.
const (
	polyCRC32     = 0xEDB88320
	polyCRC32C    = 0x82F63B78
	polyCRC64NVME = 0x9A6C9329AC4BC9B5
)

// combine is the CRC of a+b from those of a and b and the length of b in bytes. All three CRCs start and end with complemented
// bits, which cancel: crc(a+b) = crc(a) * x^(8 len(b)) + crc(b) modulo the polynomial. O(log lenB) multiplications.
//
// Source: Mark Adler, zlib crc32_combine and https://stackoverflow.com/questions/23122312
func combine(a Algorithm, crcA, crcB, lenB uint64) uint64 {
	switch a {
	case CRC32:
		return uint64(shift32(uint32(crcA), lenB, polyCRC32)) ^ crcB
	case CRC32C:
		return uint64(shift32(uint32(crcA), lenB, polyCRC32C)) ^ crcB
	case CRC64NVME:
		return shift64(crcA, lenB, polyCRC64NVME) ^ crcB
	}
	return 0
}

// shift32 is v * x^(8n) modulo poly.
func shift32(v uint32, n uint64, poly uint32) uint32 {
	sq := uint32(1) << (31 - 8) // x^8
	for ; n != 0; n >>= 1 {
		if n&1 != 0 {
			v = mul32(v, sq, poly)
		}
		sq = mul32(sq, sq, poly)
	}
	return v
}

// mul32 multiplies two reflected polynomials modulo poly.
func mul32(a, b, poly uint32) uint32 {
	var p uint32
	for a != 0 {
		lead := uint(bits.LeadingZeros32(a)) // next set coefficient
		for ; lead > 0; lead-- {
			b = b>>1 ^ poly&-(b&1)
			a <<= 1
		}
		p ^= b
		a &^= 1 << 31
	}
	return p
}

// shift64 is v * x^(8n) modulo poly.
func shift64(v, n, poly uint64) uint64 {
	sq := uint64(1) << (63 - 8) // x^8
	for ; n != 0; n >>= 1 {
		if n&1 != 0 {
			v = mul64(v, sq, poly)
		}
		sq = mul64(sq, sq, poly)
	}
	return v
}

// mul64 multiplies two reflected polynomials modulo poly.
func mul64(a, b, poly uint64) uint64 {
	var p uint64
	for a != 0 {
		lead := uint(bits.LeadingZeros64(a))
		for ; lead > 0; lead-- {
			b = b>>1 ^ poly&-(b&1)
			a <<= 1
		}
		p ^= b
		a &^= 1 << 63
	}
	return p
}
