// Adds "enriched": true to a JSON object and emits it on enriched.<subject>; the other keys keep their order. Data that is no
// JSON object is rejected: it would fail again on every attempt.
package main

import (
	"saf-guests/ordered"
	"saf-guests/saf"
)

func init() { saf.Handle(enrich) }

func main() {}

func enrich(event saf.Event) ([]saf.Emission, error) {
	object, err := ordered.Parse(event.Data)
	if err != nil {
		return nil, saf.Reject("not a JSON object: " + err.Error())
	}
	object.Set("enriched", []byte("true"))
	return []saf.Emission{{Subject: "enriched." + event.Subject, Data: object.JSON(), ContentType: "application/json"}}, nil
}
