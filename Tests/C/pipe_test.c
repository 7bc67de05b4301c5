/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include "child.h"
#include "descriptors.h"

static cipc_pipe_t *open_pipe(int *reader) {
  cipc_pipe_t *pipe = NULL;
  CHECK_EQUAL(cipc_pipe_open(&pipe, reader), CIPC_OK);
  CHECK(fcntl(*reader, F_GETFD) == FD_CLOEXEC);
  CHECK(fcntl(cipc_pipe_descriptor(pipe), F_GETFD) == FD_CLOEXEC);
  return pipe;
}

static void bytes_arrive_and_the_end(void) {
  int before = open_descriptors(), reader;
  cipc_pipe_t *pipe = open_pipe(&reader);
  size_t written = 99;
  CHECK_EQUAL(cipc_pipe_write(pipe, "one", 3, &written), CIPC_OK);
  CHECK_EQUAL(written, 3);
  CHECK_EQUAL(cipc_pipe_write(pipe, NULL, 0, &written), CIPC_OK);
  CHECK_EQUAL(written, 0);
  CHECK_EQUAL(cipc_pipe_write(pipe, NULL, 1, &written), CIPC_EINVAL);
  CHECK_EQUAL(cipc_pipe_write(NULL, "one", 3, &written), CIPC_EINVAL);
  CHECK_EQUAL(cipc_pipe_write(pipe, "one", 3, NULL), CIPC_EINVAL);
  CHECK_EQUAL(cipc_pipe_open(NULL, &reader), CIPC_EINVAL);
  CHECK_EQUAL(cipc_pipe_open(&pipe, NULL), CIPC_EINVAL);
  char bytes[8];
  CHECK(read(reader, bytes, sizeof bytes) == 3 && memcmp(bytes, "one", 3) == 0);
  cipc_pipe_close(pipe);
  CHECK(read(reader, bytes, sizeof bytes) == 0);
  (void)close(reader);
  cipc_pipe_close(NULL);
  CHECK_EQUAL(open_descriptors(), before);
}

static void a_full_pipe_does_not_block(void) {
  static char bytes[1 << 20];
  int reader;
  cipc_pipe_t *pipe = open_pipe(&reader);
  size_t written, sum = 0;
  int status;
  while ((status = cipc_pipe_write(pipe, bytes, sizeof bytes, &written)) == CIPC_OK) sum += written;
  CHECK_EQUAL(status, CIPC_EAGAIN);
  CHECK_EQUAL(written, 0);
  CHECK(sum > 0 && sum < sizeof bytes);
  struct pollfd room = {cipc_pipe_descriptor(pipe), POLLOUT, 0};
  CHECK_EQUAL(poll(&room, 1, 0), 0);
  CHECK(read(reader, bytes, sizeof bytes) > 0);
  CHECK_EQUAL(poll(&room, 1, 0), 1);
  CHECK_EQUAL(cipc_pipe_write(pipe, bytes, 10, &written), CIPC_OK);
  (void)close(reader);
  cipc_pipe_close(pipe);
}

static void reading_never_blocks(void) {
  int reader;
  cipc_pipe_t *pipe = open_pipe(&reader);
  char bytes[8];
  size_t count = 99;
  CHECK_EQUAL(cipc_pipe_read(reader, bytes, sizeof bytes, &count), CIPC_EAGAIN);
  CHECK_EQUAL(count, 0);
  CHECK_EQUAL(cipc_pipe_available(reader, &count), CIPC_OK);
  CHECK_EQUAL(count, 0);
  size_t written;
  CHECK_EQUAL(cipc_pipe_write(pipe, "seven b", 7, &written), CIPC_OK);
  CHECK_EQUAL(cipc_pipe_available(reader, &count), CIPC_OK);
  CHECK_EQUAL(count, 7);
  CHECK_EQUAL(cipc_pipe_read(reader, bytes, 5, &count), CIPC_OK);
  CHECK(count == 5 && memcmp(bytes, "seven", 5) == 0);
  CHECK_EQUAL(cipc_pipe_read(reader, bytes, sizeof bytes, &count), CIPC_OK);
  CHECK_EQUAL(count, 2);
  // As one would that was told of bytes which another reader has taken.
  CHECK_EQUAL(cipc_pipe_read(reader, bytes, sizeof bytes, &count), CIPC_EAGAIN);
  // All holders of the description share the flag.
  CHECK((fcntl(reader, F_GETFL) & O_NONBLOCK) == 0);
  CHECK_EQUAL(cipc_pipe_read(reader, NULL, 0, &count), CIPC_OK);
  CHECK_EQUAL(cipc_pipe_read(reader, NULL, 1, &count), CIPC_EINVAL);
  CHECK_EQUAL(cipc_pipe_read(reader, bytes, 1, NULL), CIPC_EINVAL);
  CHECK_EQUAL(cipc_pipe_available(reader, NULL), CIPC_EINVAL);
  cipc_pipe_close(pipe);
  CHECK_EQUAL(cipc_pipe_read(reader, bytes, sizeof bytes, &count), CIPC_OK);
  CHECK_EQUAL(count, 0);
  (void)close(reader);
  CHECK_EQUAL(cipc_pipe_read(reader, bytes, sizeof bytes, &count), CIPC_EBADF);
  CHECK_EQUAL(cipc_pipe_available(reader, &count), CIPC_EBADF);
}

static void a_missing_reader_is_an_error_and_no_signal(void) {
  // With the default action, which would end this process.
  CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
  int reader;
  cipc_pipe_t *pipe = open_pipe(&reader);
  (void)close(reader);
  size_t written;
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_pipe_write(pipe, "one", 3, &written), CIPC_EPEERCLOSED);
  }
  sigset_t pending;
  CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 0);
  cipc_pipe_close(pipe);
}

static void in_a_fork(void *context) {
  cipc_pipe_t *const *pipes = context;
  size_t written;
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_pipe_descriptor(pipes[i]), -1);
    CHECK_EQUAL(cipc_pipe_write(pipes[i], "one", 3, &written), CIPC_ECLOSED);
  }
  int reader;
  cipc_pipe_t *own = open_pipe(&reader);
  for (int i = 0; i < 3; i++) cipc_pipe_close(pipes[i]);
  CHECK_EQUAL(cipc_pipe_write(own, "one", 3, &written), CIPC_OK);
  cipc_pipe_close(own);
}

static void a_forked_child_has_no_copy(void) {
  int readers[4];
  cipc_pipe_t *pipes[4];
  for (int i = 0; i < 4; i++) pipes[i] = open_pipe(&readers[i]);
  // Out of the middle of the list.
  cipc_pipe_close(pipes[1]);
  pipes[1] = pipes[3];
  pid_t child = child_start(in_a_fork, pipes);
  CHECK_EQUAL(child_join(child), 0);
  size_t written;
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_pipe_write(pipes[i], "one", 3, &written), CIPC_OK);
    cipc_pipe_close(pipes[i]);
  }
  for (int i = 0; i < 4; i++) (void)close(readers[i]);
}

static void in_a_fork_that_stays(void *context) {
  (void)context;
  child_hang();
}

static void the_end_comes_while_a_fork_runs(void) {
  int reader;
  cipc_pipe_t *pipe = open_pipe(&reader);
  pid_t child = child_start(in_a_fork_that_stays, NULL);
  cipc_pipe_close(pipe);
  char byte;
  // Until the child has closed its copy, which it does first of all.
  CHECK(read(reader, &byte, 1) == 0);
  child_kill(child);
  (void)close(reader);
}

int main(void) {
  TEST(bytes_arrive_and_the_end);
  TEST(a_full_pipe_does_not_block);
  TEST(reading_never_blocks);
  TEST(a_missing_reader_is_an_error_and_no_signal);
  TEST(a_forked_child_has_no_copy);
  TEST(the_end_comes_while_a_fork_runs);
  return check_finish();
}
