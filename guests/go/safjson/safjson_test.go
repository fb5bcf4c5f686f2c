package safjson

import (
	"errors"
	"testing"

	"saf-guests/saf"
)

type ride struct {
	Driver int    `json:"driver"`
	Note   string `json:"note,omitempty"`
}

func TestWhatDoesNotFitIsRejected(t *testing.T) {
	var r ride
	if err := Decode(saf.Event{Data: []byte(`{"driver": 7, "other": []}`)}, &r); err != nil || r.Driver != 7 {
		t.Error(r, err)
	}
	var rejected *saf.RejectError
	if err := Decode(saf.Event{Data: []byte(`{"driver": "x"}`)}, &r); !errors.As(err, &rejected) {
		t.Error(err)
	}
	if _, err := Emission("s", make(chan int)); !errors.As(err, &rejected) {
		t.Error(err)
	}
}

func TestAnEmissionIsPlainJSON(t *testing.T) {
	e, err := Emission("rides", ride{7, "<&>"})
	if err != nil || e.Subject != "rides" || string(e.Data) != `{"driver":7,"note":"<&>"}` || e.ContentType != ContentType {
		t.Error(e, string(e.Data), err)
	}
}
