/* SPDX-License-Identifier: Apache-2.0 */
#include "base/descriptor.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fork_hooks.h"
#include "base/thread.h"

#define THREADS_MAXIMUM 256
// A close that takes longer than this is one that blocks.
#define PATIENCE_NANOSECONDS 5000000

// All under the guard. Those that no thread has taken yet.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static int *dropped;
static size_t count, capacity;
// Threads that there are; of these, the ones that are closing, and the one that looks after them.
static unsigned threads, closing;
static bool is_watched;
// How many closes have ended.
static uint64_t progress;

static void *serve(void *unused);

// With the guard: sees to it that somebody takes what is in the list.
static void see_to_list(void) {
  // One that has just begun looks after the others, too, until it has something to do itself.
  if (count == 0 || is_watched || threads == THREADS_MAXIMUM) return;
  if (cipc_thread_start("cipc-close", serve, NULL) < 0) return;
  threads++;
  is_watched = true;
}

// With the guard, which it releases meanwhile: whether none of those closing got any further.
static bool is_stuck(void) {
  uint64_t seen = progress;
  (void)pthread_mutex_unlock(&guard);
  struct timespec pause = {0, PATIENCE_NANOSECONDS};
  (void)nanosleep(&pause, NULL);
  (void)pthread_mutex_lock(&guard);
  return progress == seen;
}

static void *serve(void *unused) {
  (void)unused;
  (void)pthread_mutex_lock(&guard);
  // It takes something when nobody else does: the others are done, or a close blocks.
  while (count > 0 && closing > 0 && !is_stuck()) {
  }
  is_watched = false;
  while (count > 0) {
    int descriptor = dropped[--count];
    closing++;
    see_to_list();
    (void)pthread_mutex_unlock(&guard);
    (void)close(descriptor);
    (void)pthread_mutex_lock(&guard);
    closing--;
    progress++;
  }
  threads--;
  (void)pthread_mutex_unlock(&guard);
  return NULL;
}

int cipc_descriptor_is_memory(int descriptor) { return fcntl(descriptor, F_GET_SEALS) >= 0; }

// What never blocks: shared memory and pipes.
static bool is_harmless(int descriptor) {
  return cipc_descriptor_is_memory(descriptor) || fcntl(descriptor, F_GETPIPE_SZ) >= 0;
}

void cipc_descriptor_drop(int descriptor) {
  if (descriptor < 0) return;
  if (is_harmless(descriptor)) {
    (void)close(descriptor);
    return;
  }
  (void)pthread_mutex_lock(&guard);
  if (count == capacity) {
    size_t more = capacity == 0 ? 64 : capacity * 2;
    int *grown = realloc(dropped, more * sizeof *grown);
    if (grown != NULL) {
      dropped = grown;
      capacity = more;
    }
  }
  bool has_room = count < capacity;
  if (has_room) dropped[count++] = descriptor;
  see_to_list();
  (void)pthread_mutex_unlock(&guard);
  // Without memory for a number, better late than never.
  if (!has_room) (void)close(descriptor);
}

bool cipc_descriptor_is_dropping(void) {
  (void)pthread_mutex_lock(&guard);
  bool is_dropping = count > 0 || closing > 0;
  (void)pthread_mutex_unlock(&guard);
  return is_dropping;
}

// MARK: Sockets

// Looks into a queue in pieces of this size, all in the same place, as often as this.
#define PIECE 4096
#define PIECES 256

// Whether no descriptors are in the queue. Those that are can be told without taking them: a peek
// that has no room for them says so.
static bool is_free_of_descriptors(int fd) {
  int unread = 0;
  if (ioctl(fd, FIONREAD, &unread) < 0 || unread < 0) return false;
  if (unread == 0) return true;
  if (unread > PIECE * PIECES) return false;
  char piece[PIECE];
  struct iovec vector[PIECES];
  for (size_t i = 0; i < PIECES; i++) vector[i] = (struct iovec){piece, sizeof piece};
  struct msghdr message = {.msg_iov = vector};
  message.msg_iovlen = PIECES;
  ssize_t size = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
  // It stops at the first ones.
  return size >= unread && (message.msg_flags & MSG_CTRUNC) == 0;
}

void cipc_socket_drop(int fd, bool is_alone) {
  // The kernel puts nothing into the queue of a socket that is shut down.
  if (is_alone) (void)shutdown(fd, SHUT_RDWR);
  if (is_free_of_descriptors(fd)) {
    (void)close(fd);
  } else {
    cipc_descriptor_drop(fd);
  }
}

// MARK: Forks

static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }
// The child closes its copies of what is in the list. One that a thread of the parent had taken
// out may stay open here: whether its number is another file's by now cannot be told.
static void fork_child(void) {
  threads = closing = 0;
  is_watched = false;
  see_to_list();
  (void)pthread_mutex_unlock(&guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_DROPS, fork_prepare, fork_parent, fork_child)
