/*
 * A calbridge connector in C, from calbridge.h and a JSON library (jansson) alone: reads duty lists.
 *
 * A duty list is a text file per person in a folder, `anna@firm.example.txt`, with one duty per line:
 *
 *     d1 2026-11-24T07:00:00Z 2026-11-24T15:00:00Z Early duty
 *
 * an id, the begin, the end (instants in UTC) and a title. Read this file from its end upwards: first the table, then
 * what its functions do, then the methods.
 *
 * One thread per connection carries out its calls one after the other; `call` only queues them. A connector that waits
 * for a network would answer several at once.
 */
#include "calbridge.h"

#include <jansson.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

enum { INSTANT = 20, MAX_FILE = 10 * 1024 * 1024 }; /* `2026-11-24T07:00:00Z` */

/* A feed that was opened: what is still to be told of it. */
typedef struct feed {
  struct feed *next;
  uint64_t id;
  json_t *changes; /* array */
  size_t told;
  char *cursor;
  bool ended;
} feed;

/* A call that waits for its turn. */
typedef struct job {
  struct job *next;
  uint64_t token;
  char *method;
  json_t *request;
  calbridge_done done;
  void *user;
  bool cancelled;
} job;

/* A connection. */
typedef struct {
  char *folder;
  mtx_t lock; /* of all that follows up to `feeds` */
  cnd_t news;
  job *first, *last;
  uint64_t tokens;
  bool closing;
  thrd_t thread;
  feed *feeds; /* of the connection's thread alone */
  uint64_t feed_ids;
} connection;

static calbridge_host_v1 host;
static atomic_uint finest = CALBRIDGE_INFO;

/* ---- answers ---- */

static calbridge_bytes bytes(const char *text) {
  return (calbridge_bytes){(const uint8_t *)text, text ? strlen(text) : 0};
}

/* Says something in calbridge's log. No titles, names, addresses or secrets. */
static void say(uint32_t level, const char *message) {
  if (level > atomic_load(&finest)) return;
  json_t *record = json_pack("{ss ss}", "target", "duty_list", "message", message);
  char *text = record ? json_dumps(record, JSON_COMPACT) : NULL;
  if (text) host.log(host.ctx, level, bytes(text));
  free(text);
  json_decref(record);
}

/* An error. calbridge reacts to `kind` and `scope` alone; `message` tells the operator what to do. */
static json_t *error(const char *kind, const char *scope, const char *code, const char *message) {
  return json_pack("{ss ss ss ss}", "kind", kind, "scope", scope, "code", code, "message", message);
}

/* What a method came to: an answer, or an error. */
typedef struct {
  json_t *answer, *error;
} result;

static result good(json_t *answer) { return (result){answer, NULL}; }
static result bad(json_t *error) { return (result){NULL, error}; }

/* Answers a call, exactly once, and frees the answer. */
static void finish(calbridge_done done, void *user, result came) {
  static const char out_of_memory[] =
      "{\"kind\":\"transient\",\"scope\":\"connection\",\"code\":\"duty-list.memory\",\"message\":\"out of memory\"}";
  json_t *message = came.error ? came.error : came.answer;
  char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
  bool ok = text && !came.error;
  done(user, ok ? CALBRIDGE_OK : CALBRIDGE_ERR, bytes(text ? text : out_of_memory));
  free(text);
  json_decref(message);
}

/* ---- the file ---- */

/* Reads a person's file into memory that the caller frees. */
static char *read_file(const connection *self, json_t *calendar, json_t **failed) {
  const char *address = json_string_value(json_object_get(calendar, "address"));
  /* An address comes from another system: it must not lead out of the folder. */
  if (!address || *address == '.' || strpbrk(address, "/\\:") ||
      json_is_string(json_object_get(calendar, "calendar"))) {
    *failed = error("not-found", "calendar", "duty-list.address", "no duty list can be named after this calendar");
    return NULL;
  }
  size_t size = strlen(self->folder) + strlen(address) + sizeof "/.txt";
  char *path = malloc(size);
  char *text = malloc(MAX_FILE + 1);
  FILE *file = NULL;
  if (path && text) {
    snprintf(path, size, "%s/%s.txt", self->folder, address);
    file = fopen(path, "rb");
  }
  if (!path || !text) {
    *failed = NULL; /* out of memory, says `finish` */
  } else if (!file && errno == ENOENT) {
    *failed = error("not-found", "calendar", "duty-list.nobody", "the person has no duty list");
  } else if (!file) {
    *failed = error("permission", "calendar", "duty-list.file", "a duty list cannot be opened; look at its rights");
  } else {
    size_t length = fread(text, 1, MAX_FILE + 1, file);
    if (ferror(file)) {
      *failed = error("transient", "calendar", "duty-list.file", "a duty list cannot be read; it is tried again");
    } else if (length > MAX_FILE) {
      *failed = error("protocol", "calendar", "duty-list.size", "a duty list is larger than 10 MiB");
    } else if (memchr(text, 0, length)) {
      *failed = error("protocol", "calendar", "duty-list.text", "a duty list is no text");
    } else {
      text[length] = 0;
      fclose(file);
      free(path);
      /* Pages that were not written to cost nothing, but a small file need not keep them. */
      char *smaller = realloc(text, length + 1);
      return smaller ? smaller : text;
    }
  }
  if (file) fclose(file);
  free(path);
  free(text);
  return NULL;
}

static bool is_instant(const char *text) {
  static const char form[] = "0000-00-00T00:00:00Z";
  for (int at = 0; at < INSTANT; at++)
    if (form[at] == '0' ? text[at] < '0' || text[at] > '9' : text[at] != form[at]) return false;
  return true;
}

static bool wants(json_t *fields, const char *field) {
  size_t index;
  json_t *name;
  json_array_foreach(fields, index, name)
    if (json_is_string(name) && !strcmp(json_string_value(name), field)) return true;
  return false;
}

/*
 * One line as an event, or the reason why it is none. Only what was asked for goes out: the time, free or busy, which
 * is always told, and the title if `title` is set. The id, where the line has one, goes to `id` (free it).
 */
static json_t *event_of(char *line, bool title, char **id, const char **why) {
  char *rest = line + strcspn(line, " ");
  *id = strndup(line, (size_t)(rest - line));
  if (!*id || !**id) {
    *why = "a line begins with a blank";
    return NULL;
  }
  if (strlen(rest) < 2 * (1 + INSTANT) || !is_instant(rest + 1) || rest[1 + INSTANT] != ' ' ||
      !is_instant(rest + 2 + INSTANT) || (rest[2 + 2 * INSTANT] && rest[2 + 2 * INSTANT] != ' ')) {
    *why = "begin and end are not written as 2026-11-24T07:00:00Z";
    return NULL;
  }
  const char *start = rest + 1, *end = rest + 2 + INSTANT;
  if (strncmp(end, start, INSTANT) < 0) {
    *why = "a duty ends before it begins";
    return NULL;
  }
  const char *name = end + INSTANT;
  name += *name == ' ';
  json_t *content = json_pack("{s{ss ss# ss#} ss}", "time", "kind", "timed", "start", start, INSTANT, "end", end,
                              INSTANT, "show_as", "busy");
  if (content && title) json_object_set_new(content, "subject", json_string(name));
  /* What both sides are matched by is the iCalendar UID; it must be the same each time, and no one else's. */
  char uid[300];
  snprintf(uid, sizeof uid, "%.250s@duty-list", *id);
  json_t *event = json_pack("{s{ss} s{ss} so}", "key", "uid", uid, "item", "id", *id, "content", content);
  if (!event) *why = "its text is not UTF-8";
  return event;
}

static json_t *unreadable(const char *why) {
  char message[200];
  snprintf(message, sizeof message, "a line of a duty list cannot be read: %s; mend it in the list", why);
  return error("protocol", "item", "duty-list.line", message);
}

/* ---- methods ---- */

/* What changed: all of it, if the file is another one than last time. */
static result changes_open(connection *self, json_t *request) {
  json_t *failed = NULL;
  const char *cursor = json_string_value(json_object_get(request, "cursor"));
  /* A cursor that is none of ours: calbridge drops it and asks again without. */
  if (cursor && (strlen(cursor) != 18 || strncmp(cursor, "1:", 2) || strspn(cursor + 2, "0123456789abcdef") != 16))
    return bad(error("cursor-expired", "calendar", "duty-list.cursor", "the bookmark was made by another version"));

  json_t *window = json_object_get(request, "window");
  const char *from = json_string_value(json_object_get(window, "start"));
  const char *to = json_string_value(json_object_get(window, "end"));
  if (!from || !to || strlen(from) < INSTANT || strlen(to) < INSTANT)
    return bad(error("protocol", "connection", "duty-list.request", "the request has no window"));

  char *text = read_file(self, json_object_get(request, "calendar"), &failed);
  if (!text) return bad(failed);

  uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
  for (const char *at = text; *at; at++) hash = (hash ^ (uint8_t)*at) * 0x100000001b3u;
  char found[19];
  snprintf(found, sizeof found, "1:%016llx", (unsigned long long)hash);

  /* The same file holds other duties for another window: only what calbridge knows completely may be left out. */
  bool covered = false;
  size_t index;
  json_t *known;
  json_array_foreach(json_object_get(request, "covered"), index, known) {
    const char *start = json_string_value(json_object_get(known, "start"));
    const char *end = json_string_value(json_object_get(known, "end"));
    covered |= start && end && strcmp(start, from) <= 0 && strcmp(end, to) >= 0;
  }
  bool same = cursor && covered && !json_is_true(json_object_get(request, "full")) && !strcmp(cursor, found);

  json_t *changes = json_array();
  bool title = wants(json_object_get(request, "fields"), "subject");
  char *place = NULL;
  for (char *line = same ? NULL : strtok_r(text, "\r\n", &place); line; line = strtok_r(NULL, "\r\n", &place)) {
    char *id = NULL;
    const char *why = NULL;
    json_t *event = event_of(line, title, &id, &why);
    json_t *time = json_object_get(json_object_get(event, "content"), "time");
    if (!event) {
      /* What cannot be read is not gone: calbridge keeps what it knows of it, and the others go on. */
      json_t *change = json_pack("{s{so}}", "unreadable", "error", unreadable(why));
      json_t *item = id && *id ? json_pack("{ss}", "id", id) : NULL;
      char uid[300];
      snprintf(uid, sizeof uid, "%.250s@duty-list", id ? id : "");
      if (item) {
        json_object_set_new(json_object_get(change, "unreadable"), "item", item);
        json_object_set_new(json_object_get(change, "unreadable"), "uid", json_string(uid));
      }
      json_array_append_new(changes, change);
    } else if (strncmp(json_string_value(json_object_get(time, "start")), to, INSTANT - 1) <= 0 &&
               strncmp(json_string_value(json_object_get(time, "end")), from, INSTANT - 1) >= 0) {
      json_array_append_new(changes, json_pack("{so}", "item", event));
    } else {
      json_decref(event);
    }
    free(id);
  }
  free(text);
  /* The promise that these were all: what is known in the window and was not told is gone. */
  if (!same) json_array_append_new(changes, json_pack("{s{sO}}", "snapshot", "covered", window));

  feed *opened = calloc(1, sizeof *opened);
  if (!opened) {
    json_decref(changes);
    return bad(NULL);
  }
  *opened = (feed){self->feeds, ++self->feed_ids, changes, 0, strdup(found), false};
  self->feeds = opened;
  return good(json_pack("{sI}", "feed", (json_int_t)opened->id));
}

static feed **find_feed(connection *self, json_t *request) {
  uint64_t id = (uint64_t)json_integer_value(json_object_get(request, "feed"));
  feed **at = &self->feeds;
  while (*at && (*at)->id != id) at = &(*at)->next;
  return at;
}

static void drop_feed(feed **at) {
  feed *gone = *at;
  *at = gone->next;
  json_decref(gone->changes);
  free(gone->cursor);
  free(gone);
}

/* The next changes, no more than were asked for. The cursor comes with the last of them. */
static result changes_next(connection *self, json_t *request) {
  feed *from = *find_feed(self, request);
  if (!from) return bad(error("protocol", "calendar", "duty-list.feed", "there is no such feed"));
  if (from->ended) return good(json_pack("{sb}", "end", 1));
  json_int_t max = json_integer_value(json_object_get(request, "max"));
  json_t *changes = json_array();
  for (json_int_t count = 0; (count < max || count == 0) && from->told < json_array_size(from->changes); count++)
    json_array_append(changes, json_array_get(from->changes, from->told++));
  json_t *batch = json_pack("{so}", "changes", changes);
  from->ended = from->told == json_array_size(from->changes);
  if (from->ended) json_object_set_new(batch, "checkpoint", json_string(from->cursor));
  return good(json_pack("{so}", "batch", batch));
}

static result changes_close(connection *self, json_t *request) {
  feed **at = find_feed(self, request);
  if (*at) drop_feed(at);
  return good(json_object());
}

/* Single duties: one result for each, in order. */
static result fetch(connection *self, json_t *request) {
  json_t *failed = NULL, *item, *results = json_array();
  size_t index;
  char *text = read_file(self, json_object_get(request, "calendar"), &failed);
  if (!text) {
    json_decref(results);
    return bad(failed);
  }
  json_array_foreach(json_object_get(request, "items"), index, item) {
    const char *wanted = json_string_value(json_object_get(item, "id"));
    json_t *found = NULL;
    char *copy = strdup(text), *place = NULL;
    for (char *line = copy ? strtok_r(copy, "\r\n", &place) : NULL; line && wanted && !found;
         line = strtok_r(NULL, "\r\n", &place)) {
      char *id = NULL;
      const char *why = NULL;
      json_t *event = event_of(line, true, &id, &why);
      if (id && !strcmp(id, wanted))
        found = event ? json_pack("{sO}", "event", event) : json_pack("{so}", "error", unreadable(why));
      json_decref(event);
      free(id);
    }
    free(copy);
    if (!found)
      found = json_pack("{so}", "error", error("not-found", "item", "duty-list.gone", "there is no such duty"));
    json_array_append_new(results, found);
  }
  free(text);
  return good(json_pack("{so}", "results", results));
}

/* Why does it not work? Changes nothing. */
static result check(connection *self, json_t *request) {
  json_t *findings = json_array(), *calendar;
  size_t index;
  json_array_foreach(json_object_get(request, "calendars"), index, calendar) {
    json_t *failed = NULL;
    char *text = read_file(self, calendar, &failed);
    const char *why = failed ? json_string_value(json_object_get(failed, "message")) : "out of memory";
    json_array_append_new(findings,
                          json_pack("{ss ss ss sO}", "name", "calendar", "severity", text ? "passed" : "failed",
                                    "message", text ? "the duty list can be read" : why, "calendar", calendar));
    json_decref(failed);
    free(text);
  }
  return good(json_pack("{so ss}", "findings", findings, "server", "duty lists"));
}

static result carry_out(connection *self, const char *method, json_t *request) {
  static const struct {
    const char *name;
    result (*run)(connection *, json_t *);
  } methods[] = {
      {"check", check},
      {"changes.open", changes_open},
      {"changes.next", changes_next},
      {"changes.close", changes_close},
      {"fetch", fetch},
  };
  for (size_t at = 0; at < sizeof methods / sizeof *methods; at++)
    if (!strcmp(method, methods[at].name)) return methods[at].run(self, request);
  return bad(error("unsupported", "connection", "unsupported", "duty lists cannot do this"));
}

/* ---- the thread of a connection ---- */

static void free_job(job *gone) {
  free(gone->method);
  json_decref(gone->request);
  free(gone);
}

static int work(void *given) {
  connection *self = given;
  mtx_lock(&self->lock);
  for (;;) {
    while (!self->first && !self->closing) cnd_wait(&self->news, &self->lock);
    job *now = self->first;
    if (!now) break; /* closing, and nothing is left */
    self->first = now->next;
    if (!self->first) self->last = NULL;
    bool given_up = now->cancelled || self->closing;
    mtx_unlock(&self->lock);
    finish(now->done, now->user,
           given_up ? bad(error("cancelled", "connection", "cancelled", "given up"))
                    : carry_out(self, now->method, now->request));
    free_job(now);
    mtx_lock(&self->lock);
  }
  mtx_unlock(&self->lock);
  return 0;
}

/* ---- the table ---- */

static const char MANIFEST[] =
    "{\"abi\":1,\"built_with\":\"C\",\"connectors\":[{"
    "\"id\":\"duty-list\",\"version\":\"1.0.0\",\"title\":\"Duty lists: one text file per person, read only\","
    "\"capabilities\":{\"source\":{\"incremental\":true,\"deletions\":false,\"watch\":false,"
    "\"fields\":[\"time\",\"subject\"],\"max_in_flight\":4}},"
    "\"settings\":{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\","
    "\"additionalProperties\":false,\"required\":[\"folder\"],\"properties\":{\"folder\":{\"type\":\"string\","
    "\"description\":\"The folder with the duty lists, one text file per person.\"}}}}]}";

static calbridge_bytes manifest(void) { return bytes(MANIFEST); }

static int32_t init(const calbridge_host_v1 *given) {
  /* A host that is older than the header knows less than it; all up to `max_level` has been there from the first. */
  if (given->size < offsetof(calbridge_host_v1, max_level) + sizeof given->max_level) return 1;
  memset(&host, 0, sizeof host);
  memcpy(&host, given, given->size < sizeof host ? given->size : sizeof host);
  atomic_store(&finest, given->max_level);
  return 0;
}

static void set_level(uint32_t level) { atomic_store(&finest, level); }

static void *open_connection(calbridge_bytes connector, calbridge_bytes config, calbridge_done done, void *user) {
  (void)connector; /* there is one */
  json_t *request = json_loadb((const char *)config.ptr, config.len, JSON_ALLOW_NUL, NULL);
  json_t *settings = json_object_get(request, "settings");
  const char *folder = json_string_value(json_object_get(settings, "folder"));
  connection *self = NULL;
  const char *key;
  json_t *value, *failed = NULL;
  json_object_foreach(settings, key, value)
    if (strcmp(key, "folder")) failed = failed ? failed : error("config", "connection", "config", "there is no such setting; `folder` is the only one");
  if (!failed && !folder) failed = error("config", "connection", "config", "`folder` is missing: the folder with the duty lists");
  if (!failed) self = calloc(1, sizeof *self);
  if (self) {
    bool lock = mtx_init(&self->lock, mtx_plain) == thrd_success;
    bool news = cnd_init(&self->news) == thrd_success;
    self->folder = strdup(folder);
    if (!lock || !news || !self->folder || thrd_create(&self->thread, work, self) != thrd_success) {
      if (lock) mtx_destroy(&self->lock);
      if (news) cnd_destroy(&self->news);
      free(self->folder);
      free(self);
      self = NULL;
    }
  }
  json_decref(request);
  if (self) say(CALBRIDGE_DEBUG, "a connection was opened");
  finish(done, user, self ? good(json_object()) : bad(failed));
  return self;
}

static uint64_t call(void *instance, calbridge_bytes method, calbridge_bytes payload, calbridge_done done, void *user) {
  connection *self = instance;
  json_t *request = json_loadb((const char *)payload.ptr, payload.len, JSON_ALLOW_NUL, NULL);
  if (!self || !request) {
    /* Methods of the library itself: there is nothing to add to the manifest. */
    finish(done, user,
           bad(request ? error("unsupported", "connection", "unsupported", "duty lists cannot do this")
                       : error("protocol", "connection", "duty-list.request", "the request is no JSON")));
    json_decref(request);
    return 0;
  }
  job *waiting = calloc(1, sizeof *waiting);
  char *name = strndup((const char *)method.ptr, method.len);
  if (!waiting || !name) {
    free(waiting);
    free(name);
    json_decref(request);
    finish(done, user, bad(NULL));
    return 0;
  }
  *waiting = (job){.method = name, .request = request, .done = done, .user = user};
  mtx_lock(&self->lock);
  /* Taken before the job is seen: `done` may be called, and the job freed, before this function returns. */
  uint64_t token = waiting->token = ++self->tokens;
  if (self->last) self->last->next = waiting;
  else self->first = waiting;
  self->last = waiting;
  cnd_signal(&self->news);
  mtx_unlock(&self->lock);
  return token;
}

static void cancel(void *instance, uint64_t token) {
  connection *self = instance;
  if (!self) return;
  mtx_lock(&self->lock);
  for (job *at = self->first; at; at = at->next)
    if (at->token == token) at->cancelled = true;
  mtx_unlock(&self->lock);
}

static void close_connection(void *instance) {
  connection *self = instance;
  if (!self) return;
  mtx_lock(&self->lock);
  self->closing = true;
  cnd_signal(&self->news);
  mtx_unlock(&self->lock);
  thrd_join(self->thread, NULL);
  while (self->feeds) drop_feed(&self->feeds);
  mtx_destroy(&self->lock);
  cnd_destroy(&self->news);
  free(self->folder);
  free(self);
}

static const calbridge_plugin_v1_t TABLE = {
    .size = sizeof TABLE,
    .abi_minor = CALBRIDGE_ABI_MINOR,
    .manifest = manifest,
    .init = init,
    .open = open_connection,
    .call = call,
    .cancel = cancel,
    .close = close_connection,
    .set_level = set_level,
};

const calbridge_plugin_v1_t *calbridge_plugin_v1(void) { return &TABLE; }
