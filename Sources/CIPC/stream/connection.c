/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/connection.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/fork_hooks.h"
#include "base/guard.h"
#include "base/interrupt.h"
#include "base/list.h"
#include "cipc/listener.h"
#include "stream/connection.h"
#include "stream/frame.h"
#include "wait/wait.h"

// A direction of a connection is one to wait for.
_Static_assert(CIPC_CONNECTION_READABLE == CIPC_POLLER_READABLE, "of the stream");
_Static_assert(CIPC_CONNECTION_WRITABLE == CIPC_POLLER_WRITABLE, "of the stream");

// A receiver that had to wait the last time waits first; every so often it looks first all the
// same, since only then can it learn that messages come faster than it takes them.
#define GUESSES 16

// What a pair asks for as the size of its buffers. The kernel doubles it, and cuts it to a limit
// of its own where that is lower. With the default of 208 KiB a message of 1 MiB fills the buffer
// five times, and 12 % of the throughput on one core went into waiting; with this 2 %.
#define BUFFER 425984

// One thread that waits for its turn; on its own stack.
struct turn_waiter {
  cipc_list_t node;
  uint32_t granted;  // what it sleeps on: 1 once it is to look
  bool has_turn;
};

// The right to send, or to receive: passed on in the order of asking.
struct turn {
  bool taken;
  cipc_list_t waiters;  // the first to ask first
};

// One thread that polls; on its own stack. Its eventfd is its own, so that nobody else takes the
// wake-up away.
struct poller {
  cipc_list_t node;
  int wake;  // -1: there was none to be had
};

struct cipc_connection {
  // Set when made, never changed, but for `fd`, which is -1 once closed.
  int fd;
  int kind;
  unsigned flags;
  uint64_t maximum;
  bool is_foreign;  // the descriptor came from another process

  // In the list of all, with its guard.
  cipc_list_t node;

  cipc_guard_t guard;  // for all up to the next comment; never held while waiting
  bool is_alone;       // nobody else holds the description, unless there was a fork
  unsigned made_at;    // `fork_moment` when it was made
  bool closed;         // written under guard, also read without it
  bool freed;
  unsigned users;        // threads inside: the last one out closes and frees
  cipc_list_t pollers;   // of these, the ones that poll
  int wake;              // eventfd that says "closed", or -1 until somebody has to wait
  unsigned wake_fork;    // `cipc_fork_count` when it was made
  int ahead;             // eventfd for those who wait elsewhere, or -1 until one is asked for
  bool is_ahead_raised;  // its level
  unsigned ahead_fork;   // `cipc_fork_count` when it was made
  struct turn sending;
  struct turn receiving;
  uint64_t partial;  // progress of the send in steps that keeps the turn

  // Belongs to who has the receiving turn, and takes `stepping` for each step: a fork takes it,
  // too, and so finds the reader between two of them. Never held while waiting, or with the guard.
  cipc_guard_t stepping;
  cipc_frame_reader_t reader;
  unsigned guess;  // above 0: wait before reading
};

// MARK: The list of all

// For the list alone; taken before the guard of one in it.
static pthread_mutex_t list_guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_list_t all = CIPC_LIST_EMPTY(all);
// Changes with each fork, in parent and child: who else holds what was made before is not known.
static unsigned fork_moment;

// With the list's guard.
static void enlist(cipc_connection_t *connection) {
  connection->made_at = fork_moment;
  cipc_list_insert_first(&all, &connection->node);
}

static cipc_connection_t *object(cipc_list_t *node) {
  return CIPC_LIST_OBJECT(node, cipc_connection_t, node);
}

// MARK: Making and ending

// With the list's guard.
static int make(cipc_connection_t **made, int fd, int kind, unsigned flags, uint64_t maximum) {
  *made = NULL;
  cipc_connection_t *connection = calloc(1, sizeof *connection);
  if (connection == NULL) return CIPC_ENOMEM;
  connection->fd = fd;
  connection->kind = kind;
  connection->flags = flags & (CIPC_CONNECTION_READABLE | CIPC_CONNECTION_WRITABLE);
  connection->maximum = maximum == 0 ? CIPC_FRAME_MAXIMUM : maximum;
  if (connection->maximum > PTRDIFF_MAX) connection->maximum = PTRDIFF_MAX;
  connection->wake = connection->ahead = -1;
  cipc_list_init(&connection->pollers);
  cipc_list_init(&connection->sending.waiters);
  cipc_list_init(&connection->receiving.waiters);
  cipc_frame_reader_init(&connection->reader, connection->maximum,
                         (flags & CIPC_CONNECTION_SHARED) != 0);
  enlist(connection);
  *made = connection;
  return 0;
}

static int make_two(cipc_connection_t **first, unsigned first_flags, cipc_connection_t **second,
                    unsigned second_flags, uint64_t maximum) {
  *first = *second = NULL;
  int fds[2];
  // With the list's guard, so that a fork finds them in the list or not there at all.
  (void)pthread_mutex_lock(&list_guard);
  int status = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0;
  if (status < 0) {
    (void)pthread_mutex_unlock(&list_guard);
    return status;
  }
  for (int i = 0; i < 2; i++) {
    int size = BUFFER;
    (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  }
  // Half-shut, so that a writer finds out that its reader went, and nothing flows backwards.
  if (first_flags == CIPC_CONNECTION_READABLE && shutdown(fds[0], SHUT_WR) < 0) status = -errno;
  if (status == 0) status = make(first, fds[0], CIPC_FRAME_UNIX, first_flags, maximum);
  if (status == 0) status = make(second, fds[1], CIPC_FRAME_UNIX, second_flags, maximum);
  if (status == 0) (*first)->is_alone = (*second)->is_alone = true;
  (void)pthread_mutex_unlock(&list_guard);
  if (status < 0) {
    // The first descriptor is the connection's already if that was made.
    if (*first != NULL) {
      cipc_connection_free(*first);
    } else {
      (void)close(fds[0]);
    }
    (void)close(fds[1]);
    *first = NULL;
  }
  return status;
}

int cipc_connection_pair(cipc_connection_t **first, cipc_connection_t **second, uint64_t maximum) {
  unsigned both = CIPC_CONNECTION_READABLE | CIPC_CONNECTION_WRITABLE;
  return make_two(first, both, second, both, maximum);
}

int cipc_connection_pipe(cipc_connection_t **reader, cipc_connection_t **writer, uint64_t maximum) {
  return make_two(reader, CIPC_CONNECTION_READABLE, writer, CIPC_CONNECTION_WRITABLE, maximum);
}

// Checks a descriptor against the directions wanted, and fills them in where none is given.
static int inspect(int fd, unsigned *flags, int *kind) {
  const unsigned both = CIPC_CONNECTION_READABLE | CIPC_CONNECTION_WRITABLE;
  if (*flags & ~(both | CIPC_CONNECTION_SHARED)) return CIPC_EINVAL;
  *kind = cipc_frame_kind(fd);
  if (*kind < 0) return *kind;
  int mode = fcntl(fd, F_GETFL);
  if (mode < 0) return -errno;
  unsigned possible = both;
  if ((mode & O_ACCMODE) == O_RDONLY) possible = CIPC_CONNECTION_READABLE;
  if ((mode & O_ACCMODE) == O_WRONLY) possible = CIPC_CONNECTION_WRITABLE;
  if (mode & O_PATH) possible = 0;
  if ((*flags & both) == 0) *flags |= possible;
  return (*flags & both & ~possible) || possible == 0 ? CIPC_EBADF : 0;
}

int cipc_connection_adopt(cipc_connection_t **connection, int fd, unsigned flags,
                          uint64_t maximum) {
  *connection = NULL;
  int kind;
  int status = inspect(fd, &flags, &kind);
  if (status < 0) return status;
  int descriptor_flags = fcntl(fd, F_GETFD);
  if (descriptor_flags < 0) return -errno;
  (void)pthread_mutex_lock(&list_guard);
  status = make(connection, fd, kind, flags, maximum);
  (void)pthread_mutex_unlock(&list_guard);
  if (status < 0) return status;
  if (!(descriptor_flags & FD_CLOEXEC)) (void)fcntl(fd, F_SETFD, descriptor_flags | FD_CLOEXEC);
  return 0;
}

void cipc_connection_own(cipc_connection_t *connection) { connection->is_alone = true; }

void cipc_connection_refuse_descriptors(cipc_connection_t *connection, int refuses) {
  cipc_guard_lock(&connection->stepping);
  connection->reader.refuses = refuses != 0;
  cipc_guard_unlock(&connection->stepping);
}

// With the guard: closes the descriptor, without blocking. What a peer may have in store for that
// is left to a thread of the library's.
static void close_descriptor(cipc_connection_t *connection) {
  if (connection->is_foreign) {
    cipc_descriptor_drop(connection->fd);
  } else if (connection->kind == CIPC_FRAME_UNIX) {
    bool has_forked = __atomic_load_n(&fork_moment, __ATOMIC_RELAXED) != connection->made_at;
    cipc_socket_drop(connection->fd, connection->is_alone && !has_forked);
  } else {
    (void)close(connection->fd);
  }
  connection->fd = -1;
}

// With the guard, while nobody is inside.
static void end(cipc_connection_t *connection) {
  if (connection->fd < 0) return;
  close_descriptor(connection);
  if (connection->wake >= 0) (void)close(connection->wake);
  connection->wake = -1;
  cipc_frame_reader_destroy(&connection->reader);
}

// With the list's guard, and nobody else's: frees one that has ended.
static void discard(cipc_connection_t *connection) {
  cipc_list_remove(&connection->node);
  // Not before, so that whoever waits elsewhere is told of the end.
  if (connection->ahead >= 0) (void)close(connection->ahead);
  free(connection);
}

// With the guard, which it releases. The last one out of a closed connection closes the descriptor
// and frees what is to be freed; the connection may be gone afterwards.
static void release(cipc_connection_t *connection) {
  bool last = connection->closed && connection->users == 0;
  bool freed = connection->freed;
  // Under the guard, or somebody could free the connection while its descriptors are closed.
  if (last) end(connection);
  cipc_guard_unlock(&connection->guard);
  if (last && freed) {
    (void)pthread_mutex_lock(&list_guard);
    discard(connection);
    (void)pthread_mutex_unlock(&list_guard);
  }
}

static void raise_wake(int wake) {
  uint64_t one = 1;
  // It can fail only when the counter is full, and then it is readable anyway.
  if (wake >= 0 && write(wake, &one, sizeof one) < 0) return;
}

// With the guard.
static void wake_pollers(cipc_connection_t *connection) {
  CIPC_LIST_EACH(node, &connection->pollers) {
    raise_wake(CIPC_LIST_OBJECT(node, struct poller, node)->wake);
  }
}

// With the guard: makes the eventfd of those who wait elsewhere say whether there is something.
static void level_ahead(cipc_connection_t *connection, bool is_something) {
  if (connection->ahead < 0 || connection->ahead_fork != cipc_fork_count) return;
  if (connection->is_ahead_raised == is_something) return;
  connection->is_ahead_raised = is_something;
  uint64_t drained;
  if (is_something) {
    raise_wake(connection->ahead);
  } else if (read(connection->ahead, &drained, sizeof drained) < 0) {
    // Nothing was in it: then it has the level already.
    return;
  }
}

// With the guard, without which the waiter does not return.
static void grant(struct turn_waiter *waiter) {
  __atomic_store_n(&waiter->granted, 1, __ATOMIC_RELEASE);
  (void)cipc_futex_wake(&waiter->granted, 1);
}

static void wake_turn(struct turn *turn) {
  CIPC_LIST_EACH(node, &turn->waiters) { grant(CIPC_LIST_OBJECT(node, struct turn_waiter, node)); }
}

// With the guard.
static void close_locked(cipc_connection_t *connection) {
  if (connection->closed) return;
  __atomic_store_n(&connection->closed, true, __ATOMIC_RELEASE);
  if (connection->wake_fork == cipc_fork_count) raise_wake(connection->wake);
  wake_pollers(connection);
  level_ahead(connection, true);
  wake_turn(&connection->sending);
  wake_turn(&connection->receiving);
}

void cipc_connection_close(cipc_connection_t *connection) {
  cipc_guard_lock(&connection->guard);
  close_locked(connection);
  release(connection);
}

void cipc_connection_free(cipc_connection_t *connection) {
  if (connection == NULL) return;
  cipc_guard_lock(&connection->guard);
  close_locked(connection);
  connection->freed = true;
  release(connection);
}

unsigned cipc_connection_flags(const cipc_connection_t *connection) { return connection->flags; }

uint64_t cipc_connection_maximum(const cipc_connection_t *connection) {
  return connection->maximum;
}

int cipc_connection_closed(const cipc_connection_t *connection) {
  return __atomic_load_n(&connection->closed, __ATOMIC_ACQUIRE) ? 1 : 0;
}

// MARK: Coming in and going out

// With the guard: waits for the turn. The caller counts as a user already.
static int take_turn(cipc_connection_t *connection, struct turn *turn, cipc_deadline_t deadline) {
  if (!turn->taken) {
    turn->taken = true;
    return 0;
  }
  if (deadline <= CIPC_IMMEDIATELY) return CIPC_EBUSY;
  struct turn_waiter self = {.granted = 0, .has_turn = false};
  cipc_list_insert_last(&turn->waiters, &self.node);
  int status = 0;
  cipc_interrupt_hold_t hold;
  cipc_interrupt_hold(&hold);
  while (status == 0 && !self.has_turn && !connection->closed) {
    cipc_deadline_t end = cipc_interrupt_step(&hold, deadline, deadline);
    cipc_guard_unlock(&connection->guard);
    int waited = cipc_futex_wait_until(&self.granted, 0, end);
    cipc_guard_lock(&connection->guard);
    if (waited != CIPC_ETIMEDOUT || self.has_turn || connection->closed) continue;
    status = end == deadline ? CIPC_ETIMEDOUT : cipc_interrupt_held(&hold);
  }
  cipc_interrupt_let_go(&hold);
  if (connection->closed) status = CIPC_ECLOSED;
  if (!self.has_turn) cipc_list_remove(&self.node);
  return status;
}

// With the guard.
static void pass_turn(struct turn *turn) {
  turn->taken = !cipc_list_is_empty(&turn->waiters);
  if (!turn->taken) return;
  struct turn_waiter *next = CIPC_LIST_OBJECT(turn->waiters.next, struct turn_waiter, node);
  cipc_list_remove(&next->node);
  next->has_turn = true;
  grant(next);
}

// With the guard, which it releases; the connection may be gone afterwards.
static void leave_locked(cipc_connection_t *connection) {
  connection->users--;
  release(connection);
}

// Makes the caller a user that has the turn.
static int enter(cipc_connection_t *connection, struct turn *turn, unsigned direction,
                 cipc_deadline_t deadline) {
  cipc_guard_lock(&connection->guard);
  connection->users++;
  int status = 0;
  if (connection->closed) {
    status = CIPC_ECLOSED;
  } else if (!(connection->flags & direction)) {
    status = direction == CIPC_CONNECTION_READABLE ? CIPC_ENOTREADABLE : CIPC_ENOTWRITABLE;
  } else {
    status = take_turn(connection, turn, deadline);
  }
  if (status < 0) {
    leave_locked(connection);
  } else {
    cipc_guard_unlock(&connection->guard);
  }
  return status;
}

// Whether a send that failed after `sent` bytes leaves a stream that cannot go on. Where the peer
// is gone a socket needs no ending, and what the peer had sent before can still be received.
static bool breaks(const cipc_connection_t *connection, int status, uint64_t sent) {
  return status < 0 && sent > 0 &&
         (status != CIPC_EPEERCLOSED || connection->kind == CIPC_FRAME_PIPE);
}

// Ends the connection: one side or the other no longer knows where a frame begins. Shutting the
// socket down tells it to those who hold the same description as well.
static void break_locked(cipc_connection_t *connection) {
  if (connection->closed) return;
  if (connection->kind != CIPC_FRAME_PIPE) (void)shutdown(connection->fd, SHUT_RDWR);
  close_locked(connection);
}

// The eventfd that tells whoever waits inside of the end, made when it is first needed. -1: there
// is none to be had.
static int wake_descriptor(cipc_connection_t *connection) {
  cipc_guard_lock(&connection->guard);
  if (connection->wake >= 0 && connection->wake_fork != cipc_fork_count) {
    (void)close(connection->wake);
    connection->wake = -1;
  }
  if (connection->wake < 0) {
    connection->wake_fork = cipc_fork_count;
    connection->wake = eventfd(connection->closed ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
  }
  int wake = connection->wake;
  cipc_guard_unlock(&connection->guard);
  return wake;
}

// Waits until `fd` is ready, or `wake` is, or the deadline. 0, CIPC_EAGAIN, CIPC_ETIMEDOUT or
// -errno.
static int wait_either(int fd, short events, int wake, cipc_deadline_t deadline) {
  struct pollfd entries[2] = {{.fd = fd, .events = events}, {.fd = wake, .events = POLLIN}};
  // Without an eventfd (no descriptors left) look up now and then.
  cipc_deadline_t until = wake < 0 ? cipc_clock_slice(deadline) : deadline;
  int count = cipc_interrupt_poll(entries, 2, until);
  if (count < 0) return count;
  if (entries[0].revents != 0) return 0;
  if (count > 0 || deadline == CIPC_NO_DEADLINE || cipc_clock_now() < deadline) return CIPC_EAGAIN;
  return CIPC_ETIMEDOUT;
}

// Waits until the descriptor is ready. With `fd` -1, until closed or the deadline.
// 0, CIPC_ETIMEDOUT, CIPC_ECLOSED, -errno.
static int wait_ready(cipc_connection_t *connection, int fd, short events,
                      cipc_deadline_t deadline) {
  int wake = deadline <= CIPC_IMMEDIATELY ? -1 : wake_descriptor(connection);
  for (;;) {
    int status = wait_either(fd, events, wake, deadline);
    if (cipc_connection_closed(connection)) return CIPC_ECLOSED;
    if (status != CIPC_EAGAIN) return status;
  }
}

// MARK: Sending

// Waits for what a step says, which returned `status`: 0, or why not.
static int wait_for(cipc_connection_t *connection, int status, const cipc_wait_t *wait,
                    cipc_deadline_t deadline) {
  if (status != CIPC_EAGAIN) return status;
  if (deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= deadline) return CIPC_ETIMEDOUT;
  if (wait->kind != CIPC_WAIT_PAUSE) {
    short events = wait->directions & CIPC_POLLER_WRITABLE ? POLLOUT : POLLIN;
    return wait_ready(connection, connection->fd, events, deadline);
  }
  cipc_deadline_t until = cipc_clock_deadline(wait->pause);
  status = wait_ready(connection, -1, 0, until < deadline ? until : deadline);
  return status == CIPC_ETIMEDOUT && until < deadline ? 0 : status;
}

// With the turn: sends until all is out, or the deadline. `keeps`: the caller can go on.
static int send_until(cipc_connection_t *connection, cipc_frame_writer_t *writer, bool keeps,
                      cipc_deadline_t deadline) {
  cipc_wait_t wait = {0};
  bool is_paused = false;
  int status;
  for (;;) {
    status = cipc_frame_writer_step(writer, connection->fd, connection->kind, &wait);
    if (status == 0) break;
    // From the first byte on there is no way back.
    if (!keeps && !is_paused && writer->sent > 0) {
      is_paused = true;
      cipc_interrupt_pause();
    }
    status = wait_for(connection, status, &wait, deadline);
    if (status < 0) break;
  }
  if (is_paused) cipc_interrupt_resume();
  return status;
}

int cipc_connection_send(cipc_connection_t *connection, const void *bytes, size_t length,
                         const int *descriptors, size_t count, cipc_deadline_t deadline) {
  int status = enter(connection, &connection->sending, CIPC_CONNECTION_WRITABLE, deadline);
  if (status < 0) return status;
  cipc_frame_writer_t writer = {.sent = 0};
  status = length > connection->maximum ? CIPC_EFRAMETOOLONG
                                        : cipc_frame_writer_init(&writer, connection->kind, bytes,
                                                                 length, descriptors, count, 0);
  if (status == 0) status = send_until(connection, &writer, false, deadline);
  cipc_guard_lock(&connection->guard);
  if (breaks(connection, status, writer.sent)) break_locked(connection);
  pass_turn(&connection->sending);
  leave_locked(connection);
  return status;
}

// Makes the caller a user that has the turn, or has it still for the send that got so far.
static int enter_again(cipc_connection_t *connection, uint64_t progress, cipc_deadline_t deadline) {
  if (progress == 0) {
    return enter(connection, &connection->sending, CIPC_CONNECTION_WRITABLE, deadline);
  }
  cipc_guard_lock(&connection->guard);
  connection->users++;
  int status = connection->closed                ? CIPC_ECLOSED
               : progress != connection->partial ? CIPC_EINVAL
                                                 : 0;
  if (status < 0) {
    leave_locked(connection);
  } else {
    cipc_guard_unlock(&connection->guard);
  }
  return status;
}

// Leaves a send that can be gone on with: it keeps the turn once something is out.
static void leave_sending(cipc_connection_t *connection, int status, bool more, uint64_t progress) {
  cipc_guard_lock(&connection->guard);
  if (!more && breaks(connection, status, progress)) break_locked(connection);
  connection->partial = more ? progress : 0;
  if (connection->partial == 0) pass_turn(&connection->sending);
  leave_locked(connection);
}

// Goes on with a send that `*progress` bytes are out of, with the turn: with `wait` one step,
/// without until the deadline.
static int send_more(cipc_connection_t *connection, const void *bytes, size_t length,
                     const int *descriptors, size_t count, uint64_t *progress, cipc_wait_t *wait,
                     cipc_deadline_t deadline) {
  int status = enter_again(connection, *progress, deadline);
  if (status < 0) return status;
  cipc_frame_writer_t writer = {.sent = *progress};
  status = length > connection->maximum
               ? CIPC_EFRAMETOOLONG
               : cipc_frame_writer_init(&writer, connection->kind, bytes, length, descriptors,
                                        count, *progress);
  if (status == 0) {
    status = wait != NULL ? cipc_frame_writer_step(&writer, connection->fd, connection->kind, wait)
                          : send_until(connection, &writer, true, deadline);
    *progress = writer.sent;
  }
  bool more =
      wait != NULL ? status == CIPC_EAGAIN : status == CIPC_EINTR || status == CIPC_ETIMEDOUT;
  leave_sending(connection, status, more, *progress);
  return status;
}

int cipc_connection_send_on(cipc_connection_t *connection, const void *bytes, size_t length,
                            const int *descriptors, size_t count, uint64_t *progress,
                            cipc_deadline_t deadline) {
  return send_more(connection, bytes, length, descriptors, count, progress, NULL, deadline);
}

int cipc_connection_send_step(cipc_connection_t *connection, const void *bytes, size_t length,
                              const int *descriptors, size_t count, uint64_t *progress,
                              cipc_wait_t *wait) {
  return send_more(connection, bytes, length, descriptors, count, progress, wait, CIPC_IMMEDIATELY);
}

void cipc_connection_abandon(cipc_connection_t *connection, uint64_t progress) {
  if (progress == 0) return;
  cipc_guard_lock(&connection->guard);
  connection->users++;
  if (!connection->closed && connection->partial == progress) {
    break_locked(connection);
    connection->partial = 0;
    pass_turn(&connection->sending);
  }
  leave_locked(connection);
}

// MARK: Receiving

// With `stepping`, which it releases meanwhile: waits until there is something to read.
static int wait_readable(cipc_connection_t *connection, cipc_deadline_t deadline) {
  cipc_guard_unlock(&connection->stepping);
  int status = wait_ready(connection, connection->fd, POLLIN, deadline);
  cipc_guard_lock(&connection->stepping);
  return status;
}

// With the receiving turn and `stepping`: waits for a header.
static int await_header(cipc_connection_t *connection, uint64_t *length, cipc_deadline_t deadline) {
  cipc_frame_reader_t *reader = &connection->reader;
  bool empty = reader->begin == reader->end && !reader->in_body;
  bool waited = false;
  int status = CIPC_EAGAIN;
  if (connection->guess > 0 && empty && deadline > CIPC_IMMEDIATELY) {
    connection->guess--;
    status = wait_readable(connection, deadline);
    if (status < 0) return status;
  }
  for (;;) {
    status = cipc_frame_reader_header(reader, connection->fd, connection->kind, length);
    if (status != CIPC_EAGAIN) break;
    if (deadline <= CIPC_IMMEDIATELY) return CIPC_ETIMEDOUT;
    waited = true;
    status = wait_readable(connection, deadline);
    if (status < 0) return status;
  }
  if (waited) connection->guess = GUESSES;
  // More than one message at once: they come faster than they are taken.
  if (reader->end - reader->begin > reader->length) connection->guess = 0;
  return status;
}

// With the receiving turn and `stepping`: waits for a body; keeps what arrived if that fails.
static int await_body(cipc_connection_t *connection, uint8_t *destination,
                      cipc_deadline_t deadline) {
  cipc_frame_reader_t *reader = &connection->reader;
  reader->patient = deadline > CIPC_IMMEDIATELY;
  for (;;) {
    int status = cipc_frame_reader_body(reader, connection->fd, connection->kind, destination);
    if (status == CIPC_EAGAIN) {
      status = deadline <= CIPC_IMMEDIATELY ? CIPC_ETIMEDOUT : wait_readable(connection, deadline);
      if (status == 0) continue;
      if (destination != NULL && cipc_frame_reader_park(reader, destination) < 0) {
        return CIPC_ENOMEM;
      }
    }
    return status;
  }
}

static bool is_fatal(int status) {
  switch (status) {
    case CIPC_ETIMEDOUT:
    case CIPC_EINTR:
    case CIPC_EMSGSIZE:
    case CIPC_EPEERCLOSED:
    case CIPC_ECLOSED:
      return false;
    default:
      return status < 0;
  }
}

// Makes the caller a user that has the receiving turn, and `stepping`.
static int enter_receiving(cipc_connection_t *connection, cipc_deadline_t deadline) {
  int status = enter(connection, &connection->receiving, CIPC_CONNECTION_READABLE, deadline);
  if (status == 0) cipc_guard_lock(&connection->stepping);
  return status;
}

static void leave_receiving(cipc_connection_t *connection, int status) {
  // Read with the turn, before it is passed on.
  bool buffered = cipc_frame_reader_buffered(&connection->reader);
  cipc_guard_unlock(&connection->stepping);
  cipc_guard_lock(&connection->guard);
  if (is_fatal(status)) break_locked(connection);
  // Their message is no longer in the socket, where they look.
  if (buffered) wake_pollers(connection);
  pass_turn(&connection->receiving);
  // What was read ahead is the next receiver's, where there is one.
  level_ahead(connection, connection->closed || (buffered && !connection->receiving.taken));
  leave_locked(connection);
}

int cipc_connection_receive_length(cipc_connection_t *connection, size_t *length,
                                   cipc_deadline_t deadline) {
  *length = 0;
  int status = enter_receiving(connection, deadline);
  if (status < 0) return status;
  uint64_t claimed = 0;
  status = await_header(connection, &claimed, deadline);
  if (status == 0 && claimed > CIPC_CONNECTION_DIRECT) {
    status = await_body(connection, NULL, deadline);
  }
  if (status == 0) *length = (size_t)claimed;
  leave_receiving(connection, status);
  return status;
}

int cipc_connection_receive_into(cipc_connection_t *connection, void *buffer, size_t capacity,
                                 size_t *length, int **descriptors, size_t *count,
                                 cipc_deadline_t deadline) {
  *length = 0;
  if (descriptors != NULL) *descriptors = NULL;
  if (count != NULL) *count = 0;
  int status = enter_receiving(connection, deadline);
  if (status < 0) return status;
  uint64_t claimed = 0;
  uint8_t nothing = 0;
  status = await_header(connection, &claimed, deadline);
  if (status == 0) {
    *length = (size_t)claimed;
    status = claimed > capacity
                 ? CIPC_EMSGSIZE
                 : await_body(connection, buffer != NULL ? buffer : &nothing, deadline);
  }
  if (status == 0) status = cipc_frame_reader_take(&connection->reader, descriptors, count);
  leave_receiving(connection, status);
  return status;
}

int cipc_connection_receive(cipc_connection_t *connection, uint8_t **bytes, size_t *length,
                            int **descriptors, size_t *count, cipc_deadline_t deadline) {
  *bytes = NULL;
  *length = 0;
  if (descriptors != NULL) *descriptors = NULL;
  if (count != NULL) *count = 0;
  int status = enter_receiving(connection, deadline);
  if (status < 0) return status;
  cipc_frame_reader_t *reader = &connection->reader;
  uint64_t claimed = 0;
  status = await_header(connection, &claimed, deadline);
  if (status == 0) status = await_body(connection, NULL, deadline);
  if (status == 0) status = cipc_frame_reader_take(reader, descriptors, count);
  if (status == 0) {
    *bytes = reader->parked;
    *length = (size_t)claimed;
    reader->parked = NULL;
    reader->parked_capacity = 0;
  }
  leave_receiving(connection, status);
  return status;
}

int cipc_connection_retry(cipc_connection_t *connection, int status, unsigned direction,
                          cipc_wait_t *wait) {
  if (status != CIPC_ETIMEDOUT) return status;
  cipc_guard_lock(&connection->guard);
  status =
      connection->closed ? CIPC_ECLOSED : cipc_wait_for_descriptor(wait, connection->fd, direction);
  cipc_guard_unlock(&connection->guard);
  return status;
}

int cipc_connection_receive_step(cipc_connection_t *connection, uint8_t **bytes, size_t *length,
                                 int **descriptors, size_t *count, cipc_wait_t *wait) {
  int status =
      cipc_connection_receive(connection, bytes, length, descriptors, count, CIPC_IMMEDIATELY);
  return cipc_connection_retry(connection, status, CIPC_CONNECTION_READABLE, wait);
}

// MARK: Handles, as Python passes them: a byte outside of any frame

// What says that they have arrived.
#define ACKNOWLEDGEMENT 'A'

// With `wait` one step, without until the deadline.
static int send_byte(cipc_connection_t *connection, uint8_t byte, const int *descriptors,
                     size_t count, cipc_wait_t *wait, cipc_deadline_t deadline) {
  if (connection->kind != CIPC_FRAME_UNIX) return CIPC_EOPNOTSUPP;
  int status = enter(connection, &connection->sending, CIPC_CONNECTION_WRITABLE, deadline);
  if (status < 0) return status;
  cipc_wait_t own = {0};
  for (;;) {
    status =
        cipc_frame_write_byte(connection->fd, byte, descriptors, count, wait != NULL ? wait : &own);
    if (status == 0 || wait != NULL) break;
    status = wait_for(connection, status, &own, deadline);
    if (status < 0) break;
  }
  cipc_guard_lock(&connection->guard);
  pass_turn(&connection->sending);
  leave_locked(connection);
  return status;
}

int cipc_connection_send_handles(cipc_connection_t *connection, const int *descriptors,
                                 size_t count, cipc_deadline_t deadline) {
  if (count == 0) return CIPC_EDESCRIPTORCOUNT;
  return send_byte(connection, (uint8_t)(count % 256), descriptors, count, NULL, deadline);
}

int cipc_connection_send_handles_step(cipc_connection_t *connection, const int *descriptors,
                                      size_t count, cipc_wait_t *wait) {
  if (count == 0) return CIPC_EDESCRIPTORCOUNT;
  return send_byte(connection, (uint8_t)(count % 256), descriptors, count, wait, CIPC_IMMEDIATELY);
}

int cipc_connection_acknowledge(cipc_connection_t *connection, cipc_deadline_t deadline) {
  return send_byte(connection, ACKNOWLEDGEMENT, NULL, 0, NULL, deadline);
}

// Receives a byte that has `count` descriptors with it, and is `expected`.
static int receive_byte(cipc_connection_t *connection, uint8_t expected, int *descriptors,
                        size_t count, cipc_deadline_t deadline) {
  if (connection->kind != CIPC_FRAME_UNIX) return CIPC_EOPNOTSUPP;
  int status = enter_receiving(connection, deadline);
  if (status < 0) return status;
  uint8_t byte = 0;
  for (;;) {
    status = cipc_frame_reader_byte(&connection->reader, connection->fd, connection->kind, &byte);
    if (status != CIPC_EAGAIN) break;
    status = deadline <= CIPC_IMMEDIATELY ? CIPC_ETIMEDOUT : wait_readable(connection, deadline);
    if (status < 0) break;
  }
  bool is_inside = status == CIPC_EINVAL;
  int *taken = NULL;
  size_t number = 0;
  if (status == 0) status = cipc_frame_reader_take(&connection->reader, &taken, &number);
  if (status == 0 && (byte != expected || number != count)) {
    for (size_t i = 0; i < number; i++) cipc_descriptor_drop(taken[i]);
    status = CIPC_EHANDLES;
  }
  if (status == 0 && count > 0) memcpy(descriptors, taken, count * sizeof *taken);
  free(taken);
  leave_receiving(connection, is_inside ? CIPC_ETIMEDOUT : status);
  return status;
}

int cipc_connection_receive_handles(cipc_connection_t *connection, int *descriptors, size_t count,
                                    cipc_deadline_t deadline) {
  if (count == 0 || count > 252) return CIPC_EDESCRIPTORCOUNT;
  return receive_byte(connection, (uint8_t)(count % 256), descriptors, count, deadline);
}

int cipc_connection_acknowledged(cipc_connection_t *connection, cipc_deadline_t deadline) {
  return receive_byte(connection, ACKNOWLEDGEMENT, NULL, 0, deadline);
}

// With the guard: CIPC_EAGAIN where it takes waiting to tell.
static int poll_locked(const cipc_connection_t *connection) {
  if (connection->closed) return CIPC_ECLOSED;
  if (!(connection->flags & CIPC_CONNECTION_READABLE)) return CIPC_ENOTREADABLE;
  // While somebody receives, the reader is theirs; they wake us when they leave a message.
  if (connection->receiving.taken) return CIPC_EAGAIN;
  return cipc_frame_reader_buffered(&connection->reader) ? 0 : CIPC_EAGAIN;
}

int cipc_connection_poll(cipc_connection_t *connection, cipc_deadline_t deadline) {
  cipc_guard_lock(&connection->guard);
  int status = poll_locked(connection);
  if (status != CIPC_EAGAIN) {
    cipc_guard_unlock(&connection->guard);
    return status;
  }
  connection->users++;
  struct poller self = {.wake = -1};
  if (deadline > CIPC_IMMEDIATELY) self.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  // In the list before anybody can leave a message: from here on no wake-up is lost.
  cipc_list_insert_first(&connection->pollers, &self.node);
  while (status == CIPC_EAGAIN) {
    cipc_guard_unlock(&connection->guard);
    int waited = wait_either(connection->fd, POLLIN, self.wake, deadline);
    uint64_t drained;
    // Before the next look, so that what comes after it wakes again.
    if (self.wake >= 0 && read(self.wake, &drained, sizeof drained) < 0) drained = 0;
    cipc_guard_lock(&connection->guard);
    status = poll_locked(connection);
    if (status == CIPC_EAGAIN) status = waited;
  }
  cipc_list_remove(&self.node);
  if (self.wake >= 0) (void)close(self.wake);
  leave_locked(connection);
  return status;
}

// MARK: Moving

static int duplicate_descriptor(int fd, int *copy) {
  *copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return *copy < 0 ? -errno : 0;
}

int cipc_connection_descriptor(cipc_connection_t *connection, int *fd) {
  *fd = -1;
  cipc_guard_lock(&connection->guard);
  int status = connection->closed ? CIPC_ECLOSED : duplicate_descriptor(connection->fd, fd);
  connection->is_alone = false;
  cipc_guard_unlock(&connection->guard);
  return status;
}

int cipc_connection_watch(cipc_connection_t *connection, int descriptors[2]) {
  descriptors[0] = descriptors[1] = -1;
  cipc_guard_lock(&connection->guard);
  int status = poll_locked(connection);
  if (status == 0 || status == CIPC_EAGAIN) {
    bool is_something = status == 0;
    status = 0;
    if (connection->ahead >= 0 && connection->ahead_fork != cipc_fork_count) {
      (void)close(connection->ahead);
      connection->ahead = -1;
    }
    if (connection->ahead < 0) {
      connection->ahead = eventfd(is_something ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
      if (connection->ahead < 0) status = -errno;
      connection->is_ahead_raised = is_something;
      connection->ahead_fork = cipc_fork_count;
    }
  }
  if (status == 0) {
    descriptors[0] = connection->fd;
    descriptors[1] = connection->ahead;
  }
  cipc_guard_unlock(&connection->guard);
  return status;
}

int cipc_connection_duplicate(cipc_connection_t *connection, cipc_connection_t **duplicate) {
  *duplicate = NULL;
  (void)pthread_mutex_lock(&list_guard);
  cipc_guard_lock(&connection->guard);
  int status = 0;
  if (connection->closed) {
    status = CIPC_ECLOSED;
  } else if (connection->receiving.taken || connection->partial > 0 ||
             cipc_frame_reader_inside(&connection->reader)) {
    status = CIPC_EBUSY;
  }
  int fd = -1;
  if (status == 0) status = duplicate_descriptor(connection->fd, &fd);
  if (status == 0) {
    status = make(duplicate, fd, connection->kind, connection->flags | CIPC_CONNECTION_SHARED,
                  connection->maximum);
    if (status < 0) (void)close(fd);
  }
  if (status == 0) {
    connection->reader.exact = true;
    connection->is_alone = false;
    (*duplicate)->is_foreign = connection->is_foreign;
  }
  cipc_guard_unlock(&connection->guard);
  (void)pthread_mutex_unlock(&list_guard);
  return status;
}

void cipc_connection_state_dispose(cipc_connection_state_t *state) {
  // Duplicates of ours, which close at once as a rule.
  if (state->is_foreign || state->descriptor < 0 ||
      cipc_frame_kind(state->descriptor) != CIPC_FRAME_UNIX) {
    cipc_descriptor_drop(state->descriptor);
  } else {
    cipc_socket_drop(state->descriptor, false);
  }
  for (size_t i = 0; i < state->descriptor_count; i++) {
    cipc_descriptor_drop(state->descriptors[i]);
  }
  free(state->unread);
  free(state->descriptors);
  free(state->offsets);
  memset(state, 0, sizeof *state);
  state->descriptor = -1;
}

static int copy_reader(const cipc_frame_reader_t *reader, cipc_connection_state_t *state) {
  uint8_t header[CIPC_FRAME_HEADER_SIZE];
  size_t header_size = 0;
  size_t have = reader->in_body ? (size_t)reader->have : 0;
  size_t available = reader->end - reader->begin;
  if (reader->in_body) {
    int size = cipc_frame_encode_header(header, reader->length);
    if (size < 0) return size;
    header_size = (size_t)size;
  }
  size_t total = header_size + have + available;
  if (total > 0) {
    state->unread = malloc(total);
    if (state->unread == NULL) return CIPC_ENOMEM;
    memcpy(state->unread, header, header_size);
    if (have > 0) memcpy(state->unread + header_size, reader->parked, have);
    if (available > 0) {
      memcpy(state->unread + header_size + have, reader->ahead + reader->begin, available);
    }
    state->unread_length = total;
  }
  size_t count = reader->descriptor_count;
  if (count == 0) return 0;
  state->descriptors = malloc(count * sizeof *state->descriptors);
  state->offsets = malloc(count * sizeof *state->offsets);
  if (state->descriptors == NULL || state->offsets == NULL) return CIPC_ENOMEM;
  for (size_t i = 0; i < count; i++) {
    int status = duplicate_descriptor(reader->descriptors[i], &state->descriptors[i]);
    if (status < 0) return status;
    state->descriptor_count++;
    // Counted from the end: a header that was long for its length gets shorter here.
    uint64_t back = reader->received - reader->arrivals[i];
    state->offsets[i] = back <= total ? total - back : 0;
  }
  return 0;
}

int cipc_connection_export(cipc_connection_t *connection, cipc_connection_state_t *state) {
  memset(state, 0, sizeof *state);
  state->descriptor = -1;
  cipc_guard_lock(&connection->guard);
  int status = 0;
  if (connection->closed) {
    status = CIPC_ECLOSED;
  } else if (connection->receiving.taken || connection->sending.taken) {
    status = CIPC_EBUSY;
  }
  if (status == 0) status = duplicate_descriptor(connection->fd, &state->descriptor);
  if (status == 0) status = copy_reader(&connection->reader, state);
  if (status == 0) {
    state->flags = connection->flags | (connection->reader.exact ? CIPC_CONNECTION_SHARED : 0u);
    state->maximum = connection->maximum;
    connection->is_alone = false;
  }
  cipc_guard_unlock(&connection->guard);
  if (status < 0) cipc_connection_state_dispose(state);
  return status;
}

int cipc_connection_import(cipc_connection_t **connection, cipc_connection_state_t *state) {
  *connection = NULL;
  size_t count = state->descriptor_count;
  if (count > CIPC_FRAME_DESCRIPTORS || state->maximum == 0) return CIPC_EINVAL;
  for (size_t i = 0; i < count; i++) {
    if (state->offsets[i] >= state->unread_length) return CIPC_EINVAL;
    if (i > 0 && state->offsets[i] < state->offsets[i - 1]) return CIPC_EINVAL;
  }
  cipc_frame_reader_t reader;
  cipc_frame_reader_init(&reader, state->maximum, false);
  size_t capacity =
      state->unread_length > CIPC_FRAME_AHEAD ? state->unread_length : CIPC_FRAME_AHEAD;
  reader.ahead = malloc(capacity);
  if (reader.ahead == NULL) return CIPC_ENOMEM;
  if (state->unread_length > 0) memcpy(reader.ahead, state->unread, state->unread_length);
  int status = cipc_connection_adopt(connection, state->descriptor, state->flags, state->maximum);
  if (status < 0) {
    free(reader.ahead);
    return status;
  }
  (*connection)->is_foreign = state->is_foreign != 0;
  cipc_frame_reader_t *target = &(*connection)->reader;
  target->ahead = reader.ahead;
  target->ahead_capacity = capacity;
  target->end = state->unread_length;
  target->received = state->unread_length;
  target->descriptors = state->descriptors;
  target->arrivals = state->offsets;
  target->descriptor_count = target->descriptor_capacity = count;
  free(state->unread);
  memset(state, 0, sizeof *state);
  state->descriptor = -1;
  return 0;
}

// MARK: The peer

int cipc_connection_credentials(cipc_connection_t *connection, cipc_credentials_t *credentials) {
  memset(credentials, 0, sizeof *credentials);
  struct ucred found;
  socklen_t size = sizeof found;
  cipc_guard_lock(&connection->guard);
  int status = connection->closed                    ? CIPC_ECLOSED
               : connection->kind != CIPC_FRAME_UNIX ? CIPC_EOPNOTSUPP
                                                     : 0;
  // Without a duplicate: whoever decides by these decides also when there are no descriptors left.
  if (status == 0 && getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &found, &size) < 0) {
    status = -errno;
  }
  cipc_guard_unlock(&connection->guard);
  if (status < 0) return status;
  credentials->process = found.pid;
  credentials->user = found.uid;
  credentials->group = found.gid;
  return 0;
}

int cipc_connection_peer_address(cipc_connection_t *connection, cipc_address_t *address) {
  memset(address, 0, sizeof *address);
  socklen_t size = sizeof address->storage;
  cipc_guard_lock(&connection->guard);
  int status = connection->closed ? CIPC_ECLOSED : 0;
  if (status == 0 &&
      getpeername(connection->fd, (struct sockaddr *)(void *)address->storage.bytes, &size) < 0) {
    status = errno == ENOTSOCK ? CIPC_EOPNOTSUPP : -errno;
  }
  cipc_guard_unlock(&connection->guard);
  if (status < 0) return status;
  address->length = (uint32_t)size;
  return cipc_address_kind(address) == 0 ? CIPC_EOPNOTSUPP : 0;
}

// MARK: Forks

static void fork_prepare(void) {
  (void)pthread_mutex_lock(&list_guard);
  CIPC_LIST_EACH(node, &all) {
    cipc_connection_t *connection = object(node);
    cipc_guard_lock(&connection->stepping);
    cipc_guard_lock(&connection->guard);
  }
}

static void fork_parent(void) {
  CIPC_LIST_EACH(node, &all) {
    cipc_connection_t *connection = object(node);
    cipc_guard_unlock(&connection->guard);
    cipc_guard_unlock(&connection->stepping);
  }
  fork_moment++;
  (void)pthread_mutex_unlock(&list_guard);
}

// In the child, where nobody is inside of it any more.
static void forget_users(cipc_connection_t *connection) {
  CIPC_LIST_EACH(node, &connection->pollers) {
    const struct poller *poller = CIPC_LIST_OBJECT(node, struct poller, node);
    if (poller->wake >= 0) (void)close(poller->wake);
  }
  // What was in the lists lies on stacks of threads that are not here.
  cipc_list_init(&connection->pollers);
  connection->users = 0;
  cipc_list_init(&connection->sending.waiters);
  cipc_list_init(&connection->receiving.waiters);
  // A send in steps has the turn between two of them, too, and may go on in the child.
  connection->sending.taken = connection->partial > 0;
  const cipc_frame_reader_t *reader = &connection->reader;
  bool is_torn =
      connection->receiving.taken && reader->in_body && reader->have > 0 && reader->parked == NULL;
  connection->receiving.taken = false;
  // Part of a message is in the memory of the parent's thread, which goes on receiving it.
  if (is_torn) close_locked(connection);
}

static void fork_child(void) {
  fork_moment++;
  CIPC_LIST_EACH_REMOVABLE(node, &all) {
    cipc_connection_t *connection = object(node);
    forget_users(connection);
    // What the parent's threads were to do as they leave.
    if (connection->closed) end(connection);
    cipc_guard_unlock(&connection->guard);
    cipc_guard_unlock(&connection->stepping);
    if (connection->freed) discard(connection);
  }
  (void)pthread_mutex_unlock(&list_guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_CONNECTIONS, fork_prepare, fork_parent, fork_child)
