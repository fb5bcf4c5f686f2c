// Fails as the event's data says, one word: what a Channel can do wrong, for tests. guests/cases/README.md has the words.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"saf-guests/saf"
)

var seen int

func init() {
	saf.Init(func(config []byte) error {
		var asked struct {
			Init string `json:"init"`
		}
		if err := json.Unmarshal(config, &asked); err != nil {
			return err
		}
		if asked.Init == "fail" {
			return errors.New("the configuration says: fail")
		}
		return nil
	})
	saf.Handle(fail)
}

func main() {}

func fail(event saf.Event) ([]saf.Emission, error) {
	seen++
	switch word := string(event.Data); word {
	case "retry":
		return nil, saf.Retry("not yet", 1500*time.Millisecond)
	case "backoff":
		return nil, saf.Retry("not yet", 0)
	case "reject":
		return nil, saf.Reject("never")
	case "throw":
		panic("an exception")
	case "trap":
		panic("asked to trap")
	case "spin":
		for {
		}
	case "log":
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
		return nil, nil
	case "count":
		return []saf.Emission{{Subject: "fail.count", Data: []byte(strconv.Itoa(seen))}}, nil
	default:
		const known = "retry, backoff, reject, throw, trap, spin, log, count"
		return nil, saf.Reject("unknown word: " + word + ": known are " + known)
	}
}
