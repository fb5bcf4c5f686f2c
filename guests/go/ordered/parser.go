package ordered

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// What is nested deeper is refused; the stack is bounded.
const maxDepth = 128

// With more members than this, keys are looked up in a map.
const fewMembers = 16

// parser reads data and appends its normal form to out.
type parser struct {
	data  []byte
	at    int
	depth int
	out   []byte
	// A stack: the members of all objects that are not finished.
	members []member
}

// member is where a member stands in out.
type member struct{ key, keyEnd, value, end int }

func (p *parser) fail(what string) error { return errors.New(what + " at byte " + strconv.Itoa(p.at)) }

// next is the byte that comes, 0 at the end.
func (p *parser) next() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// take moves past c, behind white space, and says whether it was there.
func (p *parser) take(c byte) bool {
	p.space()
	if p.next() != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) value() error {
	p.space()
	switch c := p.next(); c {
	case '{':
		members, err := p.object()
		p.members = p.members[:len(p.members)-len(members)]
		return err
	case '[':
		return p.array()
	case '"':
		return p.text()
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	default:
		if c == '-' || digit(c) {
			return p.number()
		}
		return p.fail("a value was expected")
	}
}

func (p *parser) word(word string) error {
	if len(p.data)-p.at < len(word) || string(p.data[p.at:p.at+len(word)]) != word {
		return p.fail("a value was expected")
	}
	p.at += len(word)
	p.out = append(p.out, word...)
	return nil
}

func (p *parser) array() error {
	if err := p.open('['); err != nil {
		return err
	}
	defer p.close(']')
	if p.take(']') {
		return nil
	}
	for {
		if err := p.value(); err != nil {
			return err
		}
		if p.take(']') {
			return nil
		}
		if !p.take(',') {
			return p.fail("a comma or the end of the list was expected")
		}
		p.out = append(p.out, ',')
	}
}

// object answers the members on top of the stack; the caller takes them off.
func (p *parser) object() ([]member, error) {
	base := len(p.members)
	if err := p.open('{'); err != nil {
		return nil, err
	}
	defer p.close('}')
	if p.take('}') {
		return nil, nil
	}
	var seen map[string]int
	for {
		start := len(p.out)
		if start > 0 && p.out[start-1] != '{' {
			p.out = append(p.out, ',')
		}
		m, err := p.member()
		if err != nil {
			return p.members[base:], err
		}
		if first := p.find(base, &seen, m); first >= 0 {
			p.replace(first, start, m)
		} else {
			p.members = append(p.members, m)
		}
		if p.take('}') {
			return p.members[base:], nil
		}
		if !p.take(',') {
			return p.members[base:], p.fail("a comma or the end of the object was expected")
		}
	}
}

func (p *parser) member() (m member, err error) {
	p.space()
	if p.next() != '"' {
		return m, p.fail("a key was expected")
	}
	m.key = len(p.out)
	if err := p.text(); err != nil {
		return m, err
	}
	m.keyEnd = len(p.out)
	if !p.take(':') {
		return m, p.fail("a colon was expected")
	}
	p.out = append(p.out, ':')
	m.value = len(p.out)
	err = p.value()
	m.end = len(p.out)
	return m, err
}

// find is the index in p.members of an earlier member with the same key, or -1.
func (p *parser) find(base int, seen *map[string]int, m member) int {
	key := p.out[m.key:m.keyEnd]
	earlier := p.members[base:]
	if len(earlier) <= fewMembers {
		for i, e := range earlier {
			if string(p.out[e.key:e.keyEnd]) == string(key) {
				return base + i
			}
		}
		return -1
	}
	if *seen == nil {
		*seen = make(map[string]int, 4*fewMembers)
		for i, e := range earlier {
			(*seen)[string(p.out[e.key:e.keyEnd])] = base + i
		}
	}
	if first, ok := (*seen)[string(key)]; ok {
		return first
	}
	(*seen)[string(key)] = len(p.members)
	return -1
}

// replace puts the value of m, whose text begins at start, in the place of an earlier one.
func (p *parser) replace(first, start int, m member) {
	value := append([]byte(nil), p.out[m.value:m.end]...)
	old := p.members[first]
	rest := append([]byte(nil), p.out[old.end:start]...)
	p.out = append(append(p.out[:old.value], value...), rest...)
	longer := len(value) - (old.end - old.value)
	p.members[first].end += longer
	for i := first + 1; i < len(p.members); i++ {
		later := &p.members[i]
		later.key, later.keyEnd, later.value, later.end = later.key+longer, later.keyEnd+longer, later.value+longer, later.end+longer
	}
}

func (p *parser) open(c byte) error {
	if p.depth++; p.depth >= maxDepth {
		return p.fail("nested too deeply")
	}
	p.at++
	p.out = append(p.out, c)
	return nil
}

func (p *parser) close(c byte) {
	p.depth--
	p.out = append(p.out, c)
}

func (p *parser) text() error {
	p.at++
	p.out = append(p.out, '"')
	for {
		start := p.at
		for p.at < len(p.data) && p.data[p.at] >= ' ' && p.data[p.at] != '"' && p.data[p.at] != '\\' {
			p.at++
		}
		if !utf8.Valid(p.data[start:p.at]) {
			return p.fail("text that is not UTF-8")
		}
		p.out = append(p.out, p.data[start:p.at]...)
		switch p.next() {
		case '"':
			p.at++
			p.out = append(p.out, '"')
			return nil
		case '\\':
			if err := p.escape(); err != nil {
				return err
			}
		default:
			return p.fail("text without an end, or with a control character,")
		}
	}
}

func (p *parser) escape() error {
	p.at++
	c := p.next()
	p.at++
	switch c {
	case '"', '\\', '/':
		p.out = appendRune(p.out, rune(c))
	case 'b', 'f', 'n', 'r', 't':
		p.out = append(p.out, '\\', c)
	case 'u':
		r, ok := p.unit()
		if ok && utf16.IsSurrogate(r) {
			r, ok = p.pair(r)
		}
		if !ok {
			return p.fail("no character is meant by the escape")
		}
		p.out = appendRune(p.out, r)
	default:
		return p.fail("an unknown escape")
	}
	return nil
}

// pair reads the second half of a surrogate pair.
func (p *parser) pair(high rune) (rune, bool) {
	if p.next() != '\\' {
		return 0, false
	}
	p.at++
	if p.next() != 'u' {
		return 0, false
	}
	p.at++
	low, ok := p.unit()
	r := utf16.DecodeRune(high, low)
	return r, ok && r != utf8.RuneError
}

// unit reads four hexadecimal digits.
func (p *parser) unit() (rune, bool) {
	if len(p.data)-p.at < 4 {
		return 0, false
	}
	var r rune
	for _, c := range p.data[p.at : p.at+4] {
		switch {
		case digit(c):
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	p.at += 4
	return r, true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
