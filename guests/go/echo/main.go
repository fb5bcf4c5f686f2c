// Gives each event back: the same data and content type, on echo.<subject>.
package main

import "saf-guests/saf"

func init() { saf.Handle(echo) }

func main() {}

func echo(event saf.Event) ([]saf.Emission, error) {
	return []saf.Emission{{Subject: "echo." + event.Subject, Data: event.Data, ContentType: event.ContentType}}, nil
}
