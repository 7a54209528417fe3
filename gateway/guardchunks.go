package gateway

// Limits of the chunked transfer coding, in bytes.
const (
	chunkLineMax    = 4 << 10
	chunkTrailerMax = 8 << 10
)

// chunkScanner follows the chunked transfer coding to find where it ends. Lines end in CRLF, never in a bare LF.
// Source: RFC 9112, section 7.1.
type chunkScanner struct {
	state  chunkState
	remain uint64 // bytes of data left in the chunk
	digits int
	line   int // bytes of the current size line, or of all trailers
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailerStart
	chunkTrailerLine
	chunkTrailerLF
	chunkEndLF
)

// scan takes the next bytes from the wire. It says how many belong to the body, and whether the body ended with them.
func (c *chunkScanner) scan(b []byte) (n int, done bool, err error) {
	for n < len(b) {
		if c.state == chunkData {
			take := min(uint64(len(b)-n), c.remain)
			c.remain -= take
			n += int(take)
			if c.remain == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		done, err = c.step(b[n])
		n++
		if done || err != nil {
			return n, done, err
		}
	}
	return n, false, nil
}

// step takes one byte outside of data.
func (c *chunkScanner) step(b byte) (done bool, err error) {
	switch c.state {
	case chunkSize, chunkExtension, chunkSizeLF:
		return false, c.sizeLine(b)
	case chunkDataCR:
		return false, c.expect(b, '\r', chunkDataLF)
	case chunkDataLF:
		*c = chunkScanner{state: chunkDataLF}
		return false, c.expect(b, '\n', chunkSize)
	}
	return c.trailer(b)
}

func (c *chunkScanner) expect(b, want byte, next chunkState) error {
	if b != want {
		return errChunkFraming
	}
	c.state = next
	return nil
}

func (c *chunkScanner) sizeLine(b byte) error {
	if c.line++; c.line > chunkLineMax {
		return errChunkFraming
	}
	switch {
	case c.state == chunkSizeLF:
		next := chunkData
		if c.remain == 0 {
			next = chunkTrailerStart
			c.line = 0
		}
		return c.expect(b, '\n', next)
	case b == '\r' && c.digits > 0:
		c.state = chunkSizeLF
	case c.state == chunkExtension && (b >= ' ' || b == '\t') && b != 0x7F:
	case c.state == chunkSize && b == ';' && c.digits > 0:
		c.state = chunkExtension
	case c.state == chunkSize && isHexDigit(b) && c.digits < 15:
		c.remain = c.remain<<4 | uint64(hexValue(b))
		c.digits++
	default:
		return errChunkFraming
	}
	return nil
}

func (c *chunkScanner) trailer(b byte) (done bool, err error) {
	if c.line++; c.line > chunkTrailerMax {
		return false, errChunkFraming
	}
	switch c.state {
	case chunkTrailerStart:
		if b == '\r' {
			c.state = chunkEndLF
			return false, nil
		}
		if !tokenChar[b] {
			return false, errChunkFraming
		}
		c.state = chunkTrailerLine
	case chunkTrailerLine:
		if b == '\r' {
			c.state = chunkTrailerLF
		} else if b < ' ' && b != '\t' || b == 0x7F {
			return false, errChunkFraming
		}
	case chunkTrailerLF:
		return false, c.expect(b, '\n', chunkTrailerStart)
	case chunkEndLF:
		return true, c.expect(b, '\n', chunkSize)
	}
	return false, nil
}

func hexValue(b byte) byte {
	switch {
	case b <= '9':
		return b - '0'
	case b <= 'F':
		return b - 'A' + 10
	}
	return b - 'a' + 10
}
