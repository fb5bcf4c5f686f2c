package main

import (
	"errors"
	"strconv"

	"saf-guests/ordered"
)

// newSummary is a flat object, without the fields that the payload does not have, and the action as text. A comment on an
// issue has the number, title, state and address.
func newSummary(event string, payload ordered.Object) (summary ordered.Object, action string, err error) {
	r := reader{}
	summary.Set("event", ordered.AppendText(nil, event))
	set := func(key string, value []byte) {
		if value != nil {
			summary.Set(key, value)
		}
	}
	value := r.text(payload, "action")
	action, _ = ordered.Text(value)
	set("action", value)
	set("repository", r.text(r.object(payload, "repository"), "full_name"))
	set("organization", r.text(r.object(payload, "organization"), "login"))
	set("sender", r.text(r.object(payload, "sender"), "login"))
	var topic topic
	for _, kind := range []string{"pull_request", "discussion", "issue", "milestone"} {
		// Each is read, so that each is checked.
		if found := r.topic(payload, kind); found.present && !topic.present {
			topic = found
		}
	}
	set("number", topic.number)
	set("title", topic.title)
	set("state", topic.state)
	set("url", topic.url)
	set("tag", r.text(r.object(payload, "release"), "tag_name"))
	set("ref", r.text(payload, "ref"))
	set("commits", r.count(payload, "commits"))
	return summary, action, r.err
}

// topic is something with a number that people talk about.
type topic struct {
	present                   bool
	number, title, state, url []byte
}

// reader reads members that may be missing or null, and remembers the first that is something else.
type reader struct{ err error }

func (r *reader) refuse(key, wanted string) {
	if r.err == nil {
		r.err = errors.New(key + " is not " + wanted)
	}
}

// get is nil for a member that is missing or null.
func get(object ordered.Object, key string) []byte {
	if value := object.Get(key); string(value) != "null" {
		return value
	}
	return nil
}

func (r *reader) text(object ordered.Object, key string) []byte {
	value := get(object, key)
	if value != nil && value[0] != '"' {
		r.refuse(key, "text")
	}
	return value
}

func (r *reader) number(object ordered.Object, key string) []byte {
	value := get(object, key)
	if value != nil {
		if _, err := strconv.ParseUint(string(value), 10, 64); err != nil {
			r.refuse(key, "a whole number")
		}
	}
	return value
}

func (r *reader) object(object ordered.Object, key string) (inner ordered.Object) {
	if value := get(object, key); value != nil {
		var err error
		if inner, err = ordered.Parse(value); err != nil {
			r.refuse(key, "an object")
		}
	}
	return inner
}

func (r *reader) topic(object ordered.Object, key string) topic {
	if get(object, key) == nil {
		return topic{}
	}
	inner := r.object(object, key)
	return topic{true, r.number(inner, "number"), r.text(inner, "title"), r.text(inner, "state"), r.text(inner, "html_url")}
}

func (r *reader) count(object ordered.Object, key string) []byte {
	value := get(object, key)
	if value == nil {
		return nil
	}
	count, ok := ordered.Count(value)
	if !ok {
		r.refuse(key, "a list")
	}
	return strconv.AppendInt(nil, int64(count), 10)
}
