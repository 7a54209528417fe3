package crc32c

import "golang.org/x/sys/cpu"

// folds says that this processor has what fold needs; AVX-512 counts only where the system saves its registers.
var folds = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VPCLMULQDQ && cpu.X86.HasSSE42

// fold is the register after the n bytes from p on, state being what it was before them: inverted, a checksum. n is a multiple of 256, above 0.
//
//go:noescape
func fold(state uint32, p *byte, n int) uint32
