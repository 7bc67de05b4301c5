/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/interrupt.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "child.h"
#include "cipc.h"

#define MILLISECOND INT64_C(1000000)
#define SLOTS 4u

static cipc_deadline_t soon(void) { return cipc_clock_deadline(CHILD_PATIENCE); }

// MARK: Signals

static volatile sig_atomic_t handled;

static void count(int signal) {
  (void)signal;
  handled++;
}

static void count_and_interrupt(int signal) {
  (void)signal;
  handled++;
  cipc_interrupt();
}

static void install(int signal, void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  CHECK(sigaction(signal, &action, NULL) == 0);
}

// Sends signals to a thread until it is told to stop: one of them finds it waiting.
typedef struct sender {
  pthread_t thread, target;
  uint32_t is_over;
} sender_t;

static void *send_signals(void *context) {
  sender_t *sender = context;
  while (!__atomic_load_n(&sender->is_over, __ATOMIC_ACQUIRE)) {
    CHECK_EQUAL(pthread_kill(sender->target, SIGUSR1), 0);
    (void)nanosleep(&(struct timespec){.tv_nsec = 5 * MILLISECOND}, NULL);
  }
  return NULL;
}

static void sender_start(sender_t *sender) {
  *sender = (sender_t){.target = pthread_self()};
  CHECK_EQUAL(pthread_create(&sender->thread, NULL, send_signals, sender), 0);
}

static void sender_stop(sender_t *sender) {
  __atomic_store_n(&sender->is_over, 1, __ATOMIC_RELEASE);
  CHECK_EQUAL(pthread_join(sender->thread, NULL), 0);
}

// MARK: What is waited for

static cipc_mutex_t mutex, held;
static struct {
  cipc_semaphore_t head;
  cipc_participant_t permits[1];
} semaphore;
static cipc_semaphore_t unowned;
static cipc_event_t event;
static struct {
  cipc_condition_t head;
  cipc_condition_slot_t slots[SLOTS];
} condition;
static struct {
  cipc_barrier_t head;
  cipc_barrier_slot_t slots[2];
} barrier;
static _Alignas(128) unsigned char rwlock_memory[65536];
static cipc_rwlock_t *rwlock;
static cipc_ring_t *empty, *full, *leased;
static cipc_connection_t *ours, *theirs;
static cipc_listener_t *listener;
static cipc_address_t address;
static int ends[2], sockets[2];
static unsigned char big[1 << 22];
static uint64_t progress;
static cipc_process_t *process;

// A thread that has what is waited for.
static pthread_t holder;
static uint32_t gate;

static void *hold(void *unused) {
  (void)unused;
  CHECK_EQUAL(cipc_mutex_lock(&held, soon()), 0);
  CHECK_EQUAL(cipc_rwlock_write_lock(rwlock, 1, soon()), 0);
  void *payload;
  CHECK_EQUAL(cipc_ring_reserve(empty, 8, &payload, soon()), 0);
  gate_set(&gate, 1);
  gate_wait(&gate, 2);
  CHECK_EQUAL(cipc_ring_cancel(empty), 0);
  CHECK_EQUAL(cipc_rwlock_write_unlock(rwlock, 1), 0);
  CHECK_EQUAL(cipc_mutex_unlock(&held), 0);
  return NULL;
}

static void fill_descriptor(int descriptor) {
  int flags = fcntl(descriptor, F_GETFL);
  CHECK(fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0);
  while (write(descriptor, big, sizeof big) > 0) {
  }
  CHECK(fcntl(descriptor, F_SETFL, flags) == 0);
}

static void prepare(void) {
  CHECK_EQUAL(cipc_mutex_init(&mutex, NULL), 0);
  CHECK_EQUAL(cipc_mutex_init(&held, NULL), 0);
  CHECK_EQUAL(cipc_semaphore_init(&semaphore.head, 1), 0);
  CHECK_EQUAL(cipc_semaphore_acquire(&semaphore.head, 1, soon()), 0);
  CHECK_EQUAL(cipc_semaphore_init_unowned(&unowned, 0, 1), 0);
  cipc_event_init(&event, 0);
  CHECK_EQUAL(cipc_condition_init(&condition.head, SLOTS), 0);
  CHECK_EQUAL(cipc_barrier_init(&barrier.head, 2), 0);
  rwlock = (cipc_rwlock_t *)(void *)rwlock_memory;
  CHECK(cipc_rwlock_footprint(1) <= sizeof rwlock_memory);
  CHECK_EQUAL(cipc_rwlock_init(rwlock, 1), 0);
  CHECK_EQUAL(cipc_ring_create(&empty, NULL), 0);
  CHECK_EQUAL(cipc_ring_create(&full, &(cipc_ring_options_t){.records = 1}), 0);
  CHECK_EQUAL(cipc_ring_create(&leased, &(cipc_ring_options_t){.flags = CIPC_RING_LEASED}), 0);
  CHECK_EQUAL(cipc_ring_put(full, "a", 1, soon()), 0);
  CHECK_EQUAL(cipc_ring_put(leased, "a", 1, soon()), 0);
  cipc_ring_record_t record;
  CHECK_EQUAL(cipc_ring_lease(leased, &record, soon()), 0);
  CHECK_EQUAL(cipc_connection_pair(&ours, &theirs, 0), 0);
  // Another caller is in the middle of a message: the turn to send is taken.
  progress = 0;
  cipc_wait_t wait = {0};
  CHECK_EQUAL(cipc_connection_send_step(ours, big, sizeof big, NULL, 0, &progress, &wait),
              CIPC_EAGAIN);
  CHECK(progress > 0);
  char name[32];
  int length = snprintf(name, sizeof name, "cipc-interrupt-%d", (int)getpid());
  CHECK_EQUAL(cipc_address_abstract(&address, name, (size_t)length), 0);
  CHECK_EQUAL(cipc_listener_open(&listener, &address, NULL), 0);
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
  fill_descriptor(sockets[0]);
  CHECK_EQUAL(pthread_create(&holder, NULL, hold, NULL), 0);
  gate_wait(&gate, 1);
}

static int lock_mutex(cipc_deadline_t deadline) { return cipc_mutex_lock(&held, deadline); }
static int acquire(cipc_deadline_t deadline) {
  return cipc_semaphore_acquire(&semaphore.head, 1, deadline);
}
static int take(cipc_deadline_t deadline) { return cipc_semaphore_take(&unowned, deadline); }
static int wait_for_event(cipc_deadline_t deadline) { return cipc_event_wait(&event, deadline); }
static int wait_for_condition(cipc_deadline_t deadline) {
  CHECK_EQUAL(cipc_mutex_lock(&mutex, soon()), 0);
  int status = cipc_condition_wait(&condition.head, SLOTS, &mutex, deadline);
  CHECK(cipc_mutex_is_owned(&mutex));
  CHECK_EQUAL(cipc_mutex_unlock(&mutex), 0);
  return status;
}
static int wait_at_barrier(cipc_deadline_t deadline) {
  cipc_barrier_arrival_t arrival = {0, 0};
  int status = cipc_barrier_wait_on(&barrier.head, 2, NULL, NULL, &arrival, deadline);
  CHECK_EQUAL(cipc_barrier_waiting(&barrier.head, 2), status == CIPC_EINTR);
  if (status == CIPC_EINTR) {
    CHECK_EQUAL(cipc_barrier_give_up(&barrier.head, &arrival), CIPC_ETIMEDOUT);
  }
  CHECK_EQUAL(cipc_barrier_reset(&barrier.head, 2), 0);
  return status;
}
static int lock_for_reading(cipc_deadline_t deadline) {
  return cipc_rwlock_read_lock(rwlock, 1, deadline);
}
static int lock_for_writing(cipc_deadline_t deadline) {
  return cipc_rwlock_write_lock(rwlock, 1, deadline);
}
static int get(cipc_deadline_t deadline) {
  size_t length;
  return cipc_ring_get(empty, big, sizeof big, &length, deadline);
}
static int peek(cipc_deadline_t deadline) {
  cipc_ring_record_t record;
  return cipc_ring_peek(empty, &record, deadline);
}
static int lease(cipc_deadline_t deadline) {
  cipc_ring_record_t record;
  return cipc_ring_lease(leased, &record, deadline);
}
static int join_ring(cipc_deadline_t deadline) { return cipc_ring_join(leased, deadline); }
static int put(cipc_deadline_t deadline) { return cipc_ring_put(full, "b", 1, deadline); }
static int put_many(cipc_deadline_t deadline) {
  return cipc_ring_put_many(full, &(cipc_ring_bytes_t){"b", 1}, 1, deadline);
}
static int reserve(cipc_deadline_t deadline) {
  void *payload;
  return cipc_ring_reserve(full, 1, &payload, deadline);
}
static int put_where_another_puts(cipc_deadline_t deadline) {
  return cipc_ring_put(empty, "b", 1, deadline);
}
static int finish(cipc_deadline_t deadline) { return cipc_ring_finish(empty, deadline); }
static int receive(cipc_deadline_t deadline) {
  uint8_t *bytes;
  size_t length;
  return cipc_connection_receive(ours, &bytes, &length, NULL, NULL, deadline);
}
static int receive_into(cipc_deadline_t deadline) {
  size_t length;
  return cipc_connection_receive_into(ours, big, sizeof big, &length, NULL, NULL, deadline);
}
static int receive_length(cipc_deadline_t deadline) {
  size_t length;
  return cipc_connection_receive_length(ours, &length, deadline);
}
static int receive_handles(cipc_deadline_t deadline) {
  int descriptor;
  return cipc_connection_receive_handles(ours, &descriptor, 1, deadline);
}
static int poll_connection(cipc_deadline_t deadline) {
  return cipc_connection_poll(ours, deadline);
}
static int wait_for_turn(cipc_deadline_t deadline) {
  int status = cipc_connection_send(ours, "b", 1, NULL, 0, deadline);
  return status == CIPC_EBUSY ? CIPC_ETIMEDOUT : status;
}
static int send_handles(cipc_deadline_t deadline) {
  int status = cipc_connection_send_handles(ours, &ends[0], 1, deadline);
  return status == CIPC_EBUSY ? CIPC_ETIMEDOUT : status;
}
static int accept_client(cipc_deadline_t deadline) {
  cipc_connection_t *connection;
  return cipc_listener_accept(listener, &connection, 0, deadline);
}
static int read_frame(cipc_deadline_t deadline) {
  uint8_t *bytes;
  size_t length;
  return cipc_frame_read(ends[0], CIPC_FRAME_MAXIMUM, &bytes, &length, NULL, NULL, deadline);
}
static int write_frame(cipc_deadline_t deadline) {
  return cipc_frame_write(sockets[0], "b", 1, NULL, 0, deadline);
}
static int poll_descriptors(cipc_deadline_t deadline) {
  return cipc_poller_poll(&(cipc_poller_interest_t){ends[0], CIPC_POLLER_READABLE}, 1, deadline);
}
static int sleep_on_word(cipc_deadline_t deadline) {
  cipc_wait_t wait = {.word = &event.word, .expected = event.word};
  int status;
  do {
    status = cipc_wait_sleep(&wait, deadline);
  } while (status >= 0);
  return status;
}

static const struct {
  const char *name;
  int (*call)(cipc_deadline_t deadline);
} calls[] = {
    {"cipc_mutex_lock", lock_mutex},
    {"cipc_semaphore_acquire", acquire},
    {"cipc_semaphore_take", take},
    {"cipc_event_wait", wait_for_event},
    {"cipc_condition_wait", wait_for_condition},
    {"cipc_barrier_wait_on", wait_at_barrier},
    {"cipc_rwlock_read_lock", lock_for_reading},
    {"cipc_rwlock_write_lock", lock_for_writing},
    {"cipc_ring_get", get},
    {"cipc_ring_peek", peek},
    {"cipc_ring_lease", lease},
    {"cipc_ring_join", join_ring},
    {"cipc_ring_put", put},
    {"cipc_ring_put_many", put_many},
    {"cipc_ring_reserve", reserve},
    {"cipc_ring_put, held", put_where_another_puts},
    {"cipc_ring_finish", finish},
    {"cipc_connection_receive", receive},
    {"cipc_connection_receive_into", receive_into},
    {"cipc_connection_receive_length", receive_length},
    {"cipc_connection_receive_handles", receive_handles},
    {"cipc_connection_poll", poll_connection},
    {"cipc_connection_send", wait_for_turn},
    {"cipc_connection_send_handles", send_handles},
    {"cipc_listener_accept", accept_client},
    {"cipc_frame_read", read_frame},
    {"cipc_frame_write", write_frame},
    {"cipc_poller_poll", poll_descriptors},
    {"cipc_wait_sleep", sleep_on_word},
};
#define CALLS (sizeof calls / sizeof *calls)

static void expect(size_t i, const char *when, int status, int expected) {
  if (status != expected) (void)fprintf(stderr, "%s, %s:\n", calls[i].name, when);
  CHECK_EQUAL(status, expected);
}

// MARK: Tests

static void a_signal_ends_every_wait(void) {
  for (int restarts = 0; restarts < 2; restarts++) {
    install(SIGUSR1, count, restarts ? SA_RESTART : 0);
    CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
    for (size_t i = 0; i < CALLS; i++) {
      handled = 0;
      sender_t sender;
      sender_start(&sender);
      int status = calls[i].call(soon());
      sender_stop(&sender);
      expect(i, restarts ? "with SA_RESTART" : "without SA_RESTART", status, CIPC_EINTR);
      CHECK(handled > 0);
    }
    CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SIGNALS);
  }
}

static void signals_end_nothing_unless_told_to(void) {
  install(SIGUSR1, count, 0);
  for (size_t i = 0; i < CALLS; i++) {
    handled = 0;
    sender_t sender;
    sender_start(&sender);
    // Again where no signal came meanwhile, for then the call has not been tried.
    while (handled == 0) {
      int status = calls[i].call(cipc_clock_deadline(30 * MILLISECOND));
      expect(i, "never", status, CIPC_ETIMEDOUT);
    }
    sender_stop(&sender);
  }
}

// As when a handler runs just before the wait.
static void a_handler_may_come_a_moment_before(void) {
  install(SIGUSR1, count_and_interrupt, SA_RESTART);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
  for (size_t i = 0; i < CALLS; i++) {
    CHECK(raise(SIGUSR1) == 0);
    // What does not wait is not interrupted.
    expect(i, "without waiting", calls[i].call(CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
    expect(i, "a moment before", calls[i].call(soon()), CIPC_EINTR);
    // It was told once.
    expect(i, "again", calls[i].call(cipc_clock_deadline(30 * MILLISECOND)), CIPC_ETIMEDOUT);
  }
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SIGNALS);
  CHECK(raise(SIGUSR1) == 0);
  expect(0, "never", calls[0].call(cipc_clock_deadline(30 * MILLISECOND)), CIPC_ETIMEDOUT);
}

static void a_runtime_can_look_every_slice(void) {
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SLICES), CIPC_INTERRUPT_NEVER);
  for (size_t i = 0; i < CALLS; i++) {
    for (int again = 0; again < 2; again++) {
      cipc_deadline_t begin = cipc_clock_now();
      expect(i, "slices", calls[i].call(soon()), CIPC_EINTR);
      CHECK(cipc_clock_now() - begin < CHILD_PATIENCE / 2);
    }
  }
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SLICES);
  CHECK_EQUAL(cipc_interruptible(3), CIPC_EINVAL);
  CHECK_EQUAL(cipc_interruptible(-1), CIPC_EINVAL);
}

// Only what has a handler is told of, and the kernel does with the rest what it does.
static void ignored_signals_end_nothing(void) {
  install(SIGUSR1, SIG_IGN, 0);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
  sender_t sender;
  sender_start(&sender);
  for (size_t i = 0; i < CALLS; i++) {
    int status = calls[i].call(cipc_clock_deadline(50 * MILLISECOND));
    expect(i, "ignored", status, CIPC_ETIMEDOUT);
  }
  sender_stop(&sender);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SIGNALS);
}

static void die_waiting(void *argument) {
  (void)argument;
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
  gate_set(&gate, 1);
  (void)!cipc_mutex_lock(&held, CIPC_NO_DEADLINE);
}

static void what_ends_the_process_is_not_held_back(void) {
  cipc_mutex_t *shared = child_shared(sizeof *shared + sizeof gate);
  (void)shared;
  int said[2];
  CHECK(pipe2(said, O_CLOEXEC) == 0);
  (void)fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    (void)alarm(CHECK_TEST_SECONDS);
    CHECK_EQUAL(write(said[1], "", 1), 1);
    die_waiting(NULL);
    _exit(3);
  }
  char byte;
  CHECK_EQUAL(read(said[0], &byte, 1), 1);
  CHECK(kill(child, SIGTERM) == 0);
  CHECK_EQUAL(child_join(child), -SIGTERM);
  CHECK(close(said[0]) == 0 && close(said[1]) == 0);
}

static void *arrive_last(void *arrived) {
  int *index = arrived;
  *index = cipc_barrier_wait(&barrier.head, 2, NULL, NULL, soon());
  return NULL;
}

static void a_barrier_keeps_the_arrival(void) {
  install(SIGUSR1, count, 0);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
  cipc_barrier_arrival_t arrival = {0, 0};
  sender_t sender;
  sender_start(&sender);
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_barrier_wait_on(&barrier.head, 2, NULL, NULL, &arrival, soon()), CIPC_EINTR);
    CHECK_EQUAL(cipc_barrier_waiting(&barrier.head, 2), 1);
  }
  sender_stop(&sender);
  // The others do not wait until it goes on.
  pthread_t last;
  int index = -1;
  CHECK_EQUAL(pthread_create(&last, NULL, arrive_last, &index), 0);
  CHECK_EQUAL(pthread_join(last, NULL), 0);
  CHECK_EQUAL(index, 1);
  CHECK_EQUAL(cipc_barrier_wait_on(&barrier.head, 2, NULL, NULL, &arrival, soon()), 0);
  CHECK(arrival.round == 0 && arrival.index == 0);
  // Without a place to keep it in, a wait goes on behind a signal.
  CHECK_EQUAL(cipc_barrier_reset(&barrier.head, 2), 0);
  sender_start(&sender);
  CHECK_EQUAL(
      cipc_barrier_wait(&barrier.head, 2, NULL, NULL, cipc_clock_deadline(50 * MILLISECOND)),
      CIPC_ETIMEDOUT);
  sender_stop(&sender);
  CHECK_EQUAL(cipc_barrier_reset(&barrier.head, 2), 0);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SIGNALS);
}

static cipc_connection_t *left, *right;

static void *receive_big(void *unused) {
  (void)unused;
  for (int i = 0; i < 3; i++) {
    uint8_t *bytes;
    size_t length;
    CHECK_EQUAL(cipc_connection_receive(right, &bytes, &length, NULL, NULL, soon()), 0);
    CHECK_EQUAL(length, sizeof big);
    CHECK(memcmp(bytes, big, sizeof big) == 0);
    free(bytes);
  }
  return NULL;
}

static void a_send_goes_on_with_the_same_message(void) {
  install(SIGUSR1, count, 0);
  for (size_t i = 0; i < sizeof big; i++) big[i] = (unsigned char)(i * 7 + i / 251);
  CHECK_EQUAL(cipc_connection_pair(&left, &right, 0), 0);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
  uint64_t sent = 0, before = 0;
  sender_t sender;
  sender_start(&sender);
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_connection_send_on(left, big, sizeof big, NULL, 0, &sent, soon()), CIPC_EINTR);
    CHECK(sent > 0 && sent >= before && sent < sizeof big);
    before = sent;
  }
  // A deadline leaves it where it is, too; and no other sender gets in between.
  CHECK_EQUAL(cipc_connection_send_on(left, big, sizeof big, NULL, 0, &sent, CIPC_IMMEDIATELY),
              CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_connection_send(left, "", 0, NULL, 0, CIPC_IMMEDIATELY), CIPC_EBUSY);
  uint64_t wrong = sent + 1;
  CHECK_EQUAL(cipc_connection_send_on(left, big, sizeof big, NULL, 0, &wrong, soon()), CIPC_EINVAL);
  pthread_t reader;
  CHECK_EQUAL(pthread_create(&reader, NULL, receive_big, NULL), 0);
  int status;
  do {
    status = cipc_connection_send_on(left, big, sizeof big, NULL, 0, &sent, soon());
  } while (status == CIPC_EINTR);
  CHECK_EQUAL(status, 0);
  CHECK_EQUAL(sent, sizeof big + 4);
  // Without a place for the progress: not between the first byte and the last.
  for (int i = 0; i < 2; i++) {
    do {
      status = cipc_connection_send(left, big, sizeof big, NULL, 0, soon());
    } while (status == CIPC_EINTR);
    CHECK_EQUAL(status, 0);
  }
  CHECK_EQUAL(pthread_join(reader, NULL), 0);
  sender_stop(&sender);
  // Given up, it ends the connection.
  sent = 0;
  sender_start(&sender);
  CHECK_EQUAL(cipc_connection_send_on(left, big, sizeof big, NULL, 0, &sent, soon()), CIPC_EINTR);
  sender_stop(&sender);
  cipc_connection_abandon(left, sent);
  CHECK_EQUAL(cipc_connection_send_on(left, big, sizeof big, NULL, 0, &sent, soon()), CIPC_ECLOSED);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SIGNALS);
  cipc_connection_free(left);
  cipc_connection_free(right);
}

static void *send_big(void *unused) {
  (void)unused;
  for (int i = 0; i < 20; i++) {
    CHECK_EQUAL(cipc_connection_send(left, big, sizeof big, NULL, 0, soon()), 0);
  }
  return NULL;
}

static void a_receive_keeps_what_has_arrived(void) {
  install(SIGUSR1, count, SA_RESTART);
  CHECK_EQUAL(cipc_connection_pair(&left, &right, 0), 0);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
  static unsigned char copy[sizeof big];
  sender_t sender;
  sender_start(&sender);
  pthread_t writer;
  CHECK_EQUAL(pthread_create(&writer, NULL, send_big, NULL), 0);
  for (int i = 0; i < 20; i++) {
    size_t length;
    int status;
    do {
      status = cipc_connection_receive_into(right, copy, sizeof copy, &length, NULL, NULL, soon());
    } while (status == CIPC_EINTR);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(length, sizeof big);
    CHECK(memcmp(copy, big, sizeof big) == 0);
  }
  CHECK_EQUAL(pthread_join(writer, NULL), 0);
  sender_stop(&sender);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SIGNALS);
  cipc_connection_free(left);
  cipc_connection_free(right);
}

// Of what a call that was interrupted could have half done, nothing is done.
static void nothing_is_lost_between_calls(void) {
  install(SIGUSR1, count, 0);
  static cipc_ring_t *ring;
  CHECK_EQUAL(cipc_ring_create(&ring, &(cipc_ring_options_t){.records = 2}), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    (void)alarm(CHECK_TEST_SECONDS);
    for (uint64_t i = 0; i < 2000; i++) CHECK_EQUAL(cipc_ring_put(ring, &i, sizeof i, soon()), 0);
    _exit(0);
  }
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SLICES), CIPC_INTERRUPT_NEVER);
  sender_t sender;
  sender_start(&sender);
  for (uint64_t i = 0; i < 2000; i++) {
    uint64_t number;
    size_t length;
    int status;
    do {
      status = cipc_ring_get(ring, &number, sizeof number, &length, soon());
    } while (status == CIPC_EINTR);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(number, i);
  }
  sender_stop(&sender);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SLICES);
  CHECK_EQUAL(child_join(child), 0);
  cipc_ring_close(ring);
}

static void a_full_backlog_and_a_child(void) {
  install(SIGUSR1, count, SA_RESTART);
  cipc_listener_t *narrow;
  cipc_address_t there;
  char name[40];
  int length = snprintf(name, sizeof name, "cipc-interrupt-narrow-%d", (int)getpid());
  CHECK_EQUAL(cipc_address_abstract(&there, name, (size_t)length), 0);
  CHECK_EQUAL(cipc_listener_open(&narrow, &there, &(cipc_listener_options_t){.backlog = 1}), 0);
  int clients[8], fd, status;
  int made = 0;
  while ((status = cipc_address_connect(&there, &fd, CIPC_IMMEDIATELY)) == 0) {
    CHECK(made < 8);
    clients[made++] = fd;
  }
  CHECK_EQUAL(status, CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
  sender_t sender;
  sender_start(&sender);
  CHECK_EQUAL(cipc_address_connect(&there, &fd, soon()), CIPC_EINTR);
  CHECK_EQUAL(fd, -1);
  sender_stop(&sender);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SIGNALS);
  while (made > 0) CHECK(close(clients[--made]) == 0);
  cipc_listener_free(narrow);

  cipc_process_options_t options = {0};
  const char *arguments[] = {"sleep", "1000", NULL};
  options.executable = "/bin/sleep";
  options.arguments = (char *const *)(uintptr_t)arguments;
  CHECK_EQUAL(cipc_process_spawn(&process, NULL, NULL, &options), 0);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
  cipc_process_status_t ended;
  sender_start(&sender);
  CHECK_EQUAL(cipc_process_wait(process, soon(), &ended), CIPC_EINTR);
  CHECK_EQUAL(ended.end, CIPC_PROCESS_RUNNING);
  sender_stop(&sender);
  CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SIGNALS);
  CHECK_EQUAL(cipc_process_signal(process, SIGKILL), 0);
  CHECK_EQUAL(cipc_process_wait(process, soon(), &ended), 0);
  cipc_process_release(process);
}

int main(void) {
  prepare();
  TEST(a_signal_ends_every_wait);
  TEST(signals_end_nothing_unless_told_to);
  TEST(a_handler_may_come_a_moment_before);
  TEST(a_runtime_can_look_every_slice);
  TEST(ignored_signals_end_nothing);
  TEST(what_ends_the_process_is_not_held_back);
  TEST(a_barrier_keeps_the_arrival);
  TEST(a_send_goes_on_with_the_same_message);
  TEST(a_receive_keeps_what_has_arrived);
  TEST(nothing_is_lost_between_calls);
  TEST(a_full_backlog_and_a_child);
  gate_set(&gate, 2);
  CHECK_EQUAL(pthread_join(holder, NULL), 0);
  return check_finish();
}
