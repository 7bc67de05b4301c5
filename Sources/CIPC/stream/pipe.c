/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/pipe.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fork_hooks.h"
#include "base/list.h"
#include "stream/frame.h"

struct cipc_pipe {
  int writer;
  cipc_list_t node;
};

// Those that are open, for forked children, under the guard.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_list_t all = CIPC_LIST_EMPTY(all);

// With the guard.
static void end(cipc_pipe_t *pipe) {
  cipc_list_remove(&pipe->node);
  (void)close(pipe->writer);
  pipe->writer = -1;
}

static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }
static void fork_child(void) {
  CIPC_LIST_EACH_REMOVABLE(node, &all) { end(CIPC_LIST_OBJECT(node, cipc_pipe_t, node)); }
  (void)pthread_mutex_unlock(&guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_PIPES, fork_prepare, fork_parent, fork_child)

int cipc_pipe_open(cipc_pipe_t **pipe, int *reader) {
  if (pipe == NULL || reader == NULL) return CIPC_EINVAL;
  cipc_pipe_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;
  int ends[2];
  // Under the guard, so that a fork finds it in the list or not there at all.
  (void)pthread_mutex_lock(&guard);
  int status = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
  if (status == 0) {
    made->writer = ends[1];
    cipc_list_insert_first(&all, &made->node);
  }
  (void)pthread_mutex_unlock(&guard);
  if (status < 0) {
    free(made);
    return status;
  }
  *pipe = made;
  *reader = ends[0];
  return 0;
}

int cipc_pipe_write(cipc_pipe_t *pipe, const void *bytes, size_t size, size_t *written) {
  if (pipe == NULL || written == NULL || (bytes == NULL && size > 0)) return CIPC_EINVAL;
  *written = 0;
  if (pipe->writer < 0) return CIPC_ECLOSED;
  if (size == 0) return 0;
  ssize_t done;
  do {
    struct iovec vector = {(void *)(uintptr_t)bytes, size};
    done = cipc_frame_pipe_write(pipe->writer, &vector, 1);
  } while (done < 0 && errno == EINTR);
  if (done < 0) return errno == EPIPE ? CIPC_EPEERCLOSED : -errno;
  *written = (size_t)done;
  return 0;
}

int cipc_pipe_read(int reader, void *bytes, size_t size, size_t *count) {
  if (count == NULL || (bytes == NULL && size > 0)) return CIPC_EINVAL;
  *count = 0;
  if (size == 0) return 0;
  ssize_t done;
  do {
    struct iovec vector = {bytes, size};
    done = cipc_frame_pipe_read(reader, &vector, 1);
  } while (done < 0 && errno == EINTR);
  if (done < 0) return -errno;
  *count = (size_t)done;
  return 0;
}

int cipc_pipe_available(int reader, size_t *count) {
  if (count == NULL) return CIPC_EINVAL;
  int waiting = 0;
  if (ioctl(reader, FIONREAD, &waiting) < 0) return -errno;
  *count = waiting > 0 ? (size_t)waiting : 0;
  return 0;
}

int cipc_pipe_descriptor(const cipc_pipe_t *pipe) { return pipe->writer; }

void cipc_pipe_close(cipc_pipe_t *pipe) {
  if (pipe == NULL) return;
  (void)pthread_mutex_lock(&guard);
  if (pipe->writer >= 0) end(pipe);
  (void)pthread_mutex_unlock(&guard);
  free(pipe);
}
