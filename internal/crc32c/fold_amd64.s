#include "textflag.h"

// The powers by which the two halves of 16 bytes move 2,048 bits forward: x^2111 and x^2047 modulo the polynomial, bits reversed.
DATA ahead<>+0(SB)/8, $0xe9a5d8be00000000
DATA ahead<>+8(SB)/8, $0x1426a81500000000
GLOBL ahead<>(SB), RODATA|NOPTR, $16

// func fold(state uint32, p *byte, n int) uint32
TEXT ·fold(SB), NOSPLIT, $256-28
	MOVL state+0(FP), AX
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX

	VBROADCASTI32X4 ahead<>(SB), Z8
	VMOVDQU64 0(SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	VMOVD     AX, X4
	VPXORQ    Z4, Z0, Z0

loop:
	ADDQ $256, SI
	SUBQ $256, CX
	JLE  done

	VPCLMULQDQ $0x00, Z8, Z0, Z4
	VPCLMULQDQ $0x00, Z8, Z1, Z5
	VPCLMULQDQ $0x00, Z8, Z2, Z6
	VPCLMULQDQ $0x00, Z8, Z3, Z7
	VPCLMULQDQ $0x11, Z8, Z0, Z0
	VPCLMULQDQ $0x11, Z8, Z1, Z1
	VPCLMULQDQ $0x11, Z8, Z2, Z2
	VPCLMULQDQ $0x11, Z8, Z3, Z3
	VPTERNLOGQ $0x96, 0(SI), Z4, Z0
	VPTERNLOGQ $0x96, 64(SI), Z5, Z1
	VPTERNLOGQ $0x96, 128(SI), Z6, Z2
	VPTERNLOGQ $0x96, 192(SI), Z7, Z3
	JMP  loop

done:
	// The last 256 bytes have the remainder of all; the instruction for CRC-32C takes them from the stack.
	VMOVDQU64 Z0, 0(SP)
	VMOVDQU64 Z1, 64(SP)
	VMOVDQU64 Z2, 128(SP)
	VMOVDQU64 Z3, 192(SP)
	VZEROUPPER
	XORL AX, AX
	XORL CX, CX

last:
	CRC32Q (SP)(CX*8), AX
	INCL   CX
	CMPL   CX, $32
	JLT    last

	MOVL AX, ret+24(FP)
	RET
