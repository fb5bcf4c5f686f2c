// Summarises GitHub webhooks: a raw webhook body on github.<event> becomes a small JSON object on
// github.<event>.<action>.summary (github.<event>.summary when the payload has no action). What is no JSON object, or came on
// another subject, is rejected: it would fail again on every attempt.
package main

import (
	"strings"

	"saf-guests/ordered"
	"saf-guests/saf"
)

// Longest action in a subject, in characters: a sender of repository_dispatch chooses it freely, and subjects end at 255 bytes.
const maxActionCharacters = 64

func init() { saf.Handle(summarise) }

func main() {}

func summarise(event saf.Event) ([]saf.Emission, error) {
	name, ok := strings.CutPrefix(event.Subject, "github.")
	if !ok || strings.Contains(name, ".") {
		return nil, saf.Reject(event.Subject + " is not github.<event>")
	}
	payload, err := ordered.Parse(event.Data)
	if err != nil {
		return nil, unreadable(err)
	}
	summary, action, err := newSummary(name, payload)
	if err != nil {
		return nil, unreadable(err)
	}
	subject := "github." + name + ".summary"
	if action != "" {
		subject = "github." + name + "." + token(action) + ".summary"
	}
	return []saf.Emission{{Subject: subject, Data: summary.JSON(), ContentType: "application/json"}}, nil
}

func unreadable(err error) error {
	return saf.Reject("not a webhook's JSON (its content type must be application/json): " + err.Error())
}

// token is an action as one token of a subject: a dot would make two, and wildcards and white space are refused.
func token(action string) string {
	characters := 0
	return strings.Map(func(r rune) rune {
		switch characters++; {
		case characters > maxActionCharacters:
			return -1
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		default:
			return '-'
		}
	}, action)
}
