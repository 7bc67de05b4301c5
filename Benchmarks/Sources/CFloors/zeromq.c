/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

#include "fail.h"
#include "pairs.h"
#include "records.h"

#if __has_include(<zmq.h>)
#include <zmq.h>

// Opened when it is asked for: a program linked with it starts slower, and so would the floors that
// start this very program.
static struct {
  __typeof__(zmq_ctx_new) *ctx_new;
  __typeof__(zmq_ctx_term) *ctx_term;
  __typeof__(zmq_socket) *socket;
  __typeof__(zmq_close) *close;
  __typeof__(zmq_bind) *bind;
  __typeof__(zmq_connect) *connect;
  __typeof__(zmq_send) *send;
  __typeof__(zmq_recv) *recv;
  __typeof__(zmq_setsockopt) *setsockopt;
} zeromq;

const char *floor_zeromq_missing(void) {
  if (zeromq.recv != NULL) return NULL;
  void *library = dlopen("libzmq.so.5", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return "no libzmq.so.5";
#define FIND(name) *(void **)&zeromq.name = dlsym(library, "zmq_" #name)
  FIND(ctx_new);
  FIND(ctx_term);
  FIND(socket);
  FIND(close);
  FIND(bind);
  FIND(connect);
  FIND(send);
  FIND(setsockopt);
  FIND(recv);
#undef FIND
  return NULL;
}

typedef struct end {
  char address[64];
  void *zeromq, *socket;
  uint64_t number;
} end_t;

/// In each process when it begins, since the threads of a context do not survive a fork.
static void *socket_of(end_t *end, int type) {
  if (end->socket != NULL) return end->socket;
  end->zeromq = zeromq.ctx_new();
  if (end->zeromq == NULL) fail("zmq_ctx_new", errno);
  end->socket = zeromq.socket(end->zeromq, type);
  if (end->socket == NULL) fail("zmq_socket", errno);
  int status = type == ZMQ_PULL ? zeromq.bind(end->socket, end->address)
                                : zeromq.connect(end->socket, end->address);
  if (status < 0) fail(end->address, errno);
  return end->socket;
}

static void push(void *context, size_t count) {
  end_t *end = context;
  void *socket = socket_of(end, ZMQ_PUSH);
  uint64_t record[FLOOR_RECORD_WORDS];
  for (size_t i = 0; i < count; i++) {
    floor_record_write(record, end->number++);
    if (zeromq.send(socket, record, sizeof record, 0) < 0) fail("zmq_send", errno);
  }
}

static void pull(void *context, size_t count) {
  end_t *end = context;
  void *socket = socket_of(end, ZMQ_PULL);
  uint64_t record[FLOOR_RECORD_WORDS];
  for (size_t i = 0; i < count; i++) {
    if (zeromq.recv(socket, record, sizeof record, 0) != (int)sizeof record) {
      fail("zmq_recv", errno);
    }
    floor_record_read(record, end->number++);
  }
}

static void finish(void *context) {
  end_t *end = context;
  if (end->socket != NULL) {
    // Its receiver is gone.
    int never = 0;
    (void)zeromq.setsockopt(end->socket, ZMQ_LINGER, &never, sizeof never);
    (void)zeromq.close(end->socket);
    // Ends its threads: a process with threads cannot be forked.
    (void)zeromq.ctx_term(end->zeromq);
  }
  free(end);
}

floor_pair_t *floor_zeromq_create(int core) {
  end_t *end = calloc(1, sizeof *end);
  if (end == NULL) fail("calloc", errno);
  // In the abstract namespace, where nothing is left behind.
  static unsigned serial;
  (void)snprintf(end->address, sizeof end->address, "ipc://@cipc-bench-%d-%u", (int)getpid(),
                 serial++);
  return floor_pair_create(core, (floor_jobs_t){push, pull, 0, finish}, end);
}
#else
const char *floor_zeromq_missing(void) { return "built without zmq.h, of libzmq3-dev"; }

floor_pair_t *floor_zeromq_create(int core) {
  (void)core;
  fail("ZeroMQ", ENOSYS);
}
#endif
