/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/frame.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "check.h"
#include "descriptors.h"
#include "stream/frame.h"

static const uint64_t huge = UINT64_C(1) << 41;

static void header_forms(void) {
  static const struct {
    uint8_t bytes[12];
    int size;
    uint64_t length;
  } forms[] = {
      {{0, 0, 0, 0}, 4, 0},
      {{0, 0, 0, 1}, 4, 1},
      {{0, 0, 0x40, 0}, 4, 16384},
      {{0x7f, 0xff, 0xff, 0xff}, 4, 0x7fffffff},
      {{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x80, 0, 0, 0}, 12, 0x80000000},
      {{0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 0}, 12, UINT64_C(1) << 40},
  };
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    uint8_t header[12] = {0};
    uint64_t length = 77;
    CHECK_EQUAL(cipc_frame_encode_header(header, forms[i].length), forms[i].size);
    CHECK(memcmp(header, forms[i].bytes, (size_t)forms[i].size) == 0);
    for (size_t available = 0; available < (size_t)forms[i].size; available++) {
      CHECK_EQUAL(cipc_frame_decode_header(header, available, huge, &length), 0);
    }
    CHECK_EQUAL(cipc_frame_decode_header(header, 12, huge, &length), forms[i].size);
    CHECK(length == forms[i].length);
    if (length > 0) {
      CHECK_EQUAL(cipc_frame_decode_header(header, 12, length - 1, &length), CIPC_EFRAMETOOLONG);
    }
  }
  // CPython reads a short length in the long form, so this does.
  uint8_t long_form[12] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 3};
  uint64_t length = 0;
  CHECK_EQUAL(cipc_frame_decode_header(long_form, 12, huge, &length), 12);
  CHECK_EQUAL(length, 3);
}

static void bad_headers(void) {
  uint64_t length = 0;
  for (uint32_t value = 0x80000000; value < 0xffffffff; value += 0x00fffff1) {
    uint8_t header[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                         (uint8_t)value};
    CHECK_EQUAL(cipc_frame_decode_header(header, 4, huge, &length), CIPC_EFRAMELENGTH);
    if (value > 0xffffffff - 0x00fffff1) break;
  }
  uint8_t minus_two[4] = {0xff, 0xff, 0xff, 0xfe};
  CHECK_EQUAL(cipc_frame_decode_header(minus_two, 4, huge, &length), CIPC_EFRAMELENGTH);
  uint8_t all[12];
  memset(all, 0xff, sizeof all);
  CHECK_EQUAL(cipc_frame_decode_header(all, 12, UINT64_MAX, &length), CIPC_EFRAMETOOLONG);
  CHECK_EQUAL(cipc_frame_encode_header(all, UINT64_MAX), CIPC_EOVERFLOW);
}

/// Writes frames of all sizes while the main thread reads them.
struct job {
  int fd;
  const size_t *sizes;
  size_t count;
  const uint8_t *bytes;
};

static void *write_job(void *argument) {
  const struct job *job = argument;
  for (size_t i = 0; i < job->count; i++) {
    CHECK_EQUAL(cipc_frame_write(job->fd, job->bytes + i, job->sizes[i], NULL, 0, CIPC_NO_DEADLINE),
                0);
  }
  CHECK(close(job->fd) == 0);
  return NULL;
}

static const size_t sizes[] = {0,     1,     2,       4095,          4096,    4097,
                               16379, 16380, 16383,   16384,         16385,   65535,
                               65536, 65537, 1 << 20, (1 << 20) + 1, 3 << 20, 0};
#define SIZES (sizeof sizes / sizeof sizes[0])

static uint8_t *pattern(size_t size) {
  uint8_t *bytes = malloc(size);
  CHECK(bytes != NULL);
  uint32_t state = 1;
  for (size_t i = 0; i < size; i++) {
    state = state * 1664525 + 1013904223;
    bytes[i] = (uint8_t)(state >> 24);
  }
  return bytes;
}

static void all_sizes_over(int writer, int reader) {
  uint8_t *bytes = pattern((3 << 20) + SIZES);
  struct job job = {writer, sizes, SIZES, bytes};
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, write_job, &job) == 0);
  for (size_t i = 0; i < SIZES; i++) {
    uint8_t *received;
    size_t length;
    CHECK_EQUAL(cipc_frame_read(reader, CIPC_FRAME_MAXIMUM, &received, &length, NULL, NULL,
                                CIPC_NO_DEADLINE),
                0);
    CHECK_EQUAL(length, sizes[i]);
    CHECK(memcmp(received, bytes + i, length) == 0);
    free(received);
  }
  uint8_t *received;
  size_t length;
  CHECK_EQUAL(
      cipc_frame_read(reader, CIPC_FRAME_MAXIMUM, &received, &length, NULL, NULL, CIPC_NO_DEADLINE),
      CIPC_EPEERCLOSED);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(close(reader) == 0);
  free(bytes);
}

static void sizes_over_a_socket(void) {
  int before = open_descriptors();
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  all_sizes_over(fds[0], fds[1]);
  CHECK_EQUAL(open_descriptors(), before);
}

static void sizes_over_a_pipe(void) {
  int before = open_descriptors();
  int fds[2];
  CHECK(pipe2(fds, O_CLOEXEC) == 0);
  all_sizes_over(fds[1], fds[0]);
  CHECK_EQUAL(open_descriptors(), before);
}

static void a_deadline_on_a_full_stream(void) {
  for (int kind = 0; kind < 2; kind++) {
    int fds[2];
    CHECK((kind == 0 ? pipe2(fds, O_CLOEXEC) : socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) == 0);
    uint8_t *bytes = pattern(4 << 20);
    cipc_deadline_t start = cipc_clock_now();
    CHECK_EQUAL(cipc_frame_write(fds[1], bytes, 4 << 20, NULL, 0, cipc_clock_deadline(30000000)),
                CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() - start >= 30000000);
    CHECK_EQUAL(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
    close(fds[0]);
    close(fds[1]);
    free(bytes);
  }
}

static void a_pipe_without_a_reader(void) {
  struct sigaction action;
  CHECK(sigaction(SIGPIPE, NULL, &action) == 0);
  CHECK(action.sa_handler == SIG_DFL);
  int fds[2];
  CHECK(pipe2(fds, O_CLOEXEC) == 0);
  close(fds[0]);
  CHECK_EQUAL(cipc_frame_write(fds[1], "x", 1, NULL, 0, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
  sigset_t pending, mask;
  CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 0);
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGPIPE) == 0);

  // One that the program itself has pending stays.
  sigset_t sigpipe;
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  CHECK(pthread_sigmask(SIG_BLOCK, &sigpipe, NULL) == 0);
  CHECK(raise(SIGPIPE) == 0);
  CHECK_EQUAL(cipc_frame_write(fds[1], "x", 1, NULL, 0, CIPC_NO_DEADLINE), CIPC_EPEERCLOSED);
  CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1);
  struct timespec none = {0, 0};
  CHECK(sigtimedwait(&sigpipe, NULL, &none) == SIGPIPE);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &sigpipe, NULL) == 0);
  close(fds[1]);
}

static void other_kinds_of_descriptor(void) {
  uint8_t *bytes;
  size_t length;
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  CHECK_EQUAL(cipc_frame_write(null, "x", 1, NULL, 0, CIPC_NO_DEADLINE), CIPC_EOPNOTSUPP);
  CHECK_EQUAL(cipc_frame_read(null, 10, &bytes, &length, NULL, NULL, CIPC_NO_DEADLINE),
              CIPC_EOPNOTSUPP);
  CHECK_EQUAL(cipc_frame_write(-1, "x", 1, NULL, 0, CIPC_NO_DEADLINE), CIPC_EBADF);
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) == 0);
  CHECK_EQUAL(cipc_frame_write(fds[0], "x", 1, NULL, 0, CIPC_NO_DEADLINE), CIPC_EOPNOTSUPP);
  close(fds[0]);
  close(fds[1]);
  CHECK(pipe2(fds, O_CLOEXEC) == 0);
  CHECK_EQUAL(cipc_frame_write(fds[1], "x", 1, &null, 1, CIPC_NO_DEADLINE), CIPC_EOPNOTSUPP);
  close(fds[0]);
  close(fds[1]);
  close(null);
}

/// A reader fed with everything in chunks of every size finds the same frames.
static void every_chunking(void) {
  static const size_t lengths[] = {0, 5, 1, 300, 0, 17000, 40000, 3};
  const size_t frames = sizeof lengths / sizeof lengths[0];
  uint8_t *body = pattern(50000);
  uint8_t *stream = malloc(100000);
  size_t total = 0;
  for (size_t i = 0; i < frames; i++) {
    total += (size_t)cipc_frame_encode_header(stream + total, lengths[i]);
    memcpy(stream + total, body + i, lengths[i]);
    total += lengths[i];
  }
  static const size_t chunks[] = {1, 2, 3, 5, 7, 11, 13, 4096, 16384, 20000, 100000};
  for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
    for (int mode = 0; mode < 4; mode++) {
      bool exact = mode & 1, direct = mode & 2;
      int fds[2];
      CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
      cipc_frame_reader_t reader;
      cipc_frame_reader_init(&reader, CIPC_FRAME_MAXIMUM, exact);
      uint8_t *destination = malloc(50000);
      size_t fed = 0, found = 0;
      while (found < frames) {
        uint64_t length = 0;
        int status = cipc_frame_reader_header(&reader, fds[0], CIPC_FRAME_UNIX, &length);
        if (status == 0) {
          CHECK_EQUAL(length, lengths[found]);
          status =
              cipc_frame_reader_body(&reader, fds[0], CIPC_FRAME_UNIX, direct ? destination : NULL);
        }
        if (status == CIPC_EAGAIN) {
          // Every call gives up, as one with a deadline would.
          if (direct) CHECK_EQUAL(cipc_frame_reader_park(&reader, destination), 0);
          memset(destination, 0xee, 50000);
          size_t count = total - fed < chunks[c] ? total - fed : chunks[c];
          CHECK(count > 0);
          CHECK(write(fds[1], stream + fed, count) == (ssize_t)count);
          fed += count;
          continue;
        }
        CHECK_EQUAL(status, 0);
        CHECK(memcmp(direct ? destination : reader.parked, body + found, length) == 0);
        CHECK_EQUAL(cipc_frame_reader_take(&reader, NULL, NULL), 0);
        if (!direct) {
          free(reader.parked);
          reader.parked = NULL;
          reader.parked_capacity = 0;
        }
        found++;
      }
      CHECK_EQUAL(fed, total);
      close(fds[1]);
      uint64_t length;
      CHECK_EQUAL(cipc_frame_reader_header(&reader, fds[0], CIPC_FRAME_UNIX, &length),
                  CIPC_EPEERCLOSED);
      cipc_frame_reader_destroy(&reader);
      close(fds[0]);
      free(destination);
    }
  }
  free(stream);
  free(body);
}

static long address_pages(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  long size = 0, resident = 0;
  CHECK(file != NULL && fscanf(file, "%ld %ld", &size, &resident) == 2);
  fclose(file);
  return size;
}

static void a_claimed_length_allocates_nothing(void) {
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  uint8_t header[12];
  CHECK_EQUAL(cipc_frame_encode_header(header, UINT64_C(1) << 40), 12);
  CHECK(write(fds[1], header, 12) == 12 && write(fds[1], "some", 4) == 4);
  long before = address_pages();
  uint8_t *bytes;
  size_t length;
  CHECK_EQUAL(cipc_frame_read(fds[0], huge, &bytes, &length, NULL, NULL, cipc_clock_deadline(1)),
              CIPC_ETIMEDOUT);
  CHECK(bytes == NULL);
  cipc_frame_reader_t reader;
  cipc_frame_reader_init(&reader, huge, false);
  CHECK(write(fds[1], header, 12) == 12 && write(fds[1], "some", 4) == 4);
  uint64_t claimed;
  CHECK_EQUAL(cipc_frame_reader_header(&reader, fds[0], CIPC_FRAME_UNIX, &claimed), 0);
  CHECK_EQUAL(cipc_frame_reader_body(&reader, fds[0], CIPC_FRAME_UNIX, NULL), CIPC_EAGAIN);
  CHECK(reader.parked_capacity <= 65536);
  // In pages of address space; a sanitizer's own allocations are in it.
  CHECK(address_pages() - before < 64 << 10);
  cipc_frame_reader_destroy(&reader);
  close(fds[0]);
  close(fds[1]);
}

static void ends_in_the_middle(void) {
  static const struct {
    const char *bytes;
    size_t count;
    int status;
  } streams[] = {
      {"", 0, CIPC_EPEERCLOSED},
      {"\0", 1, CIPC_ETRUNCATED},
      {"\0\0\0", 3, CIPC_ETRUNCATED},
      {"\0\0\0\1", 4, CIPC_ETRUNCATED},
      {"\0\0\0\3ab", 6, CIPC_ETRUNCATED},
      {"\xff\xff\xff\xff\0\0\0\0", 8, CIPC_ETRUNCATED},
      {"\xff\xff\xff\xfe", 4, CIPC_EFRAMELENGTH},
      {"\x80\0\0\0", 4, CIPC_EFRAMELENGTH},
      {"\x7f\xff\xff\xff", 4, CIPC_EFRAMETOOLONG},
  };
  for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
    for (int kind = 0; kind < 2; kind++) {
      int fds[2];
      CHECK((kind == 0 ? pipe2(fds, O_CLOEXEC) : socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) == 0);
      CHECK(write(fds[1], streams[i].bytes, streams[i].count) == (ssize_t)streams[i].count);
      close(fds[1]);
      uint8_t *bytes;
      size_t length;
      CHECK_EQUAL(cipc_frame_read(fds[0], CIPC_FRAME_MAXIMUM, &bytes, &length, NULL, NULL,
                                  CIPC_NO_DEADLINE),
                  streams[i].status);
      CHECK(bytes == NULL && length == 0);
      close(fds[0]);
    }
  }
}

static ino_t inode(int fd) {
  struct stat status;
  CHECK(fstat(fd, &status) == 0);
  return status.st_ino;
}

/// Descriptors belong to the frame that they were sent with, however many frames one read brings.
static void descriptors_stay_with_their_frame(void) {
  if (!descriptors_allowed(4096)) return;
  int before = open_descriptors();
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  enum { COUNT = 700 };
  int many[COUNT];
  for (int i = 0; i < COUNT; i++) many[i] = memfd_create("many", MFD_CLOEXEC);
  CHECK(many[COUNT - 1] >= 0);
  static const size_t counts[] = {0, 1, 0, 2, 0, 0, 252, 253, 0, 1, 688, 1};
  static const size_t lengths[] = {3, 0, 10, 9, 0, 300, 0, 100, 0, 50, 0, 20};
  const size_t frames = sizeof counts / sizeof counts[0];
  uint8_t body[300] = {1, 2, 3};
  for (int mode = 0; mode < 2; mode++) {
    for (size_t i = 0; i < frames; i++) {
      CHECK_EQUAL(cipc_frame_write(fds[1], body, lengths[i], many + i, counts[i], CIPC_IMMEDIATELY),
                  0);
    }
    cipc_frame_reader_t reader;
    cipc_frame_reader_init(&reader, 1000, mode == 0);
    for (size_t i = 0; i < frames; i++) {
      uint64_t length;
      int *received = NULL;
      size_t count = 0, expected = counts[i];
      uint8_t destination[300];
      CHECK_EQUAL(cipc_frame_reader_header(&reader, fds[0], CIPC_FRAME_UNIX, &length), 0);
      CHECK_EQUAL(length, lengths[i]);
      CHECK_EQUAL(cipc_frame_reader_body(&reader, fds[0], CIPC_FRAME_UNIX, destination), 0);
      // Every third frame's are not asked for.
      bool ask = i % 3 != 0;
      CHECK_EQUAL(cipc_frame_reader_take(&reader, ask ? &received : NULL, ask ? &count : NULL), 0);
      if (!ask) continue;
      CHECK_EQUAL(count, expected);
      for (size_t d = 0; d < count; d++) {
        CHECK(fcntl(received[d], F_GETFD) == FD_CLOEXEC);
        CHECK(inode(received[d]) == inode(many[i + d]));
        close(received[d]);
      }
      free(received);
    }
    CHECK_EQUAL(reader.descriptor_count, 0);
    cipc_frame_reader_destroy(&reader);
  }
  for (int i = 0; i < COUNT; i++) close(many[i]);
  close(fds[0]);
  close(fds[1]);
  CHECK_EQUAL(open_descriptors(), before);
}

static void too_many_descriptors(void) {
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  int *list = malloc(sizeof(int) * (CIPC_FRAME_DESCRIPTORS + 1));
  for (int i = 0; i <= CIPC_FRAME_DESCRIPTORS; i++) list[i] = fds[0];
  CHECK_EQUAL(cipc_frame_write(fds[1], list, 100, list, CIPC_FRAME_DESCRIPTORS + 1, 0),
              CIPC_EDESCRIPTORCOUNT);
  // Four bytes of header carry four batches.
  CHECK_EQUAL(cipc_frame_write(fds[1], NULL, 0, list, 4 * 252 + 1, 0), CIPC_EDESCRIPTORCOUNT);
  list[400] = -1;
  CHECK_EQUAL(cipc_frame_write(fds[1], list, 100, list, 500, 0), CIPC_EBADF);
  CHECK_EQUAL(cipc_frame_write(fds[1], list, 100, list + 400, 1, 0), CIPC_EBADF);
  struct pollfd nothing = {.fd = fds[0], .events = POLLIN};
  CHECK_EQUAL(poll(&nothing, 1, 0), 0);
  free(list);
  close(fds[0]);
  close(fds[1]);
}

/// One byte of a frame that never ends after another, each with descriptors.
static void a_flood_of_descriptors(void) {
  int before = open_descriptors();
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  struct rlimit limit, raised;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  raised = limit;
  raised.rlim_cur = limit.rlim_max < 20000 ? limit.rlim_max : 20000;
  CHECK(setrlimit(RLIMIT_NOFILE, &raised) == 0);
  int list[252];
  for (int i = 0; i < 252; i++) list[i] = 2;
  CHECK(write(fds[1], "\0\0\xff\xff", 4) == 4);
  cipc_frame_reader_t reader;
  cipc_frame_reader_init(&reader, CIPC_FRAME_MAXIMUM, false);
  int status = 0;
  int rounds = 0;
  while (status == 0 || status == CIPC_EAGAIN) {
    CHECK(++rounds < 100);
    struct iovec vector = {.iov_base = (void *)(uintptr_t) "x", .iov_len = 1};
    union {
      char bytes[CMSG_SPACE(sizeof list)];
      struct cmsghdr alignment;
    } control = {{0}};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof list);
    memcpy(CMSG_DATA(header), list, sizeof list);
    // Past the libc: sendmsg of musl takes 252.
    CHECK(syscall(SYS_sendmsg, fds[1], &message, 0) == 1);
    uint64_t length;
    status = cipc_frame_reader_header(&reader, fds[0], CIPC_FRAME_UNIX, &length);
    if (status == 0) status = cipc_frame_reader_body(&reader, fds[0], CIPC_FRAME_UNIX, NULL);
  }
  CHECK_EQUAL(status, raised.rlim_cur > 5000 ? CIPC_EDESCRIPTORCOUNT : CIPC_EDESCRIPTORSLOST);
  cipc_frame_reader_destroy(&reader);
  close(fds[0]);
  close(fds[1]);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK_EQUAL(open_descriptors(), before);
}

/// Too few free descriptors at the receiver: an error, and those that did arrive are closed.
static void lost_descriptors(void) {
  int before = open_descriptors();
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  int list[20];
  for (int i = 0; i < 20; i++) list[i] = 2;
  CHECK_EQUAL(cipc_frame_write(fds[1], "x", 1, list, 20, 0), 0);
  struct rlimit limit, lowered;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  lowered = limit;
  // The limit is one above the highest number: both are the lowest free ones here.
  lowered.rlim_cur = (rlim_t)(fds[1] > fds[0] ? fds[1] : fds[0]) + 11;
  CHECK(setrlimit(RLIMIT_NOFILE, &lowered) == 0);
  uint8_t *bytes;
  size_t length, count;
  int *received;
  int status = cipc_frame_read(fds[0], 100, &bytes, &length, &received, &count, 0);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK_EQUAL(status, CIPC_EDESCRIPTORSLOST);
  CHECK(bytes == NULL && received == NULL && count == 0);
  close(fds[0]);
  close(fds[1]);
  CHECK_EQUAL(open_descriptors(), before);
}

/// The limit on descriptors in flight is a wait, not an error.
static void too_many_in_flight(void) {
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  // Nothing is taken until the child has met the limit.
  int met[2];
  CHECK(pipe2(met, O_CLOEXEC) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    // Counted per user, and root is exempt: hence a user id without other processes.
    struct rlimit limit = {64, 64};
    if (geteuid() == 0) CHECK(setgid(54321) == 0 && setuid(54321) == 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int list[40];
    for (int i = 0; i < 40; i++) list[i] = 2;
    CHECK_EQUAL(cipc_frame_write(fds[1], "a", 1, list, 40, 0), 0);
    CHECK_EQUAL(cipc_frame_write(fds[1], "b", 1, list, 40, 0), 0);
    // Beyond the limit: not now, ...
    CHECK_EQUAL(cipc_frame_write(fds[1], "c", 1, list, 40, cipc_clock_deadline(20000000)),
                CIPC_ETIMEDOUT);
    CHECK_EQUAL(cipc_frame_write(fds[1], "d", 1, NULL, 0, 0), 0);
    CHECK(write(met[1], "!", 1) == 1);
    // ... but once the receiver has taken some.
    CHECK_EQUAL(cipc_frame_write(fds[1], "e", 1, list, 40, CIPC_NO_DEADLINE), 0);
    _exit(0);
  }
  close(fds[1]);
  char byte;
  close(met[1]);
  CHECK(read(met[0], &byte, 1) == 1);
  close(met[0]);
  for (const char *expected = "abde"; *expected != 0; expected++) {
    uint8_t *bytes;
    size_t length, count;
    int *received;
    CHECK_EQUAL(cipc_frame_read(fds[0], 100, &bytes, &length, &received, &count, CIPC_NO_DEADLINE),
                0);
    CHECK(length == 1 && bytes[0] == *expected);
    CHECK_EQUAL(count, *expected == 'd' ? 0 : 40);
    for (size_t i = 0; i < count; i++) close(received[i]);
    free(received);
    free(bytes);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  close(fds[0]);
}

int main(void) {
  TEST(header_forms);
  TEST(bad_headers);
  TEST(sizes_over_a_socket);
  TEST(sizes_over_a_pipe);
  TEST(a_deadline_on_a_full_stream);
  TEST(a_pipe_without_a_reader);
  TEST(other_kinds_of_descriptor);
  TEST(every_chunking);
  TEST(a_claimed_length_allocates_nothing);
  TEST(ends_in_the_middle);
  TEST(descriptors_stay_with_their_frame);
  TEST(too_many_descriptors);
  TEST(a_flood_of_descriptors);
  TEST(lost_descriptors);
  TEST(too_many_in_flight);
  return check_finish();
}
