// Package safjson is JSON for Channels: events into types, values into emissions, and objects whose keys keep their order.
package safjson

import (
	"bytes"
	"encoding/json"

	"saf-guests/saf"
)

// ContentType is what emissions of this package have.
const ContentType = "application/json"

// Decode reads an event's data into a value, as encoding/json does. Data that does not fit is rejected: it would not fit on
// another attempt either.
func Decode(event saf.Event, into any) error {
	if err := json.Unmarshal(event.Data, into); err != nil {
		return saf.Reject("not the JSON expected: " + err.Error())
	}
	return nil
}

// Emission is a value as JSON on a subject. A value that JSON cannot express is rejected.
func Emission(subject string, value any) (saf.Emission, error) {
	data, err := encode(value)
	if err != nil {
		return saf.Emission{}, saf.Reject("no JSON can be made of the answer: " + err.Error())
	}
	return saf.Emission{Subject: subject, Data: data, ContentType: ContentType}, nil
}

// Config has the Channel's config table decoded into a variable before any event; keys that the variable has no place for are
// an error, so that a misspelt one is found when the Channel starts.
func Config(into any) {
	saf.Init(func(config []byte) error {
		decoder := json.NewDecoder(bytes.NewReader(config))
		decoder.DisallowUnknownFields()
		return decoder.Decode(into)
	})
}

// encode leaves <, > and & as they are: nothing here is put into a page.
func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}
