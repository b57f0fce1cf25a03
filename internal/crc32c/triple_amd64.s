#include "textflag.h"

// runBytes of crc32c.go; the next three runs begin three of them further on.
#define RUN 4096
#define NEXT (3*RUN)

// STEP hashes 8 bytes of each run. An instruction takes three cycles, and one may begin in each: hence three runs.
#define STEP(at) \
	CRC32Q at(SI), AX \
	CRC32Q at+RUN(SI), BX \
	CRC32Q at+2*RUN(SI), CX

// func triple(state uint32, p *[3 * runBytes]byte) (first, second, third uint32)
TEXT ·triple(SB), NOSPLIT, $0-28
	MOVL state+0(FP), AX
	MOVQ p+8(FP), SI
	XORL BX, BX
	XORL CX, CX
	MOVQ $(RUN/64), DI

line:
	PREFETCHT0 NEXT(SI)
	PREFETCHT0 NEXT+RUN(SI)
	PREFETCHT0 NEXT+2*RUN(SI)
	STEP(0)
	STEP(8)
	STEP(16)
	STEP(24)
	STEP(32)
	STEP(40)
	STEP(48)
	STEP(56)
	ADDQ $64, SI
	DECQ DI
	JNZ  line

	MOVL AX, first+16(FP)
	MOVL BX, second+20(FP)
	MOVL CX, third+24(FP)
	RET
