// Package saf is what a Channel in Go is written with: an event comes in, emissions or an error go out.
//
// A Channel is a reactor: its main never runs, so the handler is registered in an init function.
//
//	func init() { saf.Handle(greet) }
//	func main() {}
//
//	func greet(event saf.Event) ([]saf.Emission, error) {
//		return []saf.Emission{{Subject: "greeted", Data: event.Data}}, nil
//	}
//
// Handlers are plain functions, and this package builds everywhere: test them with go test. What speaks to the router is in
// files for wasip1 only. JSON is in the package safjson, so that a Channel without it carries none of encoding/json.
//
// Deliberately absent: publishing (what is returned is stored, all or nothing), and goroutines that outlive a call (nothing
// runs between events).
package saf

import (
	"errors"
	"time"
)

// Header is one name with its value. Names are lower case, and may occur more than once.
type Header struct{ Name, Value string }

// Event is an event as the router stored it. Its strings and Data are the handler's own; they share one piece of memory, so
// a Channel that keeps an ID for long should keep a strings.Clone of it.
type Event struct {
	// ID is unique within its subject for well-behaved senders.
	ID      string
	Subject string
	// Time is when the router stored the event.
	Time time.Time
	// ContentType is the media type of Data, empty when the sender gave none.
	ContentType string
	Headers     []Header
	// Data is the payload, byte for byte as it was posted.
	Data []byte
	// Sequence is the event's place in its stream, the same on every attempt.
	Sequence uint64
	// Attempt is 1 on the first one.
	Attempt uint32
}

// Header is the first value of a header, by its lower-case name; empty when there is none.
func (e Event) Header(name string) string {
	for _, h := range e.Headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// Emission is an event to store in the Channel's own stream.
type Emission struct {
	// Subject must be one of the Channel's emit.subjects.
	Subject string
	Data    []byte
	// ContentType is the media type of Data; empty means none.
	ContentType string
	// Headers are at most 64, and 16 KiB; names that start with nats- or saf- are refused.
	Headers []Header
	// ID is normally empty: the router derives one, so that a repeated attempt stores nothing twice.
	ID string
}

// RetryError is what [Retry] makes; tests look for it with errors.As.
type RetryError struct {
	Reason string
	// After is how long to wait; zero takes the next step of the Channel's backoff.
	After time.Duration
}

// RejectError is what [Reject] makes; tests look for it with errors.As.
type RejectError struct{ Reason string }

func (e *RetryError) Error() string  { return e.Reason }
func (e *RejectError) Error() string { return e.Reason }

// Retry asks for the event again, after a while of whole milliseconds; zero takes the next step of the Channel's backoff. Any error
// that is neither this nor [Reject] does the same with its text as reason.
func Retry(reason string, after time.Duration) error { return &RetryError{reason, after} }

// Reject says that the event can never be handled: it becomes a dead letter now.
func Reject(reason string) error { return &RejectError{reason} }

var (
	handler func(Event) ([]Emission, error)
	inits   []func(config []byte) error
)

var errNoHandler = errors.New("no handler: call saf.Handle in an init function (main does not run)")

// Handle registers what handles events, one at a time. Package variables live from event to event, until the router drops
// the instance.
func Handle(f func(Event) ([]Emission, error)) { handler = f }

// Init registers what reads the Channel's config table, a JSON object ({} without one), before any event. An error refuses
// the configuration: the Channel is faulted, and events wait. Several are called in order.
func Init(f func(config []byte) error) { inits = append(inits, f) }

// start is what the router's call of init does.
func start(config []byte) error {
	if handler == nil {
		return errNoHandler
	}
	for _, f := range inits {
		if err := f(config); err != nil {
			return err
		}
	}
	return nil
}
