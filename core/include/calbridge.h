/*
 * calbridge.h: the contract between calbridge and a connector library, version 1.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A connector library is a shared library (.so, .dylib, .dll) that exports one function, calbridge_plugin_v1. It gives
 * a static table of functions by which calbridge opens connections, asks them, and closes them. What is asked and
 * answered is JSON in UTF-8; the JSON Schemas of all messages are published beside this header.
 *
 * Rules for both sides
 *
 *  1. Every struct begins with its size as its maker knows it. Members are only appended. Who reads a struct looks at
 *     `size` before it uses a member that was appended. A change of meaning is calbridge_plugin_v2.
 *  2. Bytes are borrowed: they are good until the function returns that they were given to. Each side frees its own
 *     memory and never the other's.
 *  3. JSON: unknown members are ignored, absent ones mean the default, instants are RFC 3339 in UTC. A text from a
 *     fixed list may be newer than its reader.
 *  4. `done` is called exactly once for each `open` and each `call`, from any thread, possibly before they return.
 *  5. No panic, exception or longjmp leaves a function.
 *
 * Rules for the library
 *
 *  6. It owns its threads. It installs no signal handlers, does not call exit, and leaves locale, working directory,
 *     environment and standard streams as they are.
 *  7. It is loaded once and never unloaded.
 *  8. All functions may be called from any thread and at the same time, also for one instance. `init` is called once,
 *     before all others except `manifest`.
 *  9. It keeps nothing between runs: cursors and ids are stored by calbridge.
 * 10. It never logs secrets, and no personal data at information level and above.
 */
#ifndef CALBRIDGE_H
#define CALBRIDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of this contract; also the member `abi` of the manifest. */
#define CALBRIDGE_ABI 1

/* What was appended to version 1 so far. */
#define CALBRIDGE_ABI_MINOR 0

/* Borrowed bytes. `ptr` may be NULL if `len` is 0. */
typedef struct {
  const uint8_t *ptr;
  size_t len;
} calbridge_bytes;

/* How an `open` or a `call` ended. */
enum {
  CALBRIDGE_OK = 0, /* the payload is the answer */
  CALBRIDGE_ERR = 1 /* the payload is an error (schema `error`) */
};

/* Levels of log records. */
enum {
  CALBRIDGE_ERROR = 0,
  CALBRIDGE_WARN = 1,
  CALBRIDGE_INFO = 2,
  CALBRIDGE_DEBUG = 3,
  CALBRIDGE_TRACE = 4
};

/* Takes an answer. `user` is what came with the call. */
typedef void (*calbridge_done)(void *user, int32_t status, calbridge_bytes payload);

/* What calbridge gives a library. */
typedef struct {
  uint32_t size;
  uint32_t abi_minor;
  /* Goes with `log`. */
  void *ctx;
  /* Takes a record for the log (schema `log`) from any thread. Must not be called from within itself. */
  void (*log)(void *ctx, uint32_t level, calbridge_bytes record);
  /* The finest level that is wanted; do not send finer ones. */
  uint32_t max_level;
} calbridge_host_v1;

/* What a library offers. */
typedef struct {
  uint32_t size;
  uint32_t abi_minor;

  /* What the library holds (schema `manifest`). The bytes are static. */
  calbridge_bytes (*manifest)(void);

  /* Called once. Copy *host, of which `size` bytes are there. 0: ready; anything else: the library cannot be used. */
  int32_t (*init)(const calbridge_host_v1 *host);

  /*
   * Opens a connection of the named connector; `config` is schema `open.request`, the answer `open.answer`. Does no
   * network, and so answers soon. Returns the instance, or NULL after an error. An instance is anything but NULL.
   */
  void *(*open)(calbridge_bytes connector, calbridge_bytes config, calbridge_done done, void *user);

  /*
   * Begins a call and returns at once. The schemas are `METHOD.request` and `METHOD.answer`. A method that is not known
   * answers an error of kind `unsupported`. `instance` may be NULL for methods of the library itself (`capabilities`).
   * Returns a token for `cancel`, unique among the calls of the instance that are going on.
   */
  uint64_t (*call)(void *instance, calbridge_bytes method, calbridge_bytes payload, calbridge_done done, void *user);

  /*
   * The answer to a call is no longer wanted. A hint: stop soon, and call `done` all the same, with any status. A token
   * of a call that has ended is ignored.
   */
  void (*cancel)(void *instance, uint64_t token);

  /*
   * Ends a connection. Gives up what is going on, and returns when `done` was called for each call and no thread uses
   * the instance any more. calbridge uses it no more from the beginning of `close` on.
   */
  void (*close)(void *instance);

  /* Changes the finest level that is wanted. May be NULL. */
  void (*set_level)(uint32_t level);
} calbridge_plugin_v1_t;

#if defined(_WIN32)
__declspec(dllexport)
#elif defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const calbridge_plugin_v1_t *calbridge_plugin_v1(void);

#ifdef __cplusplus
}
#endif

#endif /* CALBRIDGE_H */
