package ordered

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheNormalForm(t *testing.T) {
	for data, expected := range map[string]string{
		`{}`: `{}`,
		" {\"z\": 1,\n \"a\": [null, 1.50, \"é\", {}, []]} ":                                          `{"z":1,"a":[null,1.5,"é",{},[]]}`,
		`{"a": true, "b": false, "a": {"x": [1, 2]}, "c": 3}`:                                         `{"a":{"x":[1,2]},"b":false,"c":3}`,
		`{"o": {"a": "long", "b": 2, "a": 1, "b": 22, "c": 3}}`:                                       `{"o":{"a":1,"b":22,"c":3}}`,
		`{"\u0061": 1, "a": 2}`:                                                                       `{"a":2}`,
		`{"s": "\"\\\/\b\f\n\r\t\u001f\u00e9\ud83d\ude00<&>\u2028"}`:                                  "{\"s\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u001fé😀<&>\u2028\"}",
		`{"n": [0, -1, 18446744073709551615, -9223372036854775808]}`:                                  `{"n":[0,-1,18446744073709551615,-9223372036854775808]}`,
		`{"n": [-0, 1.0, 1e2, 0.1, 100000e-10, 1e15, 1e16, 1.5e-5, 1.5e-6, 1e-6]}`:                    `{"n":[-0.0,1.0,100.0,0.1,0.00001,1000000000000000.0,1e+16,0.000015,1.5e-6,1e-6]}`,
		`{"n": [18446744073709551616, -9223372036854775809, 1.7976931348623157e308, 5e-324, 1e-400]}`: `{"n":[1.8446744073709552e+19,-9.223372036854776e+18,1.7976931348623157e+308,5e-324,0.0]}`,
	} {
		object, err := Parse([]byte(data))
		if err != nil || string(object.JSON()) != expected {
			t.Errorf("%s: %s, %v", data, object.JSON(), err)
		}
	}
}

func TestAnythingElseIsRefused(t *testing.T) {
	for _, data := range []string{
		"", "[]", "1", "null", "{", "{} {}", "hello", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `{"a":01}`, `{"a":1.}`, `{"a":-}`,
		`{"a":.5}`, `{"a":1e}`, `{"a":+1}`, `{"a":1e400}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\ud800"}`, `{"a":"\ud800\u0041"}`,
		"{\"a\":\"\n\"}", "{\"a\":\"\xff\"}", `{"a":"`, `{"a":tru}`, `{"a":[1 2]}`, `{"a":[1,]}`, `{"a":1 "b":2}`,
		`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`,
	} {
		if object, err := Parse([]byte(data)); err == nil {
			t.Errorf("%q became %s", data, object.JSON())
		}
	}
}

func TestMembersAreFoundAndSet(t *testing.T) {
	object, err := Parse([]byte(`{"a": "x\ny", "b": [1, ["]", {"k": ","}], "\",["], "c\"": []}`))
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := Text(object.Get("a")); !ok || text != "x\ny" {
		t.Error(text)
	}
	if count, ok := Count(object.Get("b")); !ok || count != 3 {
		t.Error(count)
	}
	if count, ok := Count(object.Get(`c"`)); !ok || count != 0 {
		t.Error(count)
	}
	if object.Get("d") != nil {
		t.Error("there is no d")
	}
	object.Set("a", []byte("1"))
	object.Set("d", []byte("2"))
	if text := string(object.JSON()); text != `{"a":1,"b":[1,["]",{"k":","}],"\",["],"c\"":[],"d":2}` {
		t.Error(text)
	}
}

// Of many members each is found, and each of those that come again replaces the first.
func TestManyMembers(t *testing.T) {
	var data strings.Builder
	for i := range 300 {
		fmt.Fprintf(&data, `,"k%d":%d`, i%100, i)
	}
	object, err := Parse([]byte("{" + data.String()[1:] + "}"))
	if err != nil || len(object.members) != 100 {
		t.Fatal(len(object.members), err)
	}
	for i := range 100 {
		if value := string(object.Get(fmt.Sprintf("k%d", i))); value != fmt.Sprint(200+i) {
			t.Errorf("k%d is %s", i, value)
		}
	}
}
