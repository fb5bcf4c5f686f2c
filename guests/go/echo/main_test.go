package main

import (
	"testing"

	"saf-guests/saf"
)

func TestAnEventComesBack(t *testing.T) {
	emissions, err := echo(saf.Event{Subject: "a.b", Data: []byte("x"), ContentType: "text/plain"})
	if err != nil || len(emissions) != 1 {
		t.Fatal(emissions, err)
	}
	if e := emissions[0]; e.Subject != "echo.a.b" || string(e.Data) != "x" || e.ContentType != "text/plain" {
		t.Fatal(e)
	}
}
