// Members may be missing or null: no event has them all. One that is something else makes the payload no webhook.
#include "summary.h"

#include <string.h>

#include "json.h"

typedef struct {
  json_object payload, summary;
  saf_text problem;
} reader;

// Something with a number that people talk about.
typedef struct {
  bool present;
  saf_text number, title, state, url;
} topic;

static void refuse(reader *r, const char *key, saf_text wanted) {
  if (!r->problem.at) r->problem = saf_join(saf_join((saf_text){key, strlen(key)}, SAF(" is not ")), wanted);
}

static saf_text get(const json_object *object, const char *key) {
  saf_text value = json_get(object, key);
  return saf_equal(value, SAF("null")) ? saf_none() : value;
}

static saf_text text(reader *r, const json_object *object, const char *key) {
  saf_text value = get(object, key);
  if (value.at && value.at[0] != '"') refuse(r, key, SAF("text"));
  return value;
}

static saf_text number(reader *r, const json_object *object, const char *key) {
  saf_text value = get(object, key);
  for (size_t i = 0; i < value.size; i++)
    if (value.at[i] < '0' || value.at[i] > '9') refuse(r, key, SAF("a whole number"));
  return value;
}

static saf_text count(reader *r, const json_object *object, const char *key) {
  saf_text value = get(object, key);
  if (!value.at) return value;
  long count = json_count(value);
  if (count < 0) refuse(r, key, SAF("a list"));
  return saf_format("%ld", count);
}

static json_object inner(reader *r, const char *key) {
  json_object object = {0};
  saf_text value = get(&r->payload, key);
  if (value.at && json_parse(value, &object).at) refuse(r, key, SAF("an object"));
  return object;
}

static saf_text text_in(reader *r, const char *key, const char *member) {
  json_object object = inner(r, key);
  return text(r, &object, member);
}

static topic read_topic(reader *r, const char *key) {
  if (!get(&r->payload, key).at) return (topic){0};
  json_object object = inner(r, key);
  return (topic){true, number(r, &object, "number"), text(r, &object, "title"), text(r, &object, "state"),
                 text(r, &object, "html_url")};
}

static void set(reader *r, const char *key, saf_text value) {
  if (value.at) json_set(&r->summary, key, value);
}

// A comment on an issue has the number, title, state and address.
saf_text summarise(saf_text event, saf_text payload, summary *made) {
  reader r = {0};
  saf_text problem = json_parse(payload, &r.payload);
  if (problem.at) return problem;
  set(&r, "event", json_quote(event));
  saf_text action = text(&r, &r.payload, "action");
  set(&r, "action", action);
  set(&r, "repository", text_in(&r, "repository", "full_name"));
  set(&r, "organization", text_in(&r, "organization", "login"));
  set(&r, "sender", text_in(&r, "sender", "login"));
  topic first = {0};
  for (const char **kind = (const char *[]){"pull_request", "discussion", "issue", "milestone", NULL}; *kind; kind++) {
    // Each is read, so that each is checked.
    topic found = read_topic(&r, *kind);
    if (!first.present) first = found;
  }
  set(&r, "number", first.number);
  set(&r, "title", first.title);
  set(&r, "state", first.state);
  set(&r, "url", first.url);
  set(&r, "tag", text_in(&r, "release", "tag_name"));
  set(&r, "ref", text(&r, &r.payload, "ref"));
  set(&r, "commits", count(&r, &r.payload, "commits"));
  *made = (summary){json_unquote(action), json_text(&r.summary)};
  return r.problem;
}
