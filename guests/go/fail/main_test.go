package main

import (
	"errors"
	"testing"
	"time"

	"saf-guests/saf"
)

func TestWordsThatFail(t *testing.T) {
	var retry *saf.RetryError
	for word, after := range map[string]time.Duration{"retry": 1500 * time.Millisecond, "backoff": 0} {
		if _, err := fail(saf.Event{Data: []byte(word)}); !errors.As(err, &retry) || retry.Reason != "not yet" || retry.After != after {
			t.Error(word, err)
		}
	}
	for _, word := range []string{"reject", "nonsense", ""} {
		var reject *saf.RejectError
		if _, err := fail(saf.Event{Data: []byte(word)}); !errors.As(err, &reject) {
			t.Error(word, err)
		}
	}
}
