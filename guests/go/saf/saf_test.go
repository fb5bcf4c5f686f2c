package saf

import (
	"errors"
	"testing"
	"time"
)

func TestFailuresCarryWhatWasSaid(t *testing.T) {
	var retry *RetryError
	if err := Retry("later", time.Second); !errors.As(err, &retry) || retry.Reason != "later" || retry.After != time.Second {
		t.Error(err)
	}
	var reject *RejectError
	if err := Reject("never"); !errors.As(err, &reject) || err.Error() != "never" {
		t.Error(err)
	}
}

func TestAChannelStartsWhenItHasAHandlerAndItsConfigurationIsTaken(t *testing.T) {
	defer func() { handler, inits = nil, nil }()
	if err := start(nil); err != errNoHandler {
		t.Error(err)
	}
	Handle(func(Event) ([]Emission, error) { return nil, nil })
	var read []string
	Init(func(config []byte) error { read = append(read, "first:"+string(config)); return nil })
	Init(func([]byte) error { return errors.New("refused") })
	if err := start([]byte("{}")); err == nil || err.Error() != "refused" || len(read) != 1 || read[0] != "first:{}" {
		t.Error(read, err)
	}
}

func TestTheFirstValueOfAHeader(t *testing.T) {
	event := Event{Headers: []Header{{"a", "1"}, {"a", "2"}}}
	if event.Header("a") != "1" || event.Header("b") != "" {
		t.Error(event)
	}
}
