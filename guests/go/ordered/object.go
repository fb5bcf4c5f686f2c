// Package ordered reads and writes JSON objects whose keys keep their order, which a map of encoding/json sorts. It is smaller
// and faster than encoding/json because it uses no reflection; what it gives for a member is that member's JSON text.
//
// What it writes is in one normal form, the same as the Channels in other languages write: no white space, text as UTF-8 with
// only what must be escaped escaped, whole numbers as they are, fractions in the fewest digits that mean the same float64. Of a
// key that occurs twice the last value counts, in the first one's place.
package ordered

import (
	"bytes"
	"slices"
)

// Object is a JSON object. The zero value is empty, and ready to be set.
type Object struct{ members []Member }

// Member is a key and its value, both JSON texts in normal form.
type Member struct{ Key, Value []byte }

// Parse reads an object; anything else, or anything after it, is an error that says where. The result does not share memory
// with data.
func Parse(data []byte) (Object, error) {
	// Escapes and white space make data longer than its normal form; a short number with a large exponent may be shorter.
	p := parser{data: data, out: make([]byte, 0, len(data)+len(data)/16)}
	p.space()
	if p.next() != '{' {
		return Object{}, p.fail("an object was expected")
	}
	members, err := p.object()
	if err != nil {
		return Object{}, err
	}
	p.space()
	if p.at < len(data) {
		return Object{}, p.fail("nothing more was expected")
	}
	object := Object{make([]Member, len(members), len(members)+1)}
	for i, m := range members {
		object.members[i] = Member{p.out[m.key:m.keyEnd:m.keyEnd], p.out[m.value:m.end:m.end]}
	}
	return object, nil
}

// Get is the JSON text of a member; nil when there is none.
func (o Object) Get(key string) []byte {
	if i := o.find(AppendText(nil, key)); i >= 0 {
		return o.members[i].Value
	}
	return nil
}

// Set puts a JSON text, which must be one, in the place of a member's value, or behind all others.
func (o *Object) Set(key string, value []byte) {
	name := AppendText(nil, key)
	if i := o.find(name); i >= 0 {
		o.members[i].Value = value
		return
	}
	o.members = append(o.members, Member{name, value})
}

// JSON is the object in normal form.
func (o Object) JSON() []byte {
	size := 2
	for _, m := range o.members {
		size += len(m.Key) + len(m.Value) + 2
	}
	out := append(make([]byte, 0, size), '{')
	for i, m := range o.members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, m.Key...)
		out = append(out, ':')
		out = append(out, m.Value...)
	}
	return append(out, '}')
}

func (o Object) find(name []byte) int {
	return slices.IndexFunc(o.members, func(m Member) bool { return bytes.Equal(m.Key, name) })
}
