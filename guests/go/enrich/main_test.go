package main

import (
	"errors"
	"testing"

	"saf-guests/saf"
)

func TestAnObjectGainsAFieldAndKeepsItsOrder(t *testing.T) {
	for data, expected := range map[string]string{
		`{}`:                                 `{"enriched":true}`,
		` {"z": 1, "a": [null, 1.50, "é"]} `: `{"z":1,"a":[null,1.5,"é"],"enriched":true}`,
		`{"enriched": false, "b": 2}`:        `{"enriched":true,"b":2}`,
	} {
		emissions, err := enrich(saf.Event{Subject: "a", Data: []byte(data)})
		if err != nil || len(emissions) != 1 || string(emissions[0].Data) != expected || emissions[0].Subject != "enriched.a" {
			t.Errorf("%s: %v, %v", data, emissions, err)
		}
	}
}

func TestAnythingElseIsRejected(t *testing.T) {
	for _, data := range []string{"", "[]", "1", "null", "{", "{} {}", "hello"} {
		var rejected *saf.RejectError
		if _, err := enrich(saf.Event{Data: []byte(data)}); !errors.As(err, &rejected) {
			t.Errorf("%q: %v", data, err)
		}
	}
}
