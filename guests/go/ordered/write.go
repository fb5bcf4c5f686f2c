package ordered

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendText appends a text as JSON. What is not UTF-8 becomes U+FFFD.
func AppendText(out []byte, text string) []byte {
	out = append(out, '"')
	for _, r := range text {
		out = appendRune(out, r)
	}
	return append(out, '"')
}

func appendRune(out []byte, r rune) []byte {
	const hexadecimal = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		return append(out, '\\', byte(r))
	case r >= ' ':
		return utf8.AppendRune(out, r)
	case r == '\b':
		return append(out, `\b`...)
	case r == '\f':
		return append(out, `\f`...)
	case r == '\n':
		return append(out, `\n`...)
	case r == '\r':
		return append(out, `\r`...)
	case r == '\t':
		return append(out, `\t`...)
	default:
		return append(out, '\\', 'u', '0', '0', hexadecimal[r>>4], hexadecimal[r&15])
	}
}

// Text is what a JSON text in normal form says; false when it is no text.
func Text(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	// strconv reads Go's escapes, which those of the normal form are.
	text, err := strconv.Unquote(string(value))
	return text, err == nil
}

// Count is how many values a JSON list in normal form has; false when it is no list.
func Count(list []byte) (int, bool) {
	if len(list) < 2 || list[0] != '[' {
		return 0, false
	}
	if len(list) == 2 {
		return 0, true
	}
	count, depth, quoted := 1, 0, false
	for i := 1; i < len(list)-1; i++ {
		switch c := list[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			count++
		}
	}
	return count, true
}

func (p *parser) number() error {
	start := p.at
	if p.next() == '-' {
		p.at++
	}
	whole := p.at
	p.digits()
	if p.at == whole || p.data[whole] == '0' && p.at > whole+1 {
		return p.fail("no number")
	}
	integer := true
	if p.next() == '.' {
		integer = false
		p.at++
		if !p.digits() {
			return p.fail("no number")
		}
	}
	if c := p.next(); c == 'e' || c == 'E' {
		integer = false
		p.at++
		if c := p.next(); c == '+' || c == '-' {
			p.at++
		}
		if !p.digits() {
			return p.fail("no number")
		}
	}
	text := p.data[start:p.at]
	if integer && fits(text) {
		p.out = append(p.out, text...)
		return nil
	}
	number, err := strconv.ParseFloat(string(text), 64)
	if err != nil && math.IsInf(number, 0) {
		return p.fail("a number out of range")
	}
	p.out = appendFloat(p.out, number)
	return nil
}

// digits moves past digits, and says whether there was one.
func (p *parser) digits() bool {
	start := p.at
	for digit(p.next()) {
		p.at++
	}
	return p.at > start
}

// fits says whether a whole number is one of 64 bits; what is not becomes a float64, and so does -0.
func fits(text []byte) bool {
	if text[0] == '-' {
		_, err := strconv.ParseInt(string(text), 10, 64)
		return err == nil && len(text) > 1 && text[1] != '0'
	}
	_, err := strconv.ParseUint(string(text), 10, 64)
	return err == nil
}

// appendFloat writes the fewest digits that mean the same number, always as one with a point or an exponent.
func appendFloat(out []byte, number float64) []byte {
	if number == 0 {
		if math.Signbit(number) {
			out = append(out, '-')
		}
		return append(out, "0.0"...)
	}
	var buffer [32]byte
	text := strconv.AppendFloat(buffer[:0], number, 'e', -1, 64)
	if text[0] == '-' {
		out = append(out, '-')
		text = text[1:]
	}
	mark := bytes.IndexByte(text, 'e')
	exponent, _ := strconv.Atoi(string(text[mark+1:])) // strconv wrote it
	digits := append(text[:1:1], text[min(2, mark):mark]...)
	switch point := exponent + 1; {
	case point > 16 || point < -4:
		out = append(out, digits[0])
		if len(digits) > 1 {
			out = append(append(out, '.'), digits[1:]...)
		}
		out = append(out, 'e')
		if exponent > 0 {
			out = append(out, '+')
		}
		return strconv.AppendInt(out, int64(exponent), 10)
	case point <= 0:
		out = append(out, "0.0000"[:2-point]...)
		return append(out, digits...)
	case point >= len(digits):
		out = append(out, digits...)
		for i := len(digits); i < point; i++ {
			out = append(out, '0')
		}
		return append(out, ".0"...)
	default:
		out = append(out, digits[:point]...)
		return append(append(out, '.'), digits[point:]...)
	}
}
