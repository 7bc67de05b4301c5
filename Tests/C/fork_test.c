/* SPDX-License-Identifier: Apache-2.0 */
// Forks at any moment while another thread is in a call of the library. The child then uses, closes
// and frees what the thread was using, and something of the same kind that it makes itself. FORKS
// says how often for each kind of call; a child that hangs is killed by SIGALRM after ten seconds.
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/descriptor.h"
#include "child.h"
#include "cipc.h"

#define FORKS 200

static int forks_wanted(void) {
  const char *wanted = getenv("FORKS");
  return wanted != NULL ? atoi(wanted) : FORKS;
}

static bool is_over;
static bool goes_on(void) { return !__atomic_load_n(&is_over, __ATOMIC_ACQUIRE); }

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

/// A different one each time, up to 100 microseconds.
static void pause_at_random(void) {
  static uint64_t state = 0x9e3779b97f4a7c15;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  cipc_deadline_t until = cipc_clock_deadline((int64_t)(state % 100000));
  while (cipc_clock_now() < until) {
  }
}

/// Forks again and again while the threads run; returns once they have ended.
static void fork_during(void *(*run)(void *), int thread_count, void (*in_child)(void)) {
  pthread_t threads[4];
  is_over = false;
  // The alarm of the whole test is for a single run of it.
  (void)alarm(0);
  for (int i = 0; i < thread_count; i++) {
    CHECK(pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i) == 0);
  }
  int wanted = forks_wanted();
  for (int i = 0; i < wanted; i++) {
    pause_at_random();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      (void)alarm(10);
      in_child();
      _exit(0);
    }
    CHECK_EQUAL(child_join(child), 0);
  }
  __atomic_store_n(&is_over, true, __ATOMIC_RELEASE);
  (void)alarm(CHECK_TEST_SECONDS);
  for (int i = 0; i < thread_count; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

// MARK: Connections

static cipc_connection_t *left, *right;
static int left_fd, right_fd;

static int descriptor_of(cipc_connection_t *connection) {
  int watch[2];
  CHECK_EQUAL(cipc_connection_watch(connection, watch), 0);
  return watch[0];
}

static void make_pair(void) {
  CHECK_EQUAL(cipc_connection_pair(&left, &right, 0), 0);
  left_fd = descriptor_of(left);
  right_fd = descriptor_of(right);
}

static void free_pair(void) {
  cipc_connection_free(left);
  cipc_connection_free(right);
}

static void a_new_pair_works(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  CHECK_EQUAL(cipc_connection_send(a, "hello", 5, NULL, 0, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_connection_poll(b, CIPC_NO_DEADLINE), 0);
  uint8_t *bytes;
  size_t length;
  CHECK_EQUAL(cipc_connection_receive(b, &bytes, &length, NULL, NULL, CIPC_NO_DEADLINE), 0);
  CHECK(length == 5 && memcmp(bytes, "hello", 5) == 0);
  free(bytes);
  CHECK_EQUAL(cipc_connection_receive(b, &bytes, &length, NULL, NULL, cipc_clock_deadline(1)),
              CIPC_ETIMEDOUT);
  cipc_connection_free(a);
  cipc_connection_free(b);
}

static void drop_pair(void) {
  free_pair();
  // In the child no thread is inside, so both are closed.
  while (cipc_descriptor_is_dropping()) (void)sched_yield();
  CHECK(!is_open(left_fd) && !is_open(right_fd));
  a_new_pair_works();
}

static size_t message_size;
static uint8_t message[300000];

/// Even ones send, odd ones receive; the last one polls.
static void *converse(void *number) {
  static uint8_t buffer[sizeof message];
  switch ((intptr_t)number) {
    case 0:
      while (goes_on()) {
        CHECK_EQUAL(cipc_connection_send(left, message, message_size, NULL, 0, CIPC_NO_DEADLINE),
                    0);
      }
      cipc_connection_close(left);
      return NULL;
    case 1:
      for (;;) {
        size_t length;
        int status = cipc_connection_receive_into(right, buffer, sizeof buffer, &length, NULL, NULL,
                                                  CIPC_NO_DEADLINE);
        if (status == CIPC_EPEERCLOSED) return NULL;
        CHECK_EQUAL(status, 0);
      }
    default:
      while (goes_on()) {
        int status = cipc_connection_poll(right, cipc_clock_deadline(10000));
        CHECK(status == 0 || status == CIPC_ETIMEDOUT || status == CIPC_EPEERCLOSED);
      }
      return NULL;
  }
}

static void connections_with_short_messages(void) {
  message_size = 20;
  make_pair();
  fork_during(converse, 3, drop_pair);
  free_pair();
}

static void connections_with_long_messages(void) {
  message_size = sizeof message;
  make_pair();
  fork_during(converse, 2, drop_pair);
  free_pair();
}

/// Messages that are collected in memory of the library, with descriptors.
static void *converse_with_descriptors(void *number) {
  int null[2] = {0, 0};
  if (number == NULL) {
    while (goes_on()) {
      CHECK_EQUAL(cipc_connection_send(left, message, 150000, null, 2, CIPC_NO_DEADLINE), 0);
    }
    cipc_connection_close(left);
    return NULL;
  }
  for (;;) {
    uint8_t *bytes;
    size_t length;
    int status = cipc_connection_receive(right, &bytes, &length, NULL, NULL, CIPC_NO_DEADLINE);
    if (status == CIPC_EPEERCLOSED) return NULL;
    CHECK_EQUAL(status, 0);
    free(bytes);
  }
}

static void connections_with_descriptors(void) {
  make_pair();
  fork_during(converse_with_descriptors, 2, drop_pair);
  free_pair();
}

/// A thread that waits all the time, so that every fork finds it inside.
static void *wait_for_message(void *unused) {
  (void)unused;
  uint8_t *bytes;
  size_t length;
  CHECK_EQUAL(cipc_connection_receive(right, &bytes, &length, NULL, NULL, CIPC_NO_DEADLINE), 0);
  free(bytes);
  return NULL;
}

static void *send_at_the_end(void *number) {
  if (number != NULL) return wait_for_message(NULL);
  while (goes_on()) (void)sched_yield();
  CHECK_EQUAL(cipc_connection_send(left, "x", 1, NULL, 0, 0), 0);
  return NULL;
}

static void drop_or_use_pair(void) {
  static int times;
  // The child may also be the one that gets the message.
  if (times++ % 2 == 0) {
    CHECK_EQUAL(cipc_connection_poll(right, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
    CHECK_EQUAL(cipc_connection_send(right, "to the left", 11, NULL, 0, 0), 0);
    uint8_t *bytes;
    size_t length;
    CHECK_EQUAL(cipc_connection_receive(left, &bytes, &length, NULL, NULL, CIPC_NO_DEADLINE), 0);
    CHECK_EQUAL(length, 11);
    free(bytes);
  }
  drop_pair();
}

static void connections_that_are_waited_on(void) {
  make_pair();
  fork_during(send_at_the_end, 2, drop_or_use_pair);
  free_pair();
}

static void *make_and_free_pairs(void *unused) {
  (void)unused;
  while (goes_on()) {
    a_new_pair_works();
    cipc_connection_t *a, *b, *copy, *moved;
    CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
    CHECK_EQUAL(cipc_connection_duplicate(a, &copy), 0);
    cipc_connection_state_t state;
    CHECK_EQUAL(cipc_connection_export(b, &state), 0);
    CHECK_EQUAL(cipc_connection_import(&moved, &state), 0);
    cipc_connection_free(a);
    cipc_connection_free(b);
    cipc_connection_free(copy);
    cipc_connection_free(moved);
  }
  return NULL;
}

static void connections_that_are_made_and_freed(void) {
  fork_during(make_and_free_pairs, 2, a_new_pair_works);
}

static void *send_in_steps(void *unused) {
  (void)unused;
  while (goes_on()) {
    uint64_t progress = 0;
    cipc_wait_t wait = {0};
    int status =
        cipc_connection_send_step(left, message, sizeof message, NULL, 0, &progress, &wait);
    while (status == CIPC_EAGAIN) {
      uint8_t *bytes;
      size_t length;
      status = cipc_connection_receive(right, &bytes, &length, NULL, NULL, CIPC_IMMEDIATELY);
      if (status == 0) free(bytes);
      CHECK(status == 0 || status == CIPC_ETIMEDOUT);
      status = cipc_connection_send_step(left, message, sizeof message, NULL, 0, &progress, &wait);
    }
    CHECK_EQUAL(status, 0);
  }
  return NULL;
}

static void connections_that_are_used_in_steps(void) {
  make_pair();
  fork_during(send_in_steps, 1, drop_pair);
  free_pair();
}

static cipc_connection_t *spare;

/// Closing wakes a thread that is inside: the fork may come between the two.
static void *close_under_users(void *number) {
  static pthread_barrier_t barrier;
  static bool is_made;
  if (number == NULL) {
    CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
    __atomic_store_n(&is_made, true, __ATOMIC_RELEASE);
  }
  while (!__atomic_load_n(&is_made, __ATOMIC_ACQUIRE)) (void)sched_yield();
  cipc_connection_t *peer = NULL;
  for (;;) {
    bool is_last = false;
    if (number == NULL) {
      CHECK_EQUAL(cipc_connection_pair(&spare, &peer, 0), 0);
    }
    (void)pthread_barrier_wait(&barrier);
    if (number == NULL) {
      cipc_connection_close(spare);
      is_last = !goes_on();
      if (is_last) __atomic_store_n(&is_made, false, __ATOMIC_RELEASE);
    } else {
      size_t length;
      CHECK_EQUAL(cipc_connection_receive_length(spare, &length, CIPC_NO_DEADLINE), CIPC_ECLOSED);
    }
    (void)pthread_barrier_wait(&barrier);
    if (number == NULL) {
      cipc_connection_free(spare);
      cipc_connection_free(peer);
    } else {
      is_last = !__atomic_load_n(&is_made, __ATOMIC_ACQUIRE);
    }
    if (is_last) return NULL;
  }
}

static void connections_that_are_closed_under_users(void) {
  fork_during(close_under_users, 2, a_new_pair_works);
}

/// All of their locks are taken at once: tools that count those of a thread have limits.
static void forks_with_many_connections(void) {
  enum { PAIRS = 200 };
  cipc_connection_t *pairs[PAIRS][2];
  for (int i = 0; i < PAIRS; i++) {
    CHECK_EQUAL(cipc_connection_pair(&pairs[i][0], &pairs[i][1], 0), 0);
  }
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    for (int i = 0; i < PAIRS; i++) {
      cipc_connection_free(pairs[i][0]);
      cipc_connection_free(pairs[i][1]);
    }
    _exit(0);
  }
  CHECK_EQUAL(child_join(child), 0);
  for (int i = 0; i < PAIRS; i++) {
    cipc_connection_free(pairs[i][0]);
    cipc_connection_free(pairs[i][1]);
  }
}

// MARK: Listeners

static cipc_listener_t *listener;
static int listener_fd;

static cipc_address_t abstract_address(const char *purpose) {
  char name[64];
  int length = snprintf(name, sizeof name, "cipc-fork-test-%d-%s", (int)getpid(), purpose);
  cipc_address_t address;
  CHECK_EQUAL(cipc_address_abstract(&address, name, (size_t)length), 0);
  return address;
}

static void make_listener(void) {
  cipc_address_t address = abstract_address("shared");
  // Those before may be closed in a thread.
  while (cipc_descriptor_is_dropping()) (void)sched_yield();
  CHECK_EQUAL(cipc_listener_open(&listener, &address, NULL), 0);
  int watch[3];
  CHECK_EQUAL(cipc_listener_watch(listener, watch), 0);
  listener_fd = watch[0];
}

static void a_new_listener_works(void) {
  cipc_address_t address = abstract_address("own");
  cipc_listener_t *made;
  int status;
  // That of the process before this one with the same parent is closed in a thread as a rule.
  while ((status = cipc_listener_open(&made, &address, NULL)) == CIPC_EADDRINUSE) {
    (void)sched_yield();
  }
  CHECK_EQUAL(status, 0);
  int fd;
  CHECK_EQUAL(cipc_address_connect(&address, &fd, CIPC_NO_DEADLINE), 0);
  cipc_connection_t *client;
  CHECK_EQUAL(cipc_listener_accept(made, &client, 0, CIPC_NO_DEADLINE), 0);
  cipc_connection_free(client);
  (void)close(fd);
  cipc_listener_free(made);
}

static void drop_listener(void) {
  cipc_listener_free(listener);
  while (cipc_descriptor_is_dropping()) (void)sched_yield();
  CHECK(!is_open(listener_fd));
  a_new_listener_works();
}

static void *accept_and_connect(void *number) {
  cipc_address_t address;
  cipc_listener_address(listener, &address);
  if (number == NULL) {
    while (goes_on()) {
      int fd;
      CHECK_EQUAL(cipc_address_connect(&address, &fd, CIPC_NO_DEADLINE), 0);
      (void)close(fd);
    }
    cipc_listener_close(listener);
    return NULL;
  }
  for (;;) {
    cipc_connection_t *client;
    int status = cipc_listener_accept(listener, &client, 0, CIPC_NO_DEADLINE);
    if (status == CIPC_ECLOSED) return NULL;
    CHECK_EQUAL(status, 0);
    cipc_connection_free(client);
  }
}

static void listeners_that_are_accepted_at(void) {
  make_listener();
  fork_during(accept_and_connect, 3, drop_listener);
  cipc_listener_free(listener);
}

static void *wait_for_client(void *number) {
  if (number == NULL) {
    while (goes_on()) (void)sched_yield();
    cipc_listener_close(listener);
    return NULL;
  }
  cipc_connection_t *client;
  CHECK_EQUAL(cipc_listener_accept(listener, &client, 0, CIPC_NO_DEADLINE), CIPC_ECLOSED);
  return NULL;
}

static void listeners_that_are_waited_at(void) {
  make_listener();
  fork_during(wait_for_client, 2, drop_listener);
  cipc_listener_free(listener);
}

static void *open_and_close_listeners(void *unused) {
  (void)unused;
  while (goes_on()) a_new_listener_works();
  return NULL;
}

static void listeners_that_are_opened_and_closed(void) {
  fork_during(open_and_close_listeners, 1, a_new_listener_works);
}

// MARK: Waits

/// In memory without a segment: nothing but the wait itself prepares for forks.
static cipc_event_t *event;

static void *sleep_on_word(void *number) {
  uint32_t words[2] = {0, 0};
  for (int i = 0; goes_on(); i++) {
    // Another word each time: then the segment is looked up that it lies in. Most waits end at
    // once.
    cipc_wait_t wait = {.word = &words[i & 1], .expected = number != NULL};
    int status = cipc_wait_sleep(&wait, cipc_clock_deadline(20000));
    CHECK(status == 0 || status == CIPC_ETIMEDOUT || status == CIPC_WAIT_LOOK);
  }
  return NULL;
}

static void sleep_in_child(void) {
  cipc_event_t *own = child_shared(sizeof *own);
  cipc_event_init(own, 0);
  CHECK_EQUAL(cipc_event_wait(own, cipc_clock_deadline(1000)), CIPC_ETIMEDOUT);
  cipc_event_set(own);
  CHECK_EQUAL(cipc_event_wait(own, CIPC_NO_DEADLINE), 0);
}

static void waits_without_a_segment(void) {
  event = child_shared(sizeof *event);
  cipc_event_init(event, 0);
  fork_during(sleep_on_word, 3, sleep_in_child);
}

static void done(void *context, int status) {
  (void)status;
  (void)__atomic_fetch_add((uint32_t *)context, 1, __ATOMIC_ACQ_REL);
}

static uint32_t calls_of_parent;

static void wait_asynchronously(uint32_t *calls) {
  cipc_wait_t wait = {.word = &event->word, .expected = 0};
  cipc_poller_ticket_t ticket;
  CHECK_EQUAL(cipc_wait_start(&wait, CIPC_NO_DEADLINE, done, calls, &ticket), 0);
  (void)!cipc_wait_cancel(ticket);
  CHECK_EQUAL(cipc_poller_wait(-1, 0, cipc_clock_now() + 1000, done, calls, &ticket), 0);
  (void)!cipc_poller_cancel(ticket);
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK_EQUAL(
      cipc_poller_wait(ends[0], CIPC_POLLER_READABLE, CIPC_NO_DEADLINE, done, calls, &ticket), 0);
  (void)close(ends[1]);
  (void)!cipc_poller_cancel(ticket);
  (void)close(ends[0]);
}

static void *wait_asynchronously_in_thread(void *unused) {
  (void)unused;
  while (goes_on()) wait_asynchronously(&calls_of_parent);
  return NULL;
}

static void wait_asynchronously_in_child(void) {
  uint32_t calls = 0;
  wait_asynchronously(&calls);
  cipc_poller_ticket_t ticket;
  uint32_t before = __atomic_load_n(&calls, __ATOMIC_ACQUIRE);
  cipc_wait_t wait = {.word = &event->word, .expected = 0};
  CHECK_EQUAL(cipc_wait_start(&wait, cipc_clock_deadline(1), done, &calls, &ticket), 0);
  CHECK_EQUAL(cipc_poller_wait(-1, 0, cipc_clock_deadline(1), done, &calls, &ticket), 0);
  while (__atomic_load_n(&calls, __ATOMIC_ACQUIRE) < before + 2) (void)sched_yield();
}

static void asynchronous_waits(void) {
  event = child_shared(sizeof *event);
  cipc_event_init(event, 0);
  fork_during(wait_asynchronously_in_thread, 2, wait_asynchronously_in_child);
}

static cipc_readiness_t *watch;

static void *look_at_watches(void *number) {
  while (goes_on()) {
    if (number == NULL) {
      CHECK(cipc_readiness_look(watch) >= 0);
    } else {
      cipc_readiness_t *own;
      CHECK_EQUAL(cipc_event_readiness_open(&own, event), 0);
      CHECK(cipc_readiness_look(own) >= 0);
      if (number == (void *)2) cipc_event_set(event);
      if (number == (void *)2) cipc_event_clear(event);
      cipc_readiness_close(own);
    }
  }
  return NULL;
}

static void look_in_child(void) {
  int fd = cipc_readiness_descriptor(watch);
  CHECK(is_open(fd));
  CHECK(cipc_readiness_look(watch) >= 0);
  cipc_readiness_close(watch);
  // A callback under way closes it.
  while (is_open(fd)) (void)sched_yield();
  cipc_readiness_t *own;
  CHECK_EQUAL(cipc_event_readiness_open(&own, event), 0);
  CHECK(cipc_readiness_look(own) >= 0);
  cipc_readiness_close(own);
}

static void watches(void) {
  event = child_shared(sizeof *event);
  cipc_event_init(event, 0);
  CHECK_EQUAL(cipc_event_readiness_open(&watch, event), 0);
  fork_during(look_at_watches, 3, look_in_child);
  cipc_readiness_close(watch);
}

// MARK: Shared memory

static cipc_ring_t *ring;

static void use_ring(cipc_ring_t *used) {
  CHECK_EQUAL(cipc_ring_put(used, "record", 6, CIPC_NO_DEADLINE), 0);
  char buffer[16];
  size_t length;
  int status = cipc_ring_get(used, buffer, sizeof buffer, &length, CIPC_NO_DEADLINE);
  CHECK(status == 0 && length == 6);
}

static void *use_rings(void *number) {
  while (goes_on()) {
    if (number == NULL) {
      use_ring(ring);
      continue;
    }
    cipc_ring_t *made;
    CHECK_EQUAL(cipc_ring_create(&made, NULL), 0);
    use_ring(made);
    cipc_ring_close(made);
  }
  return NULL;
}

static void use_ring_in_child(void) {
  use_ring(ring);
  cipc_ring_close(ring);
  cipc_ring_t *made;
  CHECK_EQUAL(cipc_ring_create(&made, NULL), 0);
  use_ring(made);
  cipc_ring_close(made);
}

static void rings_and_segments(void) {
  CHECK_EQUAL(cipc_ring_create(&ring, NULL), 0);
  fork_during(use_rings, 2, use_ring_in_child);
  cipc_ring_close(ring);
}

/// In an untyped segment: a thread is in each of them most of the time.
static struct shared {
  cipc_mutex_t mutex;
  cipc_semaphore_t semaphore;
  cipc_event_t event;
} * shared;

static void use_shared(void) {
  CHECK_EQUAL(cipc_mutex_lock(&shared->mutex, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_mutex_unlock(&shared->mutex), 0);
  CHECK_EQUAL(cipc_semaphore_take(&shared->semaphore, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_semaphore_post(&shared->semaphore, 1), 0);
}

static void *use_shared_in_thread(void *unused) {
  (void)unused;
  while (goes_on()) use_shared();
  return NULL;
}

static void locks_in_shared_memory(void) {
  shared = child_shared(sizeof *shared);
  CHECK_EQUAL(cipc_mutex_init(&shared->mutex, NULL), 0);
  CHECK_EQUAL(cipc_semaphore_init_unowned(&shared->semaphore, 1, 1), 0);
  fork_during(use_shared_in_thread, 3, use_shared);
}

// MARK: Pipes, drops

static cipc_pipe_t *pipe_of_parent;

static void open_a_pipe(void) {
  cipc_pipe_t *made;
  int reader;
  size_t written;
  CHECK_EQUAL(cipc_pipe_open(&made, &reader), 0);
  CHECK_EQUAL(cipc_pipe_write(made, "x", 1, &written), 0);
  cipc_pipe_close(made);
  (void)close(reader);
}

static void *open_pipes(void *unused) {
  (void)unused;
  while (goes_on()) open_a_pipe();
  return NULL;
}

static void close_pipe_in_child(void) {
  size_t written;
  CHECK_EQUAL(cipc_pipe_write(pipe_of_parent, "x", 1, &written), CIPC_ECLOSED);
  cipc_pipe_close(pipe_of_parent);
  open_a_pipe();
}

static void pipes(void) {
  int reader;
  CHECK_EQUAL(cipc_pipe_open(&pipe_of_parent, &reader), 0);
  fork_during(open_pipes, 2, close_pipe_in_child);
  cipc_pipe_close(pipe_of_parent);
  (void)close(reader);
}

static void drop_some(void) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  cipc_descriptor_drop(ends[0]);
  // The end comes when the other one is closed.
  char byte;
  CHECK_EQUAL(read(ends[1], &byte, 1), 0);
  (void)close(ends[1]);
}

static void *drop_in_thread(void *unused) {
  (void)unused;
  while (goes_on()) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    cipc_descriptor_drop(ends[0]);
    cipc_descriptor_drop(ends[1]);
    // Dropping is quicker than closing.
    while (cipc_descriptor_is_dropping()) (void)sched_yield();
  }
  return NULL;
}

static void drops(void) {
  fork_during(drop_in_thread, 2, drop_some);
  while (cipc_descriptor_is_dropping()) (void)sched_yield();
}

// MARK: Processes

static int entry(int connection) {
  (void)connection;
  return 7;
}

static void start_a_process(void) {
  cipc_process_t *process;
  int connection;
  CHECK_EQUAL(cipc_process_spawn(&process, &connection, entry, NULL), 0);
  cipc_process_status_t status;
  CHECK_EQUAL(cipc_process_wait(process, CIPC_NO_DEADLINE, &status), 0);
  CHECK(status.end == CIPC_PROCESS_EXITED && status.value == 7);
  cipc_process_release(process);
  (void)close(connection);
}

static void *start_processes(void *number) {
  cipc_process_options_t options;
  memset(&options, 0, sizeof options);
  options.is_daemon = 1;
  while (goes_on()) {
    cipc_process_t *process;
    int connection;
    int status = number == NULL ? cipc_process_spawn(&process, &connection, entry, &options)
                                : cipc_process_fork_server(&process, &connection, entry, &options);
    CHECK_EQUAL(status, 0);
    cipc_process_release(process);
    (void)close(connection);
  }
  return NULL;
}

static void release_and_start(void) {
  // Reaps what can be reaped: nothing, since all are the parent's.
  cipc_process_release(NULL);
  static int times;
  // A start takes milliseconds; all children go through the locks.
  if (times++ % 16 == 0) start_a_process();
}

static void processes(void) { fork_during(start_processes, 2, release_and_start); }

int main(int argc, char **argv) {
  CHECK_EQUAL(cipc_process_bootstrap(argc, argv, NULL), CIPC_OK);
  TEST(waits_without_a_segment);
  TEST(asynchronous_waits);
  TEST(watches);
  TEST(connections_with_short_messages);
  TEST(connections_with_long_messages);
  TEST(connections_with_descriptors);
  TEST(connections_that_are_waited_on);
  TEST(connections_that_are_made_and_freed);
  TEST(connections_that_are_used_in_steps);
  TEST(connections_that_are_closed_under_users);
  TEST(forks_with_many_connections);
  TEST(listeners_that_are_accepted_at);
  TEST(listeners_that_are_waited_at);
  TEST(listeners_that_are_opened_and_closed);
  TEST(rings_and_segments);
  TEST(locks_in_shared_memory);
  TEST(pipes);
  TEST(drops);
  TEST(processes);
  return check_finish();
}
