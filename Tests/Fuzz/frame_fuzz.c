/* SPDX-License-Identifier: Apache-2.0 */
// Arbitrary bytes in arbitrary pieces, some with descriptors, through a socket into the reader;
// what comes out is compared with a decoder that sees the whole stream at once.
//
//   make fuzz-frame SECONDS=60
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "stream/frame.h"

#define REQUIRE(condition) \
  do { \
    if (!(condition)) __builtin_trap(); \
  } while (0)

/// The same answer by other means: status 0 with a length, or how the stream ends here.
static int reference(const uint8_t *stream, size_t size, size_t *at, uint64_t maximum,
                     uint64_t *length) {
  const uint8_t *bytes = stream + *at;
  size_t left = size - *at;
  if (left == 0) return CIPC_EPEERCLOSED;
  if (left < 4) return CIPC_ETRUNCATED;
  uint64_t value =
      (uint64_t)bytes[0] << 24 | (uint64_t)bytes[1] << 16 | (uint64_t)bytes[2] << 8 | bytes[3];
  size_t header = 4;
  if (value == 0xffffffff) {
    if (left < 12) return CIPC_ETRUNCATED;
    value = 0;
    for (int i = 4; i < 12; i++) value = value * 256 + bytes[i];
    header = 12;
  } else if (value >= 0x80000000) {
    return CIPC_EFRAMELENGTH;
  }
  if (value > maximum) return CIPC_EFRAMETOOLONG;
  *at += header;
  *length = value;
  return left - header < value ? CIPC_ETRUNCATED : 0;
}

static void push(int fd, const uint8_t *bytes, size_t count, int descriptors) {
  struct iovec vector = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = count};
  union {
    char bytes[CMSG_SPACE(8 * sizeof(int))];
    struct cmsghdr alignment;
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (descriptors > 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE((size_t)descriptors * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN((size_t)descriptors * sizeof(int));
    int *list = (int *)(void *)CMSG_DATA(header);
    for (int i = 0; i < descriptors; i++) list[i] = fd;
  }
  REQUIRE(sendmsg(fd, &message, MSG_DONTWAIT) == (ssize_t)count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // Settings, a seed for the pieces, the stream.
  if (size < 5 || size > 60000) return 0;
  int exact = data[0] & 1, direct = data[0] & 2, patient = data[0] & 4;
  uint64_t maximum = data[0] & 8 ? UINT64_C(1) << 41 : 50000;
  uint32_t seed = (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
  uint32_t piece = (uint32_t)data[4] * data[4] / 4 + 1;
  const uint8_t *stream = data + 5;
  size -= 5;

  int before = dup(2);
  close(before);
  int fds[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  cipc_frame_reader_t reader;
  cipc_frame_reader_init(&reader, maximum, exact != 0);
  reader.patient = patient != 0;
  uint8_t *destination = malloc(50000);
  REQUIRE(destination != NULL);
  size_t pushed = 0, at = 0, got = 0;
  int ended = 0, given = 0;
  uint64_t expected = 0;
  int answer = reference(stream, size, &at, maximum, &expected);
  for (;;) {
    uint64_t length = 0;
    int into = direct && maximum <= 50000;
    int status = cipc_frame_reader_header(&reader, fds[0], CIPC_FRAME_UNIX, &length);
    if (status == 0) {
      REQUIRE(answer == 0 || answer == CIPC_ETRUNCATED);
      REQUIRE(length == expected);
      status = cipc_frame_reader_body(&reader, fds[0], CIPC_FRAME_UNIX, into ? destination : NULL);
      REQUIRE(reader.parked_capacity <= 2 * (size_t)reader.have + 65536);
    }
    if (status == CIPC_EAGAIN) {
      if (into) REQUIRE(cipc_frame_reader_park(&reader, destination) == 0);
      memset(destination, 0xaa, 64);
      if (pushed < size) {
        seed = seed * 1664525 + 1013904223;
        size_t count = 1 + (seed >> 8) % piece;
        if (count > size - pushed) count = size - pushed;
        int descriptors = (seed & 7) == 0 && given < 256 ? (int)(seed >> 3 & 7) : 0;
        given += descriptors;
        push(fds[1], stream + pushed, count, descriptors);
        pushed += count;
      } else if (!ended) {
        REQUIRE(shutdown(fds[1], SHUT_WR) == 0);
        ended = 1;
      } else {
        REQUIRE(patient);
      }
      continue;
    }
    REQUIRE(status == answer);
    if (status != 0) break;
    REQUIRE(length == 0 || memcmp(into ? destination : reader.parked, stream + at, length) == 0);
    at += length;
    int *descriptors = NULL;
    size_t count = 0;
    int ask = seed & 16 ? 1 : 0;
    REQUIRE(cipc_frame_reader_take(&reader, ask ? &descriptors : NULL, ask ? &count : NULL) == 0);
    for (size_t i = 0; i < count; i++) REQUIRE(close(descriptors[i]) == 0);
    got += count;
    free(descriptors);
    free(reader.parked);
    reader.parked = NULL;
    reader.parked_capacity = 0;
    answer = reference(stream, size, &at, maximum, &expected);
  }
  REQUIRE(got <= (size_t)given);
  cipc_frame_reader_destroy(&reader);
  free(destination);
  close(fds[0]);
  close(fds[1]);
  // A thread of the library closes descriptors that were not asked for.
  while (cipc_descriptor_is_dropping()) sched_yield();
  // Nothing leaked: the lowest free descriptors are the ones that they were.
  int after = dup(2);
  close(after);
  REQUIRE(after == before);
  return 0;
}
