/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/connection.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "check.h"
#include "descriptors.h"

#define MS INT64_C(1000000)

static uint8_t *pattern(size_t size) {
  uint8_t *bytes = malloc(size + 1);
  CHECK(bytes != NULL);
  uint32_t state = 1;
  for (size_t i = 0; i < size; i++) {
    state = state * 1664525 + 1013904223;
    bytes[i] = (uint8_t)(state >> 24);
  }
  return bytes;
}

static void expect(cipc_connection_t *connection, const void *bytes, size_t length) {
  uint8_t *received = NULL;
  size_t count = 0;
  CHECK_EQUAL(cipc_connection_receive(connection, &received, &count, NULL, NULL, CIPC_NO_DEADLINE),
              0);
  CHECK_EQUAL(count, length);
  CHECK(length == 0 || memcmp(received, bytes, length) == 0);
  free(received);
}

static int receive_status(cipc_connection_t *connection, cipc_deadline_t deadline) {
  uint8_t *received = NULL;
  size_t count = 0;
  int status = cipc_connection_receive(connection, &received, &count, NULL, NULL, deadline);
  CHECK((status == 0) == (received != NULL));
  free(received);
  return status;
}

static int send_status(cipc_connection_t *connection, cipc_deadline_t deadline) {
  return cipc_connection_send(connection, "x", 1, NULL, 0, deadline);
}

/// A connection to one end of a socketpair whose other end is in the test's hands.
static cipc_connection_t *with_raw_peer(int *raw, uint64_t maximum) {
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  cipc_connection_t *connection;
  CHECK_EQUAL(cipc_connection_adopt(&connection, fds[0], 0, maximum), 0);
  *raw = fds[1];
  return connection;
}

static void put(int fd, const void *bytes, size_t count) {
  CHECK(write(fd, bytes, count) == (ssize_t)count);
}

// MARK: Threads

struct thread {
  pthread_t id;
  pid_t tid;
  int (*body)(cipc_connection_t *connection);
  cipc_connection_t *connection;
  int status;
};

static void *run(void *argument) {
  struct thread *thread = argument;
  __atomic_store_n(&thread->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
  thread->status = thread->body(thread->connection);
  return NULL;
}

static void start(struct thread *thread, cipc_connection_t *connection,
                  int (*body)(cipc_connection_t *)) {
  thread->tid = 0;
  thread->body = body;
  thread->connection = connection;
  CHECK(pthread_create(&thread->id, NULL, run, thread) == 0);
}

/// Until the thread sleeps in poll or on a lock; or has ended, when its own deadline came first.
static void until_asleep(struct thread *thread) {
  pid_t tid;
  while ((tid = __atomic_load_n(&thread->tid, __ATOMIC_ACQUIRE)) == 0) sched_yield();
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
  for (int asleep = 0; asleep < 3;) {
    FILE *file = fopen(path, "r");
    char state = 0;
    if (file == NULL) return;
    // The thread may end between the open and the read.
    int count = fscanf(file, "%*d (%*[^)]) %c", &state);
    (void)fclose(file);
    if (count != 1) return;
    asleep = state == 'S' ? asleep + 1 : 0;
    sched_yield();
  }
}

static int join(struct thread *thread) {
  CHECK(pthread_join(thread->id, NULL) == 0);
  return thread->status;
}

static int receives(cipc_connection_t *connection) {
  return receive_status(connection, CIPC_NO_DEADLINE);
}
static int polls(cipc_connection_t *connection) {
  return cipc_connection_poll(connection, CIPC_NO_DEADLINE);
}
static int sends_much(cipc_connection_t *connection) {
  uint8_t *bytes = pattern(8 << 20);
  int status = cipc_connection_send(connection, bytes, 8 << 20, NULL, 0, CIPC_NO_DEADLINE);
  free(bytes);
  return status;
}

// MARK: Messages

static void both_directions(void) {
  int before = open_descriptors();
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  CHECK_EQUAL(cipc_connection_flags(a), CIPC_CONNECTION_READABLE | CIPC_CONNECTION_WRITABLE);
  CHECK(cipc_connection_maximum(b) == CIPC_FRAME_MAXIMUM);
  CHECK_EQUAL(cipc_connection_send(a, "one", 3, NULL, 0, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_connection_send(a, NULL, 0, NULL, 0, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_connection_send(b, "two", 3, NULL, 0, CIPC_NO_DEADLINE), 0);
  expect(b, "one", 3);
  expect(b, "", 0);
  expect(a, "two", 3);
  CHECK_EQUAL(receive_status(a, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  cipc_connection_free(a);
  CHECK_EQUAL(receive_status(b, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
  CHECK_EQUAL(receive_status(b, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
  CHECK_EQUAL(send_status(b, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
  cipc_connection_free(b);
  CHECK_EQUAL(open_descriptors(), before);
}

static void messages_are_received_in_steps(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  cipc_wait_t wait = {0};
  uint8_t *bytes;
  size_t length;
  CHECK_EQUAL(cipc_connection_receive_step(b, &bytes, &length, NULL, NULL, &wait), CIPC_EAGAIN);
  CHECK(bytes == NULL && wait.kind == CIPC_WAIT_DESCRIPTOR);
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_connection_send(a, "one", 3, NULL, 0, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_connection_receive_step(b, &bytes, &length, NULL, NULL, &wait), 0);
  CHECK(length == 3 && memcmp(bytes, "one", 3) == 0);
  free(bytes);
  // A call with a deadline is a step, too; what it says otherwise stays as it is.
  int status = cipc_connection_poll(b, CIPC_IMMEDIATELY);
  CHECK_EQUAL(cipc_connection_retry(b, status, CIPC_CONNECTION_READABLE, &wait), CIPC_EAGAIN);
  CHECK_EQUAL(cipc_connection_retry(b, CIPC_EBUSY, CIPC_CONNECTION_READABLE, &wait), CIPC_EBUSY);
  cipc_connection_close(b);
  CHECK_EQUAL(cipc_connection_retry(b, CIPC_ETIMEDOUT, CIPC_CONNECTION_READABLE, &wait),
              CIPC_ECLOSED);
  cipc_connection_free(a);
  cipc_connection_free(b);
}

static void descriptors_are_sent_in_steps(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  cipc_wait_t wait = {0};
  const int descriptors[] = {0};
  int status, sent = 0;
  while ((status = cipc_connection_send_handles_step(a, descriptors, 1, &wait)) == 0) sent++;
  CHECK(sent > 0);
  CHECK_EQUAL(status, CIPC_EAGAIN);
  CHECK_EQUAL(cipc_connection_send_handles_step(a, descriptors, 0, &wait), CIPC_EDESCRIPTORCOUNT);
  for (; sent > 0; sent--) {
    int received;
    CHECK_EQUAL(cipc_connection_receive_handles(b, &received, 1, CIPC_NO_DEADLINE), 0);
    close(received);
  }
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_connection_send_handles_step(a, descriptors, 1, &wait), 0);
  cipc_connection_free(a);
  cipc_connection_free(b);
}

static void one_direction(void) {
  cipc_connection_t *reader, *writer;
  CHECK_EQUAL(cipc_connection_pipe(&reader, &writer, 100), 0);
  CHECK_EQUAL(cipc_connection_flags(reader), CIPC_CONNECTION_READABLE);
  CHECK_EQUAL(cipc_connection_flags(writer), CIPC_CONNECTION_WRITABLE);
  CHECK_EQUAL(send_status(reader, 0), CIPC_ENOTWRITABLE);
  CHECK_EQUAL(receive_status(writer, 0), CIPC_ENOTREADABLE);
  CHECK_EQUAL(cipc_connection_poll(writer, 0), CIPC_ENOTREADABLE);
  uint8_t bytes[101] = {0};
  CHECK_EQUAL(cipc_connection_send(writer, bytes, 101, NULL, 0, 0), CIPC_EFRAMETOOLONG);
  CHECK_EQUAL(cipc_connection_send(writer, bytes, 100, NULL, 0, 0), 0);
  expect(reader, bytes, 100);
  cipc_connection_free(writer);
  CHECK_EQUAL(receive_status(reader, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
  cipc_connection_free(reader);

  CHECK_EQUAL(cipc_connection_pipe(&reader, &writer, 0), 0);
  cipc_connection_free(reader);
  CHECK_EQUAL(send_status(writer, 0), CIPC_EPEERCLOSED);
  CHECK_EQUAL(send_status(writer, 0), CIPC_EPEERCLOSED);
  cipc_connection_close(writer);
  cipc_connection_close(writer);
  CHECK_EQUAL(send_status(writer, 0), CIPC_ECLOSED);
  CHECK_EQUAL(cipc_connection_closed(writer), 1);
  cipc_connection_free(writer);
}

static const size_t sizes[] = {0,     1,     16383,   16384,         16385,   65535,
                               65536, 65537, 1 << 20, (1 << 20) + 1, 5 << 20, 100 << 20};
#define SIZES (sizeof sizes / sizeof sizes[0])
static const uint8_t *big;

static int sends_all_sizes(cipc_connection_t *connection) {
  for (size_t i = 0; i < SIZES; i++) {
    int status = cipc_connection_send(connection, big + i, sizes[i], NULL, 0, CIPC_NO_DEADLINE);
    if (status < 0) return status;
  }
  return 0;
}

static void all_sizes(void) {
  uint8_t *bytes = pattern((100 << 20) + SIZES);
  uint8_t *buffer = malloc(100 << 20);
  big = bytes;
  for (int mode = 0; mode < 3; mode++) {
    cipc_connection_t *reader, *writer;
    CHECK_EQUAL(cipc_connection_pipe(&reader, &writer, 200 << 20), 0);
    struct thread thread;
    start(&thread, writer, sends_all_sizes);
    for (size_t i = 0; i < SIZES; i++) {
      if (mode == 0) {
        expect(reader, bytes + i, sizes[i]);
        continue;
      }
      size_t length = 1;
      if (mode == 1) {
        CHECK_EQUAL(cipc_connection_receive_length(reader, &length, CIPC_NO_DEADLINE), 0);
        CHECK_EQUAL(length, sizes[i]);
      }
      CHECK_EQUAL(cipc_connection_receive_into(reader, buffer, 100 << 20, &length, NULL, NULL,
                                               CIPC_NO_DEADLINE),
                  0);
      CHECK_EQUAL(length, sizes[i]);
      CHECK(memcmp(buffer, bytes + i, length) == 0);
    }
    CHECK_EQUAL(join(&thread), 0);
    cipc_connection_free(reader);
    cipc_connection_free(writer);
  }
  free(bytes);
  free(buffer);
}

static void a_buffer_that_is_too_small(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  int memory = memfd_create("rides along", MFD_CLOEXEC);
  CHECK_EQUAL(cipc_connection_send(a, "12345", 5, &memory, 1, 0), 0);
  CHECK_EQUAL(cipc_connection_send(a, "6", 1, NULL, 0, 0), 0);
  char buffer[5];
  size_t length = 0, count = 0;
  int *descriptors;
  for (size_t capacity = 0; capacity < 5; capacity++) {
    CHECK_EQUAL(cipc_connection_receive_into(b, buffer, capacity, &length, &descriptors, &count, 0),
                CIPC_EMSGSIZE);
    CHECK(length == 5 && descriptors == NULL && count == 0);
  }
  CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 5, &length, &descriptors, &count, 0), 0);
  CHECK(length == 5 && memcmp(buffer, "12345", 5) == 0 && count == 1);
  CHECK(fcntl(descriptors[0], F_GETFD) == FD_CLOEXEC);
  close(descriptors[0]);
  free(descriptors);
  expect(b, "6", 1);
  close(memory);
  cipc_connection_free(a);
  cipc_connection_free(b);
}

static void a_thousand_descriptors(void) {
  if (!descriptors_allowed(4096)) return;
  int before = open_descriptors();
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  int list[1000];
  for (int i = 0; i < 1000; i++) list[i] = 2;
  CHECK_EQUAL(cipc_connection_send(a, "", 0, list, 1000, 0), 0);
  CHECK_EQUAL(cipc_connection_send(a, "more", 4, list, 1000, 0), 0);
  CHECK_EQUAL(cipc_connection_send(a, "unwanted", 8, list, 1000, 0), 0);
  for (int i = 0; i < 2; i++) {
    uint8_t *bytes;
    size_t length, count;
    int *descriptors;
    CHECK_EQUAL(cipc_connection_receive(b, &bytes, &length, &descriptors, &count, 0), 0);
    CHECK_EQUAL(count, 1000);
    for (size_t d = 0; d < count; d++) CHECK(close(descriptors[d]) == 0);
    free(descriptors);
    free(bytes);
  }
  expect(b, "unwanted", 8);
  cipc_connection_free(a);
  cipc_connection_free(b);
  CHECK_EQUAL(open_descriptors(), before);
}

// MARK: Bad input

static void malformed_streams(void) {
  static const struct {
    const char *bytes;
    size_t count;
    int status;
  } streams[] = {
      {"\0", 1, CIPC_ETRUNCATED},
      {"\0\0\0\3ab", 6, CIPC_ETRUNCATED},
      {"\xff\xff\xff\xff\0\0\0\0", 8, CIPC_ETRUNCATED},
      {"\xff\xff\xff\xff\0\0\0\0\0\0\0\5abcd", 16, CIPC_ETRUNCATED},
      {"\xff\xff\xff\xfe----", 8, CIPC_EFRAMELENGTH},
      {"\x80\0\0\0", 4, CIPC_EFRAMELENGTH},
      {"\0\1\0\0----", 8, CIPC_EFRAMETOOLONG},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, CIPC_EFRAMETOOLONG},
  };
  int before = open_descriptors();
  for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
    for (int form = 0; form < 3; form++) {
      int raw;
      cipc_connection_t *connection = with_raw_peer(&raw, 65535);
      put(raw, "\0\0\0\2ok", 6);
      put(raw, streams[i].bytes, streams[i].count);
      if (streams[i].status == CIPC_ETRUNCATED) CHECK(shutdown(raw, SHUT_WR) == 0);
      expect(connection, "ok", 2);
      CHECK_EQUAL(cipc_connection_poll(connection, CIPC_NO_DEADLINE), 0);
      char buffer[10];
      size_t length;
      int status;
      if (form == 0) {
        status = receive_status(connection, CIPC_NO_DEADLINE);
      } else if (form == 1) {
        status = cipc_connection_receive_into(connection, buffer, 10, &length, NULL, NULL,
                                              CIPC_NO_DEADLINE);
      } else {
        status = cipc_connection_receive_length(connection, &length, CIPC_NO_DEADLINE);
        if (status == 0) status = receive_status(connection, CIPC_NO_DEADLINE);
      }
      CHECK_EQUAL(status, streams[i].status);
      CHECK_EQUAL(receive_status(connection, CIPC_NO_DEADLINE), CIPC_ECLOSED);
      CHECK_EQUAL(cipc_connection_poll(connection, CIPC_NO_DEADLINE), CIPC_ECLOSED);
      CHECK_EQUAL(send_status(connection, CIPC_NO_DEADLINE), CIPC_ECLOSED);
      CHECK(read(raw, buffer, 1) == 0);
      cipc_connection_free(connection);
      close(raw);
    }
  }
  CHECK_EQUAL(open_descriptors(), before);
}

static void a_frame_in_pieces(void) {
  int raw;
  cipc_connection_t *connection = with_raw_peer(&raw, 0);
  uint8_t *bytes = pattern(100000);
  uint8_t *buffer = malloc(100000);
  size_t length;
  uint8_t stream[100004] = {0, 1, 0x86, 0xa0};
  memcpy(stream + 4, bytes, 100000);
  static const size_t pieces[] = {2, 1, 30000, 1, 60000, 9990, 1};
  size_t at = 0;
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    put(raw, stream + at, pieces[i]);
    at += pieces[i];
    // All forms of waiting may be mixed.
    memset(buffer, 0, 100000);
    CHECK_EQUAL(cipc_connection_receive_into(connection, buffer, 100000, &length, NULL, NULL,
                                             cipc_clock_deadline(1)),
                CIPC_ETIMEDOUT);
    CHECK_EQUAL(receive_status(connection, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
    if (at < 4) {
      CHECK_EQUAL(cipc_connection_receive_length(connection, &length, CIPC_IMMEDIATELY),
                  CIPC_ETIMEDOUT);
    }
  }
  CHECK_EQUAL(cipc_connection_poll(connection, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  put(raw, stream + at, sizeof stream - at);
  CHECK_EQUAL(cipc_connection_poll(connection, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_connection_receive_into(connection, buffer, 100000, &length, NULL, NULL,
                                           CIPC_NO_DEADLINE),
              0);
  CHECK(length == 100000 && memcmp(buffer, bytes, 100000) == 0);
  cipc_connection_free(connection);
  close(raw);
  free(bytes);
  free(buffer);
}

static void a_timeout_in_the_middle_of_sending(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  uint8_t *bytes = pattern(8 << 20);
  CHECK_EQUAL(cipc_connection_send(a, "whole", 5, NULL, 0, 0), 0);
  cipc_deadline_t begin = cipc_clock_now();
  CHECK_EQUAL(cipc_connection_send(a, bytes, 8 << 20, NULL, 0, begin + 20 * MS), CIPC_ETIMEDOUT);
  CHECK(cipc_clock_now() >= begin + 20 * MS);
  CHECK_EQUAL(send_status(a, CIPC_NO_DEADLINE), CIPC_ECLOSED);
  expect(b, "whole", 5);
  CHECK_EQUAL(receive_status(b, CIPC_NO_DEADLINE), CIPC_ETRUNCATED);
  CHECK_EQUAL(receive_status(b, CIPC_NO_DEADLINE), CIPC_ECLOSED);
  cipc_connection_free(a);
  cipc_connection_free(b);
  free(bytes);
}

static void a_timeout_before_the_first_byte(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  uint8_t bytes[1000] = {0};
  int status, sent = 0;
  while ((status = cipc_connection_send(a, bytes, 1000, NULL, 0, CIPC_IMMEDIATELY)) == 0) sent++;
  CHECK_EQUAL(status, CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_connection_send(a, bytes, 1000, NULL, 0, cipc_clock_deadline(MS)),
              CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_connection_closed(a), 0);
  for (int i = 0; i < sent; i++) expect(b, bytes, 1000);
  CHECK_EQUAL(receive_status(b, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_connection_send(a, "again", 5, NULL, 0, CIPC_IMMEDIATELY), 0);
  expect(b, "again", 5);
  cipc_connection_free(a);
  cipc_connection_free(b);
}

static void a_writer_killed_in_the_middle(void) {
  cipc_connection_t *reader, *writer;
  CHECK_EQUAL(cipc_connection_pipe(&reader, &writer, 0), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    cipc_connection_free(reader);
    _exit(sends_much(writer) == 0 ? 0 : 1);
  }
  cipc_connection_free(writer);
  size_t length = 0;
  // Some of it is here, so the child is in the middle: it needs a reader to get further.
  CHECK_EQUAL(cipc_connection_receive_into(reader, NULL, 0, &length, NULL, NULL, CIPC_NO_DEADLINE),
              CIPC_EMSGSIZE);
  CHECK_EQUAL(length, 8 << 20);
  CHECK(kill(child, SIGKILL) == 0);
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
  CHECK_EQUAL(receive_status(reader, CIPC_NO_DEADLINE), CIPC_ETRUNCATED);
  CHECK_EQUAL(receive_status(reader, CIPC_NO_DEADLINE), CIPC_ECLOSED);
  cipc_connection_free(reader);
}

static void a_peer_that_leaves_without_reading(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  CHECK_EQUAL(send_status(a, 0), 0);
  CHECK_EQUAL(cipc_connection_send(b, "goodbye", 7, NULL, 0, 0), 0);
  cipc_connection_free(b);
  // ECONNRESET at first, then EPIPE.
  CHECK_EQUAL(send_status(a, 0), CIPC_EPEERCLOSED);
  CHECK_EQUAL(send_status(a, 0), CIPC_EPEERCLOSED);
  expect(a, "goodbye", 7);
  CHECK_EQUAL(receive_status(a, 0), CIPC_EPEERCLOSED);
  CHECK_EQUAL(receive_status(a, 0), CIPC_EPEERCLOSED);
  cipc_connection_free(a);
}

static void a_peer_that_leaves_in_the_middle_of_sending(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  CHECK_EQUAL(cipc_connection_send(b, "goodbye", 7, NULL, 0, 0), 0);
  struct thread thread;
  start(&thread, a, sends_much);
  until_asleep(&thread);
  cipc_connection_free(b);
  CHECK_EQUAL(join(&thread), CIPC_EPEERCLOSED);
  expect(a, "goodbye", 7);
  CHECK_EQUAL(send_status(a, 0), CIPC_EPEERCLOSED);
  cipc_connection_free(a);
}

// MARK: Close

static void close_wakes_whoever_is_inside(void) {
  int before = open_descriptors();
  int (*const bodies[])(cipc_connection_t *) = {receives, polls, sends_much};
  for (int freed = 0; freed < 2; freed++) {
    for (size_t i = 0; i < 3; i++) {
      cipc_connection_t *a, *b;
      CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
      // The second and third wait for their turn, or poll as well.
      struct thread threads[3];
      for (int t = 0; t < 3; t++) {
        start(&threads[t], a, bodies[i]);
        until_asleep(&threads[t]);
      }
      if (freed) {
        cipc_connection_free(a);
      } else {
        cipc_connection_close(a);
      }
      for (int t = 0; t < 3; t++) CHECK_EQUAL(join(&threads[t]), CIPC_ECLOSED);
      CHECK_EQUAL(receive_status(b, CIPC_NO_DEADLINE), i == 2 ? CIPC_ETRUNCATED : CIPC_EPEERCLOSED);
      if (!freed) cipc_connection_free(a);
      cipc_connection_free(b);
    }
  }
  CHECK_EQUAL(open_descriptors(), before);
}

static int receives_in_time(cipc_connection_t *connection) {
  return receive_status(connection, cipc_clock_deadline(20 * MS));
}

static void waiting_for_the_turn_counts(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  struct thread first, second, third;
  start(&first, a, receives);
  until_asleep(&first);
  CHECK_EQUAL(receive_status(a, CIPC_IMMEDIATELY), CIPC_EBUSY);
  CHECK_EQUAL(receive_status(a, -1), CIPC_EBUSY);
  start(&second, a, receives_in_time);
  until_asleep(&second);
  start(&third, a, receives);
  CHECK_EQUAL(join(&second), CIPC_ETIMEDOUT);
  until_asleep(&third);
  CHECK_EQUAL(send_status(b, 0), 0);
  CHECK_EQUAL(join(&first), 0);
  CHECK_EQUAL(send_status(b, 0), 0);
  CHECK_EQUAL(join(&third), 0);
  cipc_connection_free(a);
  cipc_connection_free(b);
}

/// A poller whose message another thread reads ahead is told.
static void a_message_read_ahead_wakes_a_poller(void) {
  int raw;
  cipc_connection_t *connection = with_raw_peer(&raw, 0);
  struct thread receiver;
  start(&receiver, connection, receives);
  until_asleep(&receiver);
  struct thread poller;
  start(&poller, connection, polls);
  until_asleep(&poller);
  put(raw, "\0\0\0\1a\0\0\0\1b", 10);
  CHECK_EQUAL(join(&receiver), 0);
  CHECK_EQUAL(join(&poller), 0);
  CHECK_EQUAL(cipc_connection_poll(connection, CIPC_IMMEDIATELY), 0);
  expect(connection, "b", 1);
  CHECK_EQUAL(cipc_connection_poll(connection, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  close(raw);
  CHECK_EQUAL(cipc_connection_poll(connection, CIPC_IMMEDIATELY), 0);
  cipc_connection_free(connection);
}

/// Each of several pollers is told of it, whatever else waits: here a sender, for room.
static void a_message_read_ahead_wakes_every_poller(void) {
  int raw;
  cipc_connection_t *connection = with_raw_peer(&raw, 0);
  struct thread sender, receiver, pollers[2];
  start(&sender, connection, sends_much);
  until_asleep(&sender);
  for (int round = 0; round < 500; round++) {
    start(&receiver, connection, receives);
    until_asleep(&receiver);
    for (int p = 0; p < 2; p++) start(&pollers[p], connection, polls);
    // Every other round they may come when the message was read already.
    for (int p = 0; p < 2 && round % 2 == 0; p++) until_asleep(&pollers[p]);
    put(raw, "\0\0\0\1a\0\0\0\1b", 10);
    CHECK_EQUAL(join(&receiver), 0);
    for (int p = 0; p < 2; p++) CHECK_EQUAL(join(&pollers[p]), 0);
    expect(connection, "b", 1);
  }
  cipc_connection_close(connection);
  CHECK_EQUAL(join(&sender), CIPC_ECLOSED);
  cipc_connection_free(connection);
  close(raw);
}

#define ROUNDS 3000

/// Each message is one byte repeated; torn or mixed frames would show.
static int sends_rounds(cipc_connection_t *connection) {
  uint8_t bytes[40000];
  for (int i = 0; i < ROUNDS; i++) {
    size_t length = (size_t)(i * 37 % (int)sizeof bytes) + 1;
    memset(bytes, i, length);
    int status = cipc_connection_send(connection, bytes, length, NULL, 0, CIPC_NO_DEADLINE);
    if (status < 0) return status;
  }
  return 0;
}

static int receives_rounds(cipc_connection_t *connection) {
  uint8_t bytes[40000];
  size_t length;
  int count = 0;
  for (;;) {
    int status = cipc_connection_receive_into(connection, bytes, sizeof bytes, &length, NULL, NULL,
                                              CIPC_NO_DEADLINE);
    if (status < 0) return status == CIPC_EPEERCLOSED ? count : status;
    for (size_t i = 1; i < length; i++) CHECK(bytes[i] == bytes[0]);
    count++;
  }
}

static void many_threads(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  struct thread threads[6];
  for (int i = 0; i < 3; i++) start(&threads[i], b, receives_rounds);
  for (int i = 3; i < 6; i++) start(&threads[i], a, sends_rounds);
  for (int i = 3; i < 6; i++) CHECK_EQUAL(join(&threads[i]), 0);
  cipc_connection_free(a);
  int count = 0;
  for (int i = 0; i < 3; i++) {
    int received = join(&threads[i]);
    CHECK(received >= 0);
    count += received;
  }
  CHECK_EQUAL(count, 3 * ROUNDS);
  cipc_connection_free(b);
}

// MARK: Steps

static void sending_in_steps(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  uint8_t *bytes = pattern(3 << 20);
  uint8_t *buffer = malloc(3 << 20);
  uint64_t progress = 0, other = 0;
  cipc_wait_t wait = {0};
  size_t length;
  CHECK_EQUAL(cipc_connection_send_step(a, "small", 5, NULL, 0, &progress, &wait), 0);
  expect(b, "small", 5);
  progress = 0;
  int status, steps = 0;
  while ((status = cipc_connection_send_step(a, bytes, 3 << 20, NULL, 0, &progress, &wait)) ==
         CIPC_EAGAIN) {
    steps++;
    CHECK_EQUAL((int)wait.kind, CIPC_WAIT_DESCRIPTOR);
    CHECK_EQUAL((int)wait.directions, CIPC_POLLER_WRITABLE);
    CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
    CHECK_EQUAL(cipc_connection_send_step(a, "x", 1, NULL, 0, &other, &wait), CIPC_EBUSY);
    CHECK_EQUAL(send_status(a, CIPC_IMMEDIATELY), CIPC_EBUSY);
    CHECK_EQUAL(send_status(a, cipc_clock_deadline(1)), CIPC_ETIMEDOUT);
    uint64_t wrong = progress + 1;
    CHECK_EQUAL(cipc_connection_send_step(a, "x", 1, NULL, 0, &wrong, &wait), CIPC_EINVAL);
    CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 3 << 20, &length, NULL, NULL, 0),
                CIPC_ETIMEDOUT);
  }
  CHECK_EQUAL(status, 0);
  CHECK(steps > 1);
  CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 3 << 20, &length, NULL, NULL, 0), 0);
  CHECK(length == 3 << 20 && memcmp(buffer, bytes, length) == 0);
  CHECK_EQUAL(send_status(a, 0), 0);

  cipc_connection_abandon(a, 0);
  CHECK_EQUAL(cipc_connection_closed(a), 0);
  progress = 0;
  CHECK_EQUAL(cipc_connection_send_step(a, bytes, 3 << 20, NULL, 0, &progress, &wait), CIPC_EAGAIN);
  struct thread thread;
  start(&thread, a, sends_much);
  until_asleep(&thread);
  cipc_connection_abandon(a, progress);
  CHECK_EQUAL(join(&thread), CIPC_ECLOSED);
  CHECK_EQUAL(cipc_connection_send_step(a, bytes, 3 << 20, NULL, 0, &progress, &wait),
              CIPC_ECLOSED);
  expect(b, "x", 1);
  CHECK_EQUAL(receive_status(b, CIPC_NO_DEADLINE), CIPC_ETRUNCATED);
  cipc_connection_free(a);
  cipc_connection_free(b);
  free(bytes);
  free(buffer);
}

// MARK: Foreign descriptors

static void foreign_pipes(void) {
  int before = open_descriptors();
  int fds[2];
  CHECK(pipe(fds) == 0);
  cipc_connection_t *reader, *writer;
  CHECK_EQUAL(cipc_connection_adopt(&reader, fds[0], CIPC_CONNECTION_WRITABLE, 0), CIPC_EBADF);
  CHECK_EQUAL(cipc_connection_adopt(&writer, fds[1], CIPC_CONNECTION_READABLE, 0), CIPC_EBADF);
  CHECK_EQUAL(cipc_connection_adopt(&writer, fds[1], 64, 0), CIPC_EINVAL);
  CHECK_EQUAL(cipc_connection_adopt(&writer, -1, 0, 0), CIPC_EBADF);
  CHECK_EQUAL(cipc_connection_adopt(&reader, fds[0], 0, 0), 0);
  CHECK_EQUAL(cipc_connection_adopt(&writer, fds[1], 0, 0), 0);
  CHECK(fcntl(fds[0], F_GETFD) == FD_CLOEXEC && fcntl(fds[1], F_GETFD) == FD_CLOEXEC);
  CHECK_EQUAL(cipc_connection_flags(reader), CIPC_CONNECTION_READABLE);
  CHECK_EQUAL(cipc_connection_flags(writer), CIPC_CONNECTION_WRITABLE);
  CHECK_EQUAL(cipc_connection_send(writer, "x", 1, fds, 1, 0), CIPC_EOPNOTSUPP);
  CHECK_EQUAL(cipc_connection_send(writer, "pipe", 4, NULL, 0, 0), 0);
  expect(reader, "pipe", 4);
  CHECK_EQUAL(receive_status(reader, cipc_clock_deadline(MS)), CIPC_ETIMEDOUT);
  struct thread thread;
  start(&thread, writer, sends_much);
  until_asleep(&thread);
  uint8_t *bytes = pattern(8 << 20);
  expect(reader, bytes, 8 << 20);
  free(bytes);
  CHECK_EQUAL(join(&thread), 0);
  CHECK((fcntl(fds[0], F_GETFL) & O_NONBLOCK) == 0 && (fcntl(fds[1], F_GETFL) & O_NONBLOCK) == 0);
  // In the middle of a frame, and with SIGPIPE's default action.
  start(&thread, writer, sends_much);
  until_asleep(&thread);
  cipc_connection_free(reader);
  CHECK_EQUAL(join(&thread), CIPC_EPEERCLOSED);
  CHECK_EQUAL(send_status(writer, 0), CIPC_ECLOSED);
  cipc_connection_free(writer);

  CHECK(pipe(fds) == 0);
  CHECK_EQUAL(cipc_connection_adopt(&writer, fds[1], 0, 0), 0);
  close(fds[0]);
  CHECK_EQUAL(send_status(writer, 0), CIPC_EPEERCLOSED);
  CHECK_EQUAL(send_status(writer, 0), CIPC_EPEERCLOSED);
  cipc_connection_free(writer);
  CHECK_EQUAL(open_descriptors(), before);
}

// MARK: Sharing and moving

static void duplicates(void) {
  int before = open_descriptors();
  cipc_connection_t *a, *b, *copy;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  for (const char *letter = "1234567"; *letter != 0; letter++) {
    CHECK_EQUAL(cipc_connection_send(a, letter, 1, NULL, 0, 0), 0);
  }
  // Reads ahead all that is there.
  expect(b, "1", 1);
  CHECK_EQUAL(cipc_connection_duplicate(b, &copy), 0);
  CHECK_EQUAL(receive_status(copy, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  expect(b, "2", 1);
  CHECK_EQUAL(cipc_connection_send(a, "8", 1, NULL, 0, 0), 0);
  CHECK_EQUAL(cipc_connection_send(a, "9", 1, NULL, 0, 0), 0);
  // Not any more.
  expect(copy, "8", 1);
  for (const char *letter = "34567"; *letter != 0; letter++) expect(b, letter, 1);
  expect(b, "9", 1);
  CHECK_EQUAL(send_status(copy, 0), 0);
  expect(a, "x", 1);
  cipc_connection_free(b);
  CHECK_EQUAL(send_status(a, 0), 0);
  expect(copy, "x", 1);
  cipc_connection_free(copy);
  CHECK_EQUAL(send_status(a, 0), CIPC_EPEERCLOSED);
  cipc_connection_free(a);

  int raw;
  a = with_raw_peer(&raw, 0);
  put(raw, "\0\0\0\1x\0", 6);
  expect(a, "x", 1);
  CHECK_EQUAL(cipc_connection_duplicate(a, &copy), CIPC_EBUSY);
  CHECK(copy == NULL);
  put(raw, "\0\0\2ab", 5);
  expect(a, "ab", 2);
  CHECK_EQUAL(cipc_connection_duplicate(a, &copy), 0);
  cipc_connection_free(copy);
  cipc_connection_free(a);
  close(raw);
  CHECK_EQUAL(open_descriptors(), before);
}

/// At every point of a stream with descriptors in it, read up to there in every way.
static void moving(void) {
  int before = open_descriptors();
  for (int parts = 0; parts < 3; parts++) {
    for (int taken = 0; taken < 3; taken++) {
      cipc_connection_t *a, *b, *moved;
      int fds[2];
      CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
      CHECK_EQUAL(cipc_connection_adopt(&a, fds[0], 0, 1 << 20), 0);
      CHECK_EQUAL(cipc_connection_adopt(&b, fds[1], 0, 1 << 20), 0);
      uint8_t *bytes = pattern(60000);
      int two[2] = {1, 2};
      CHECK_EQUAL(cipc_connection_send(a, "0", 1, NULL, 0, 0), 0);
      CHECK_EQUAL(cipc_connection_send(a, "1", 1, NULL, 0, 0), 0);
      CHECK_EQUAL(cipc_connection_send(a, "22", 2, two, 2, 0), 0);
      uint8_t header[12];
      int size = cipc_frame_encode_header(header, 60000);
      size_t out = parts == 0 ? 0 : parts == 1 ? 2 : 30000;
      if (parts == 1) put(fds[0], header, 2);
      if (parts == 2) {
        put(fds[0], header, (size_t)size);
        put(fds[0], bytes, 30000 - (size_t)size);
      }
      for (int i = 0; i < taken; i++) expect(b, i == 0 ? "0" : "1", 1);
      size_t length;
      uint8_t *buffer = malloc(60000);
      if (taken == 2) {
        CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 1, &length, NULL, NULL, 0),
                    CIPC_EMSGSIZE);
      }
      cipc_connection_state_t state;
      CHECK_EQUAL(cipc_connection_export(b, &state), 0);
      CHECK_EQUAL(cipc_connection_import(&moved, &state), 0);
      CHECK(state.descriptor == -1 && state.unread == NULL);
      cipc_connection_free(b);
      for (int i = taken; i < 2; i++) expect(moved, i == 0 ? "0" : "1", 1);
      int *received;
      size_t count;
      CHECK_EQUAL(cipc_connection_receive_into(moved, buffer, 10, &length, &received, &count, 0),
                  0);
      CHECK(length == 2 && memcmp(buffer, "22", 2) == 0 && count == 2);
      close(received[0]);
      close(received[1]);
      free(received);
      if (parts == 2) {
        // Moved once more in the middle of a body.
        CHECK_EQUAL(cipc_connection_receive_into(moved, buffer, 60000, &length, NULL, NULL, 0),
                    CIPC_ETIMEDOUT);
        CHECK_EQUAL(cipc_connection_export(moved, &state), 0);
        CHECK_EQUAL(state.unread_length, 30000);
        cipc_connection_free(moved);
        CHECK_EQUAL(cipc_connection_import(&moved, &state), 0);
      }
      if (parts > 0) {
        if (parts == 1) put(fds[0], header + 2, (size_t)size - 2);
        size_t body = parts == 1 ? 0 : out - (size_t)size;
        put(fds[0], bytes + body, 60000 - body);
        CHECK_EQUAL(cipc_connection_receive_into(moved, buffer, 60000, &length, NULL, NULL, 0), 0);
        CHECK(length == 60000 && memcmp(buffer, bytes, 60000) == 0);
      }
      CHECK_EQUAL(send_status(moved, 0), 0);
      expect(a, "x", 1);
      cipc_connection_free(moved);
      // Descriptors that nobody received are closed in a thread, and the socket with them.
      CHECK_EQUAL(receive_status(a, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
      cipc_connection_free(a);
      free(buffer);
      free(bytes);
    }
  }
  CHECK_EQUAL(open_descriptors(), before);
}

static void bad_states(void) {
  int before = open_descriptors();
  cipc_connection_t *a, *b, *moved;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  CHECK_EQUAL(cipc_connection_send(a, "1", 1, NULL, 0, 0), 0);
  int two[2] = {1, 2};
  CHECK_EQUAL(cipc_connection_send(a, "2", 1, two, 2, 0), 0);
  expect(b, "1", 1);
  size_t length;
  CHECK_EQUAL(cipc_connection_receive_length(b, &length, 0), 0);
  cipc_connection_state_t state;
  CHECK_EQUAL(cipc_connection_export(b, &state), 0);
  CHECK_EQUAL(state.descriptor_count, 2);
  uint64_t good = state.offsets[1];
  state.offsets[1] = state.unread_length;
  CHECK_EQUAL(cipc_connection_import(&moved, &state), CIPC_EINVAL);
  state.offsets[1] = state.offsets[0] - 1;
  CHECK_EQUAL(cipc_connection_import(&moved, &state), CIPC_EINVAL);
  state.offsets[1] = good;
  state.flags = 128;
  CHECK_EQUAL(cipc_connection_import(&moved, &state), CIPC_EINVAL);
  CHECK(moved == NULL);
  cipc_connection_state_dispose(&state);
  struct thread thread;
  CHECK_EQUAL(receive_status(b, 0), 0);
  start(&thread, b, receives);
  until_asleep(&thread);
  CHECK_EQUAL(cipc_connection_export(b, &state), CIPC_EBUSY);
  CHECK_EQUAL(cipc_connection_duplicate(b, &moved), CIPC_EBUSY);
  cipc_connection_close(b);
  CHECK_EQUAL(join(&thread), CIPC_ECLOSED);
  CHECK_EQUAL(cipc_connection_export(b, &state), CIPC_ECLOSED);
  CHECK_EQUAL(cipc_connection_duplicate(b, &moved), CIPC_ECLOSED);
  int fd;
  CHECK_EQUAL(cipc_connection_descriptor(b, &fd), CIPC_ECLOSED);
  cipc_connection_free(a);
  cipc_connection_free(b);
  CHECK_EQUAL(open_descriptors(), before);
}

/// Both have waited, so there is an eventfd that the child inherits: closing there wakes no thread
/// here, and the other way round.
static void after_a_fork(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  CHECK_EQUAL(receive_status(a, cipc_clock_deadline(1)), CIPC_ETIMEDOUT);
  CHECK_EQUAL(receive_status(b, cipc_clock_deadline(1)), CIPC_ETIMEDOUT);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    cipc_connection_free(a);
    expect(b, "to the child", 12);
    CHECK_EQUAL(cipc_connection_send(b, "back", 4, NULL, 0, 0), 0);
    struct thread thread;
    start(&thread, b, receives);
    until_asleep(&thread);
    cipc_connection_close(b);
    CHECK_EQUAL(join(&thread), CIPC_ECLOSED);
    _exit(0);
  }
  cipc_connection_close(b);
  CHECK_EQUAL(cipc_connection_send(a, "to the child", 12, NULL, 0, 0), 0);
  expect(a, "back", 4);
  CHECK_EQUAL(receive_status(a, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  cipc_connection_free(a);
  cipc_connection_free(b);
}

/// What the two descriptors of a watch say now, as bits.
static int watched(const int descriptors[2]) {
  struct pollfd entries[2] = {{descriptors[0], POLLIN, 0}, {descriptors[1], POLLIN, 0}};
  CHECK(poll(entries, 2, 0) >= 0);
  return (entries[0].revents != 0) | (entries[1].revents != 0) << 1;
}

static void a_watch_knows_what_was_read_ahead(void) {
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  int watch[2], again[2];
  CHECK_EQUAL(cipc_connection_watch(b, watch), 0);
  CHECK_EQUAL(watched(watch), 0);
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_connection_send(a, "xy", 2, NULL, 0, CIPC_NO_DEADLINE), 0);
  }
  CHECK_EQUAL(watched(watch), 1);
  for (int i = 0; i < 3; i++) {
    char buffer[2];
    size_t length;
    CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 2, &length, NULL, NULL, CIPC_IMMEDIATELY),
                0);
    CHECK_EQUAL(watched(watch), i < 2 ? 2 : 0);
    CHECK_EQUAL(cipc_connection_poll(b, CIPC_IMMEDIATELY), i < 2 ? 0 : CIPC_ETIMEDOUT);
  }
  // One made when there is something already.
  CHECK_EQUAL(cipc_connection_watch(a, again), 0);
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_connection_send(b, "", 0, NULL, 0, CIPC_NO_DEADLINE), 0);
    CHECK_EQUAL(cipc_connection_send(a, "", 0, NULL, 0, CIPC_NO_DEADLINE), 0);
  }
  cipc_connection_t *c, *d;
  CHECK_EQUAL(cipc_connection_pair(&c, &d, 0), 0);
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_connection_send(c, "", 0, NULL, 0, CIPC_NO_DEADLINE), 0);
  }
  size_t length;
  CHECK_EQUAL(cipc_connection_receive_into(d, NULL, 0, &length, NULL, NULL, CIPC_IMMEDIATELY), 0);
  int late[2];
  CHECK_EQUAL(cipc_connection_watch(d, late), 0);
  CHECK_EQUAL(watched(late), 2);
  // The peer's end, and then ours.
  cipc_connection_free(c);
  CHECK_EQUAL(watched(late), 3);
  CHECK_EQUAL(cipc_connection_receive_into(d, NULL, 0, &length, NULL, NULL, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(watched(late), 1);
  cipc_connection_close(d);
  CHECK_EQUAL(watched(late) & 2, 2);
  CHECK_EQUAL(cipc_connection_watch(d, again), CIPC_ECLOSED);
  cipc_connection_free(d);
  cipc_connection_free(a);
  cipc_connection_free(b);

  CHECK_EQUAL(cipc_connection_pipe(&a, &b, 0), 0);
  CHECK_EQUAL(cipc_connection_watch(b, again), CIPC_ENOTREADABLE);
  cipc_connection_free(a);
  cipc_connection_free(b);
}

/// One byte with descriptors, as Python's send_handle sends it.
static void push_byte(int raw, char byte, const int *descriptors, size_t count) {
  struct iovec vector = {.iov_base = &byte, .iov_len = 1};
  union {
    char bytes[CMSG_SPACE(4 * sizeof(int))];
    struct cmsghdr alignment;
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (count > 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
  }
  CHECK(sendmsg(raw, &message, 0) == 1);
}

static bool same_file(int first, int second) {
  struct stat one, other;
  CHECK(fstat(first, &one) == 0 && fstat(second, &other) == 0);
  return one.st_ino == other.st_ino && one.st_dev == other.st_dev;
}

static void handles_between_messages(void) {
  int before = open_descriptors();
  int raw, pipes[2];
  CHECK(pipe2(pipes, O_CLOEXEC) == 0);
  cipc_connection_t *connection = with_raw_peer(&raw, 0);
  int got[2] = {-1, -1};
  CHECK_EQUAL(cipc_connection_receive_handles(connection, got, 1, CIPC_IMMEDIATELY),
              CIPC_ETIMEDOUT);
  // All of it before anything is received, so that it is read ahead together.
  CHECK(send(raw, "\0\0\0\1a", 5, 0) == 5);
  push_byte(raw, 1, &pipes[0], 1);
  push_byte(raw, 2, pipes, 2);
  CHECK(send(raw, "\0\0\0\1b\0\0\0\1c", 10, 0) == 10);
  expect(connection, "a", 1);
  CHECK_EQUAL(cipc_connection_receive_handles(connection, got, 1, CIPC_NO_DEADLINE), 0);
  CHECK(same_file(got[0], pipes[0]));
  CHECK(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
  CHECK(close(got[0]) == 0);
  CHECK_EQUAL(cipc_connection_acknowledge(connection, CIPC_NO_DEADLINE), 0);
  char answer = 0;
  CHECK(recv(raw, &answer, 1, 0) == 1 && answer == 'A');
  CHECK_EQUAL(cipc_connection_receive_handles(connection, got, 2, CIPC_NO_DEADLINE), 0);
  CHECK(close(got[0]) == 0 && close(got[1]) == 0);
  expect(connection, "b", 1);
  expect(connection, "c", 1);

  // The other way round.
  CHECK_EQUAL(cipc_connection_send_handles(connection, pipes, 2, CIPC_NO_DEADLINE), 0);
  cipc_connection_t *peer;
  CHECK_EQUAL(cipc_connection_adopt(&peer, raw, 0, 0), 0);
  CHECK_EQUAL(cipc_connection_receive_handles(peer, got, 2, CIPC_NO_DEADLINE), 0);
  CHECK(same_file(got[1], pipes[1]));
  CHECK(close(got[0]) == 0 && close(got[1]) == 0);
  CHECK_EQUAL(cipc_connection_acknowledged(connection, cipc_clock_deadline(MS)), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_connection_acknowledge(peer, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_connection_acknowledged(connection, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(send_status(peer, CIPC_NO_DEADLINE), 0);
  expect(connection, "x", 1);
  CHECK_EQUAL(cipc_connection_send_handles(peer, pipes, 0, 0), CIPC_EDESCRIPTORCOUNT);
  CHECK_EQUAL(cipc_connection_receive_handles(peer, got, 253, 0), CIPC_EDESCRIPTORCOUNT);
  CHECK_EQUAL(cipc_connection_send_handles(peer, (int[]){-1}, 1, 0), CIPC_EBADF);
  cipc_connection_free(connection);
  CHECK_EQUAL(cipc_connection_receive_handles(peer, got, 1, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
  CHECK_EQUAL(cipc_connection_send_handles(peer, pipes, 1, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
  cipc_connection_free(peer);
  CHECK(close(pipes[0]) == 0 && close(pipes[1]) == 0);
  CHECK_EQUAL(open_descriptors(), before);
}

/// What is not descriptors, or not as many, ends the connection and leaves none open.
static void handles_that_are_none(void) {
  int before = open_descriptors();
  const struct {
    char byte;
    size_t count;
  } wrong[] = {{1, 0}, {2, 2}, {0, 1}, {2, 1}, {'A', 1}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    int raw, got;
    cipc_connection_t *connection = with_raw_peer(&raw, 0);
    push_byte(raw, wrong[i].byte, (int[]){raw, raw}, wrong[i].count);
    CHECK_EQUAL(cipc_connection_receive_handles(connection, &got, 1, CIPC_NO_DEADLINE),
                CIPC_EHANDLES);
    CHECK_EQUAL(receive_status(connection, CIPC_NO_DEADLINE), CIPC_ECLOSED);
    cipc_connection_free(connection);
    CHECK(close(raw) == 0);
    CHECK_EQUAL(open_descriptors(), before);
  }
  int raw, got;
  cipc_connection_t *connection = with_raw_peer(&raw, 0);
  push_byte(raw, 'B', NULL, 0);
  CHECK_EQUAL(cipc_connection_acknowledged(connection, CIPC_NO_DEADLINE), CIPC_EHANDLES);
  cipc_connection_free(connection);
  CHECK(close(raw) == 0);

  // In the middle of a message nothing is lost.
  connection = with_raw_peer(&raw, 0);
  CHECK(send(raw, "\0\0\0\2a", 5, 0) == 5);
  CHECK_EQUAL(receive_status(connection, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_connection_receive_handles(connection, &got, 1, CIPC_IMMEDIATELY), CIPC_EINVAL);
  CHECK(send(raw, "b", 1, 0) == 1);
  expect(connection, "ab", 2);
  cipc_connection_free(connection);
  CHECK(close(raw) == 0);
  CHECK_EQUAL(open_descriptors(), before);
}

int main(void) {
  TEST(a_watch_knows_what_was_read_ahead);
  TEST(both_directions);
  TEST(messages_are_received_in_steps);
  TEST(descriptors_are_sent_in_steps);
  TEST(one_direction);
  TEST(all_sizes);
  TEST(a_buffer_that_is_too_small);
  TEST(a_thousand_descriptors);
  TEST(malformed_streams);
  TEST(a_frame_in_pieces);
  TEST(a_timeout_in_the_middle_of_sending);
  TEST(a_timeout_before_the_first_byte);
  TEST(a_writer_killed_in_the_middle);
  TEST(a_peer_that_leaves_without_reading);
  TEST(a_peer_that_leaves_in_the_middle_of_sending);
  TEST(close_wakes_whoever_is_inside);
  TEST(waiting_for_the_turn_counts);
  TEST(a_message_read_ahead_wakes_a_poller);
  TEST(a_message_read_ahead_wakes_every_poller);
  TEST(many_threads);
  TEST(sending_in_steps);
  TEST(foreign_pipes);
  TEST(duplicates);
  TEST(moving);
  TEST(bad_states);
  TEST(after_a_fork);
  TEST(handles_between_messages);
  TEST(handles_that_are_none);
  return check_finish();
}
