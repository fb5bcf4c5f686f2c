// Greets whoever an event names.
package main

import (
	"encoding/json"

	"channels/{{name}}/saf"
)

func init() { saf.Handle(greet) } // main never runs: a Channel is a reactor

func main() {}

type person struct {
	Name string `json:"name"`
}

type greeting struct {
	Greeting string `json:"greeting"`
}

func greet(event saf.Event) ([]saf.Emission, error) {
	var who person
	if err := json.Unmarshal(event.Data, &who); err != nil {
		return nil, saf.Reject("not a person: " + err.Error())
	}
	data, err := json.Marshal(greeting{"hello, " + who.Name})
	if err != nil {
		return nil, err
	}
	return []saf.Emission{{Subject: event.Subject + ".done", Data: data, ContentType: "application/json"}}, nil
}
