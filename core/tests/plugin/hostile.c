/*
 * A connector library that breaks the contract, in the way that it is compiled for (the macros) or that the settings
 * ask for (their text).
 */
#define _POSIX_C_SOURCE 200809L

#include "calbridge.h"

#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <unistd.h>
#endif

#ifdef REPLAY
#include "recorded.h"
#else
#define MANIFEST                                                                                            \
  "{\"abi\":1,\"connectors\":[{\"id\":\"hostile\",\"version\":\"0\",\"title\":\"Hostile\",\"settings\":{}," \
  "\"capabilities\":{\"source\":{\"fields\":[\"time\"]},\"sink\":{\"sharing\":\"shared\","                  \
  "\"external_ids\":{\"by\":\"sink\"},\"fields\":[\"time\"]}}}]}"
#endif

#ifdef MANIFEST_TEXT
#undef MANIFEST
#define MANIFEST MANIFEST_TEXT
#endif

static calbridge_bytes text(const char *text) {
  calbridge_bytes bytes = {(const uint8_t *)text, strlen(text)};
  return bytes;
}

static calbridge_bytes manifest(void) { return text(MANIFEST); }

static int32_t init(const calbridge_host_v1 *host) {
#ifdef REFUSES
  (void)host;
  return 3;
#elif defined(ABORTS_AT_ONCE)
  (void)host;
  abort();
#else
  const char *record = "{\"message\":\"begun\",\"newer\":[1]}";
  host->log(host->ctx, CALBRIDGE_INFO, text(record));
  host->log(host->ctx, 99, text("no JSON at all"));
  return 0;
#endif
}

struct instance {
  char behave[4096];
};

static void *opened(calbridge_bytes connector, calbridge_bytes config, calbridge_done done, void *user) {
  struct instance *instance = calloc(1, sizeof(struct instance));
  size_t most = sizeof(instance->behave) - 1;
  (void)connector;
  memcpy(instance->behave, config.ptr, config.len < most ? config.len : most);
  if (strstr(instance->behave, "open-garbage")) {
    done(user, CALBRIDGE_OK, text("]"));
    return instance;
  }
  if (strstr(instance->behave, "open-nothing")) {
    free(instance);
    done(user, CALBRIDGE_OK, text("{}"));
    return NULL;
  }
  done(user, CALBRIDGE_OK, text("{\"newer\":true}"));
  return instance;
}

static int is(calbridge_bytes method, const char *name) {
  return method.len == strlen(name) && memcmp(method.ptr, name, method.len) == 0;
}

#ifdef REPLAY
static void answer(calbridge_bytes method, calbridge_done done, void *user) {
  static size_t next = 0;
  for (size_t at = 0; at < sizeof(RECORDED) / sizeof(RECORDED[0]); at++) {
    size_t here = (next + at) % (sizeof(RECORDED) / sizeof(RECORDED[0]));
    if (is(method, RECORDED[here].method)) {
      next = here + 1;
      done(user, RECORDED[here].status, text(RECORDED[here].answer));
      return;
    }
  }
  done(user, CALBRIDGE_ERR,
       text("{\"kind\":\"unsupported\",\"scope\":\"connection\",\"code\":\"unsupported\",\"message\":\"no\"}"));
}
#endif

static uint64_t call(void *instance, calbridge_bytes method, calbridge_bytes payload, calbridge_done done,
                     void *user) {
  static char deep[200001];
  const char *behave = instance ? ((struct instance *)instance)->behave : "";
  (void)payload;
#ifdef SEGFAULTS
  *(volatile int *)0 = 1;
#elif defined(ABORTS)
  abort();
#endif
#ifdef REPLAY
  (void)behave;
  (void)deep;
  answer(method, done, user);
#else
  if (is(method, "changes.open")) {
    done(user, CALBRIDGE_OK, text("{\"feed\":1}"));
  } else if (strstr(behave, "not-json")) {
    done(user, CALBRIDGE_OK, text("this is no { JSON"));
  } else if (strstr(behave, "wrong-types")) {
    done(user, CALBRIDGE_OK, text("{\"results\":7,\"outcomes\":{\"id\":1},\"batch\":\"no\",\"probes\":null}"));
  } else if (strstr(behave, "not-utf8")) {
    done(user, CALBRIDGE_OK, text("{\"results\":[{\"error\":{\"message\":\"\xff\xfe\"}}]}"));
  } else if (strstr(behave, "nothing")) {
    calbridge_bytes none = {NULL, 0};
    done(user, CALBRIDGE_OK, none);
  } else if (strstr(behave, "bad-error")) {
    done(user, CALBRIDGE_ERR, text("\"oops\""));
  } else if (strstr(behave, "strange-status")) {
    done(user, -77, text("no JSON either"));
  } else if (strstr(behave, "deep")) {
    memset(deep, '[', sizeof(deep) - 1);
    done(user, CALBRIDGE_OK, text(deep));
  } else if (strstr(behave, "twice")) {
    done(user, CALBRIDGE_OK, text("{\"results\":[{\"error\":{\"kind\":\"not-found\",\"scope\":\"item\","
                                  "\"code\":\"first\",\"message\":\"m\"}}]}"));
    done(user, CALBRIDGE_OK, text("{\"results\":[]}"));
    done((void *)~(size_t)0, CALBRIDGE_OK, text("{}"));
  } else if (strstr(behave, "newer")) {
    done(user, CALBRIDGE_OK, text("{\"results\":[{\"error\":{\"kind\":\"melted\",\"scope\":\"galaxy\",\"code\":\"new\","
                                  "\"message\":\"m\",\"colour\":\"red\"}}],\"outcomes\":[{\"id\":1,\"outcome\":"
                                  "{\"postponed\":{}}}],\"extra\":{}}"));
  } else if (strstr(behave, "never")) {
    return 5;
#ifndef _WIN32
  } else if (strstr(behave, "leave-helper")) {
    if (fork() == 0) {
      sleep(60);
      _exit(0);
    }
    abort();
  } else if (strstr(behave, "block-call")) {
    for (;;) {
      pause();
    }
  } else if (strstr(behave, "read-input")) {
    char byte;
    done(user, read(0, &byte, 1) == 0 ? CALBRIDGE_OK : CALBRIDGE_ERR, text("{\"results\":[]}"));
#endif
  } else {
    done(user, CALBRIDGE_OK, text("{}"));
  }
#endif
  return 5;
}

static void cancel(void *instance, uint64_t token) {
  (void)instance;
  (void)token;
}

static void closed(void *instance) { free(instance); }

#ifndef NO_SYMBOL
const calbridge_plugin_v1_t *calbridge_plugin_v1(void) {
#ifdef NULL_TABLE
  return NULL;
#else
  static calbridge_plugin_v1_t table = {
      sizeof(calbridge_plugin_v1_t), CALBRIDGE_ABI_MINOR, manifest, init, opened, call, cancel, closed, NULL,
  };
#ifdef SIZE
  table.size = SIZE;
#endif
#ifdef LACKS_CANCEL
  table.cancel = NULL;
#endif
  return &table;
#endif
}
#else
void *something_else(void) { return (void *)manifest; }
void *more[] = {(void *)init, (void *)opened, (void *)call, (void *)cancel, (void *)closed};
#endif
