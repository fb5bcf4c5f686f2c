package main

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"saf-guests/saf"
)

func TestASummaryHasWhatThePayloadHas(t *testing.T) {
	for _, c := range []struct{ subject, payload, expectedSubject, expected string }{
		{"github.ping", `{}`, "github.ping.summary", `{"event":"ping"}`},
		{"github.ping", `{"action": null, "sender": null}`, "github.ping.summary", `{"event":"ping"}`},
		{"github.ping", `{"action": ""}`, "github.ping.summary", `{"event":"ping","action":""}`},
		{
			"github.issues",
			`{"sender": {"login": "c"}, "action": "opened", "repository": {"id": 1, "full_name": "a/b"},
			  "issue": {"state": "open", "number": 7, "title": "It \"breaks\"", "user": {}}}`,
			"github.issues.opened.summary",
			`{"event":"issues","action":"opened","repository":"a/b","sender":"c","number":7,"title":"It \"breaks\"","state":"open"}`,
		},
		{
			"github.push", `{"ref": "refs/heads/main", "commits": [{}, {}], "organization": {"login": "o"}}`,
			"github.push.summary", `{"event":"push","organization":"o","ref":"refs/heads/main","commits":2}`,
		},
		{
			"github.release", `{"action": "published", "release": {"tag_name": "v1"}}`,
			"github.release.published.summary", `{"event":"release","action":"published","tag":"v1"}`,
		},
		{
			"github.repository_dispatch", `{"action": "on demand.*>é"}`,
			"github.repository_dispatch.on-demand----.summary", `{"event":"repository_dispatch","action":"on demand.*>é"}`,
		},
	} {
		emissions, err := summarise(saf.Event{Subject: c.subject, Data: []byte(c.payload)})
		if err != nil || len(emissions) != 1 || emissions[0].Subject != c.expectedSubject || string(emissions[0].Data) != c.expected {
			t.Errorf("%s: %s, %v", c.payload, emissions, err)
		}
	}
}

func TestWhatCanNeverBeSummarisedIsRejected(t *testing.T) {
	for _, c := range [][2]string{
		{"github.push", ""},
		{"github.push", "payload=%7B%7D"},
		{"github.push", "[]"},
		{"github.push", `{"action": 1}`},
		{"github.push", `{"sender": "x"}`},
		{"github.push", `{"commits": {}}`},
		{"github.issues", `{"issue": {"number": 1.5}}`},
		{"github.push", "\xff"},
		{"github.push.summary", "{}"},
		{"gitlab.push", "{}"},
	} {
		var rejected *saf.RejectError
		if emissions, err := summarise(saf.Event{Subject: c[0], Data: []byte(c[1])}); !errors.As(err, &rejected) {
			t.Errorf("%s: %v, %v", c, emissions, err)
		}
	}
}

// Every example payload that GitHub's community collected gives the line that it gives in every language; `cargo xtask test`
// names the file of payloads.
func TestEveryKnownPayloadIsSummarised(t *testing.T) {
	path := os.Getenv("SAF_WEBHOOK_EXAMPLES")
	if path == "" {
		t.Skip("SAF_WEBHOOK_EXAMPLES is not set: run cargo xtask test")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	expected, err := os.ReadFile("../../cases/webhook-examples.txt")
	if err != nil {
		t.Fatal(err)
	}
	var events []struct {
		Name     string
		Examples []json.RawMessage
	}
	if err := json.Unmarshal(text, &events); err != nil {
		t.Fatal(err)
	}
	var summaries strings.Builder
	for _, event := range events {
		for _, payload := range event.Examples {
			emissions, err := summarise(saf.Event{Subject: "github." + event.Name, Data: payload})
			if err != nil || len(emissions) != 1 {
				t.Fatalf("%s: %v, %v", event.Name, emissions, err)
			}
			summaries.WriteString(emissions[0].Subject + " " + string(emissions[0].Data) + "\n")
		}
	}
	lines, wanted := strings.Split(summaries.String(), "\n"), strings.Split(string(expected), "\n")
	if len(lines) != len(wanted) {
		t.Fatalf("%d summaries instead of %d", len(lines), len(wanted))
	}
	for i := range lines {
		if lines[i] != wanted[i] {
			t.Errorf("%d: %s\nis not %s", i+1, lines[i], wanted[i])
		}
	}
}
