/* SPDX-License-Identifier: Apache-2.0 */
// Descriptors of a hostile peer: nobody waits for their being closed, and none is opened before it
// is wanted.
#include "base/descriptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <sys/eventfd.h>

#include "cipc.h"
#include "descriptors.h"
#include "lingering.h"
#include "stream/connection.h"

/// Far below the time for which a socket lingers, and far above what a busy machine takes.
#define SOON INT64_C(10000000000)

static cipc_deadline_t began;
static void begin(void) { began = cipc_clock_now(); }
static void expect_soon(void) { CHECK(cipc_clock_now() - began < SOON); }

static void expect_end(int fd) {
  struct pollfd entry = {.fd = fd, .events = POLLIN};
  CHECK_EQUAL(poll(&entry, 1, 10000), 1);
  char byte;
  CHECK(recv(fd, &byte, 1, 0) <= 0);
}

/// Resets what still lingers, so that its close ends.
static void let_go(const int *peers, int count) {
  for (int i = 0; i < count; i++) {
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    CHECK(setsockopt(peers[i], SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0);
    CHECK(close(peers[i]) == 0);
  }
}

/// The proof that the test is one: closing such a socket here takes its time.
static void a_lingering_socket_lingers(void) {
  int peer;
  int fd = lingering_socket(&peer);
  struct linger linger = {.l_onoff = 1, .l_linger = 1};
  CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
  cipc_deadline_t before = cipc_clock_now();
  CHECK(close(fd) == 0);
  CHECK(cipc_clock_now() - before > INT64_C(500000000));
  let_go(&peer, 1);
}

static void what_does_not_block_is_closed_at_once(void) {
  int before = open_descriptors();
  int ends[2];
  CHECK(pipe(ends) == 0);
  cipc_descriptor_drop(ends[0]);
  cipc_descriptor_drop(ends[1]);
  CHECK(!cipc_descriptor_is_dropping());
  cipc_segment_t *segment;
  CHECK_EQUAL(cipc_segment_create(&segment, 4096, NULL), 0);
  cipc_descriptor_drop(fcntl(cipc_segment_descriptor(segment), F_DUPFD_CLOEXEC, 0));
  cipc_segment_close(segment);
  cipc_descriptor_drop(-1);
  CHECK(!cipc_descriptor_is_dropping());
  CHECK_EQUAL(open_descriptors(), before);
}

/// Ten closes that block, and others behind them that go on.
static void closes_that_block_hold_up_no_others(void) {
  int before = open_descriptors();
  int peers[10];
  for (int i = 0; i < 10; i++) {
    int fd = lingering_socket(&peers[i]);
    begin();
    cipc_descriptor_drop(fd);
    expect_soon();
  }
  for (int i = 0; i < 20; i++) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    cipc_descriptor_drop(ends[0]);
    expect_end(ends[1]);
    CHECK(close(ends[1]) == 0);
  }
  CHECK(cipc_descriptor_is_dropping());
  let_go(peers, 10);
  CHECK_EQUAL(open_descriptors(), before);
}

static void expect_free_is_quick(cipc_connection_t *connection, int other) {
  begin();
  cipc_connection_free(connection);
  expect_soon();
  if (other >= 0) expect_end(other);
}

/// In the queue of the socket, in the reader, and in a message that is received without them.
static void a_connection_is_freed_at_once(void) {
  int before = open_descriptors();
  for (int where = 0; where < 4; where++) {
    int fds[2], peer;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    cipc_connection_t *connection;
    CHECK_EQUAL(cipc_connection_adopt(&connection, fds[0], 0, 0), 0);
    // With one of ours the kernel is asked another way than with one that was passed on.
    if (where == 3) cipc_connection_own(connection);
    CHECK_EQUAL(send(fds[1], "\0\0\0\2", 4, 0), 4);
    send_away(fds[1], lingering_socket(&peer));
    size_t length;
    uint8_t *bytes;
    begin();
    if (where == 1) {
      CHECK_EQUAL(
          cipc_connection_receive(connection, &bytes, &length, NULL, NULL, cipc_clock_deadline(1)),
          CIPC_ETIMEDOUT);
    }
    if (where == 2) {
      CHECK_EQUAL(send(fds[1], "x", 1, 0), 1);
      CHECK_EQUAL(
          cipc_connection_receive(connection, &bytes, &length, NULL, NULL, CIPC_NO_DEADLINE), 0);
      free(bytes);
    }
    expect_soon();
    expect_free_is_quick(connection, where == 0 ? -1 : fds[1]);
    let_go(&peer, 1);
    CHECK(close(fds[1]) == 0);
  }
  CHECK_EQUAL(open_descriptors(), before);
}

/// Clients that were accepted and are sent away, and some that never were.
static void a_listener_is_closed_at_once(void) {
  int before = open_descriptors();
  char name[32];
  int name_length = snprintf(name, sizeof name, "cipc-%d", (int)getpid());
  cipc_address_t address;
  CHECK_EQUAL(cipc_address_abstract(&address, name, (size_t)name_length), 0);
  cipc_listener_t *listener;
  CHECK_EQUAL(cipc_listener_open(&listener, &address, NULL), 0);
  int clients[6], peers[6];
  for (int i = 0; i < 6; i++) {
    CHECK_EQUAL(cipc_address_connect(&address, &clients[i], CIPC_NO_DEADLINE), 0);
    send_away(clients[i], lingering_socket(&peers[i]));
  }
  for (int i = 0; i < 3; i++) {
    cipc_connection_t *client;
    CHECK_EQUAL(cipc_listener_accept(listener, &client, 0, CIPC_NO_DEADLINE), 0);
    expect_free_is_quick(client, clients[i]);
  }
  begin();
  cipc_listener_free(listener);
  expect_soon();
  for (int i = 0; i < 6; i++) {
    expect_end(clients[i]);
    CHECK(close(clients[i]) == 0);
  }
  // The address is free, although some of its clients are being closed still.
  CHECK_EQUAL(cipc_listener_open(&listener, &address, NULL), 0);
  cipc_listener_free(listener);
  let_go(peers, 6);
  CHECK_EQUAL(open_descriptors(), before);
}

/// The same where the queue holds a socket in whose queue there is one.
static void descriptors_in_descriptors(void) {
  int before = open_descriptors();
  int inner[2], outer[2], peer;
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, inner) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, outer) == 0);
  send_away(inner[1], lingering_socket(&peer));
  CHECK_EQUAL(send(outer[1], "\0\0\0\1", 4, 0), 4);
  send_away(outer[1], inner[0]);
  cipc_connection_t *connection;
  CHECK_EQUAL(cipc_connection_adopt(&connection, outer[0], 0, 0), 0);
  uint8_t *bytes;
  size_t length;
  begin();
  CHECK_EQUAL(cipc_connection_receive(connection, &bytes, &length, NULL, NULL, CIPC_NO_DEADLINE),
              0);
  free(bytes);
  expect_soon();
  expect_end(inner[1]);
  expect_free_is_quick(connection, outer[1]);
  let_go(&peer, 1);
  CHECK(close(inner[1]) == 0 && close(outer[1]) == 0);
  CHECK_EQUAL(open_descriptors(), before);
}

static void refused_descriptors_are_never_opened(void) {
  int before = open_descriptors();
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  cipc_connection_refuse_descriptors(b, 1);
  char buffer[8];
  size_t length;
  CHECK_EQUAL(cipc_connection_send(a, "one", 3, NULL, 0, 0), 0);
  CHECK_EQUAL(cipc_connection_send(a, "two", 3, NULL, 0, 0), 0);
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 8, &length, NULL, NULL, 0), 0);
    CHECK_EQUAL(length, 3);
  }
  int event = eventfd(0, EFD_CLOEXEC);
  CHECK_EQUAL(cipc_connection_send(a, "three", 5, &event, 1, 0), 0);
  CHECK_EQUAL(cipc_connection_send(a, "four", 4, NULL, 0, 0), 0);
  int with_all = open_descriptors();
  CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 8, &length, NULL, NULL, 0),
              CIPC_EDESCRIPTORSREFUSED);
  CHECK_EQUAL(open_descriptors(), with_all - 1);  // b's own socket
  CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 8, &length, NULL, NULL, 0), CIPC_ECLOSED);
  CHECK(close(event) == 0);
  cipc_connection_free(a);
  cipc_connection_free(b);
  CHECK_EQUAL(open_descriptors(), before);
}

/// In the middle of a message, at each of its bytes.
static void refused_descriptors_of_any_byte(void) {
  int before = open_descriptors();
  static const char frame[] = "\0\0\0\3abc";
  for (int at = 0; at < 7; at++) {
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    cipc_connection_t *connection;
    CHECK_EQUAL(cipc_connection_adopt(&connection, fds[0], 0, 0), 0);
    cipc_connection_refuse_descriptors(connection, 1);
    char buffer[8];
    size_t length;
    int status = CIPC_ETIMEDOUT;
    for (int i = 0; i < 7 && status == CIPC_ETIMEDOUT; i++) {
      if (i == at) {
        send_away(fds[1], eventfd(0, EFD_CLOEXEC));
      } else {
        CHECK_EQUAL(send(fds[1], frame + i, 1, 0), 1);
      }
      status = cipc_connection_receive_into(connection, buffer, 8, &length, NULL, NULL, 0);
    }
    CHECK_EQUAL(status, CIPC_EDESCRIPTORSREFUSED);
    cipc_connection_free(connection);
    CHECK(close(fds[1]) == 0);
  }
  CHECK_EQUAL(open_descriptors(), before);
}

/// From the proof on they are welcome, and what was read before took nothing of what follows.
static void descriptors_are_welcome_again(void) {
  int before = open_descriptors();
  cipc_connection_t *a, *b;
  CHECK_EQUAL(cipc_connection_pair(&a, &b, 0), 0);
  cipc_connection_refuse_descriptors(b, 1);
  char buffer[8];
  size_t length, count;
  int *received;
  CHECK_EQUAL(cipc_connection_send(a, "proof", 5, NULL, 0, 0), 0);
  CHECK_EQUAL(cipc_connection_send(a, "more", 4, NULL, 0, 0), 0);
  CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 8, &length, NULL, NULL, 0), 0);
  cipc_connection_refuse_descriptors(b, 0);
  int event = eventfd(0, EFD_CLOEXEC);
  CHECK_EQUAL(cipc_connection_send(a, "gift", 4, &event, 1, 0), 0);
  CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 8, &length, &received, &count, 0), 0);
  CHECK(length == 4 && memcmp(buffer, "more", 4) == 0 && count == 0);
  CHECK_EQUAL(cipc_connection_receive_into(b, buffer, 8, &length, &received, &count, 0), 0);
  CHECK(length == 4 && memcmp(buffer, "gift", 4) == 0 && count == 1);
  CHECK(close(received[0]) == 0 && close(event) == 0);
  free(received);
  cipc_connection_free(a);
  cipc_connection_free(b);
  CHECK_EQUAL(open_descriptors(), before);
}

int main(void) {
  TEST(a_lingering_socket_lingers);
  TEST(what_does_not_block_is_closed_at_once);
  TEST(closes_that_block_hold_up_no_others);
  TEST(a_connection_is_freed_at_once);
  TEST(a_listener_is_closed_at_once);
  TEST(descriptors_in_descriptors);
  TEST(refused_descriptors_are_never_opened);
  TEST(refused_descriptors_of_any_byte);
  TEST(descriptors_are_welcome_again);
  return check_finish();
}
