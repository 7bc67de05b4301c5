/* SPDX-License-Identifier: Apache-2.0 */
// What is known of a child's death: limits of memory, symbols, what stands unread in a pipe, and
// the process that prints a backtrace.
#include "cipc/death.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "child.h"
#include "cipc/image.h"
#include "descriptors.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

typedef struct death {
  int socket;
  int number;
  bool uses_memory;
  bool in_pieces;
} death_t;

static volatile sig_atomic_t handled;
static void note(int number) { handled = number; }

static void die(void *argument) {
  const death_t *death = argument;
  const struct rlimit core = {0, 0}, limit = {64 << 20, 64 << 20};
  CHECK(setrlimit(RLIMIT_CORE, &core) == 0 && setrlimit(RLIMIT_DATA, &limit) == 0);
  CHECK_EQUAL(cipc_death_watch_memory(death->socket, "word", 4), CIPC_OK);
  if (death->uses_memory && death->in_pieces) {
    while (malloc(10000) != NULL) {
    }
    // What came of it is a trap, and no longer the errno.
    errno = 0;
  } else if (death->uses_memory) {
    CHECK(malloc(1 << 30) == NULL);
  }
  if (death->number == SIGABRT) abort();
  (void)raise(death->number);
  _exit(9);
}

/// Whether a child that dies so says that it was refused memory.
static bool says_so(death_t death) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  death.socket = ends[1];
  pid_t child = child_start(die, &death);
  CHECK(close(ends[1]) == 0);
  CHECK_EQUAL(child_join(child), -death.number);
  char word[8];
  ssize_t size = recv(ends[0], word, sizeof word, 0);
  CHECK(size == 0 || (size == 4 && memcmp(word, "word", 4) == 0));
  CHECK(close(ends[0]) == 0);
  return size != 0;
}

static void a_child_that_dies_of_its_limit_says_so(void) {
#if !defined(SANITIZED)
  static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    CHECK(!says_so((death_t){.number = numbers[i]}));
    CHECK(says_so((death_t){.number = numbers[i], .uses_memory = true}));
    CHECK(says_so((death_t){.number = numbers[i], .uses_memory = true, .in_pieces = true}));
  }
#else
  (void)says_so;
#endif
}

static void with_a_handler(void *argument) {
  const death_t *death = argument;
  const struct rlimit limit = {64 << 20, 64 << 20};
  CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
  CHECK(signal(SIGTRAP, note) != SIG_ERR);
  CHECK_EQUAL(cipc_death_watch_memory(death->socket, "word", 4), CIPC_OK);
  (void)raise(SIGTRAP);
  CHECK_EQUAL(handled, SIGTRAP);
  handled = 0;
  (void)raise(SIGTRAP);
  CHECK_EQUAL(handled, SIGTRAP);
}

static void handlers_of_before_are_called(void) {
#if !defined(SANITIZED)
  death_t death = {.socket = -1};
  CHECK_EQUAL(child_join(child_start(with_a_handler, &death)), 0);
#else
  (void)with_a_handler;
#endif
}

static void wrong_arguments_are_refused(void) {
  char word[CIPC_DEATH_WORD_MAX + 1] = "";
  size_t length = 9;
  CHECK_EQUAL(cipc_death_watch_memory(0, NULL, 1), CIPC_EINVAL);
  CHECK_EQUAL(cipc_death_watch_memory(0, word, 0), CIPC_EINVAL);
  CHECK_EQUAL(cipc_death_watch_memory(0, word, sizeof word), CIPC_EINVAL);
  CHECK_EQUAL(cipc_death_watch_memory(0, word, 1), CIPC_ENOENT);
  CHECK_EQUAL(cipc_death_unread(-1, word, 1, &length), CIPC_EINVAL);
  CHECK_EQUAL(cipc_death_unread(0, NULL, 1, &length), CIPC_EINVAL);
  CHECK_EQUAL(cipc_death_unread(0, word, 1, NULL), CIPC_EINVAL);
  const char *own = "/proc/self/exe";
  CHECK_EQUAL(cipc_image_file_list_zeroed(NULL, "a", word, 1, &length), CIPC_EINVAL);
  CHECK_EQUAL(cipc_image_file_list_zeroed(own, NULL, word, 1, &length), CIPC_EINVAL);
  CHECK_EQUAL(cipc_image_file_list_zeroed(own, "a", NULL, 1, &length), CIPC_EINVAL);
  CHECK_EQUAL(cipc_image_file_list_zeroed(own, "a", word, 1, NULL), CIPC_EINVAL);
}

static void unread_bytes_stay(void) {
  int before = open_descriptors(), ends[2];
  CHECK(pipe(ends) == 0);
  char bytes[100000];
  size_t length = 9;
  CHECK_EQUAL(cipc_death_unread(ends[0], bytes, sizeof bytes, &length), CIPC_OK);
  CHECK_EQUAL(length, 0);
  for (int i = 0; i < 6000; i++) CHECK(write(ends[1], "0123456789", 10) == 10);
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_death_unread(ends[0], bytes, sizeof bytes, &length), CIPC_OK);
    CHECK_EQUAL(length, 60000);
    CHECK(memcmp(bytes + 59990, "0123456789", 10) == 0);
  }
  // Its end.
  CHECK_EQUAL(cipc_death_unread(ends[0], bytes, 4, &length), CIPC_OK);
  CHECK(length == 4 && memcmp(bytes, "6789", 4) == 0);
  CHECK(read(ends[0], bytes, sizeof bytes) == 60000);
  CHECK(close(ends[1]) == 0);
  CHECK_EQUAL(cipc_death_unread(ends[0], bytes, sizeof bytes, &length), CIPC_OK);
  CHECK_EQUAL(length, 0);
  CHECK(close(ends[0]) == 0);
  CHECK_EQUAL(open_descriptors(), before);
}

// Not static: so they are in the table.
extern int death_test_zero_one, death_test_zero_two, death_test_zero_not;
int death_test_zero_one, death_test_zero_two, death_test_zero_not = 1;

static void variables_that_are_zero_are_listed(void) {
  const char *own = "/proc/self/exe", *prefix = "death_test_zero_";
  char names[64];
  size_t length = 9;
  CHECK_EQUAL(cipc_image_file_list_zeroed(own, prefix, names, sizeof names, &length), CIPC_OK);
  CHECK_EQUAL(length, 40);
  CHECK(memmem(names, length, "death_test_zero_one", 20) != NULL);
  CHECK(memmem(names, length, "death_test_zero_two", 20) != NULL);
  CHECK_EQUAL(cipc_image_file_list_zeroed(own, prefix, names, 40, &length), CIPC_OK);
  CHECK_EQUAL(cipc_image_file_list_zeroed(own, prefix, names, 39, &length), CIPC_ENOSPC);
  CHECK_EQUAL(cipc_image_file_list_zeroed(own, "death_test_none_", names, 0, &length), CIPC_OK);
  CHECK_EQUAL(length, 0);
  for (int i = 0; i < 2; i++) {
    const char *path = i == 0 ? "/dev/null" : "/proc/self/maps";
    CHECK_EQUAL(cipc_image_file_list_zeroed(path, "m", names, 1, &length), CIPC_ENOENT);
  }
  CHECK_EQUAL(cipc_image_file_list_zeroed("/nothing", "m", names, 1, &length), -ENOENT);
}

/// A child with a child of its own of this name.
static void have_a_child(void *argument) {
  const char *name = argument;
  int ends[2];
  CHECK(pipe(ends) == 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    CHECK(prctl(PR_SET_NAME, name, 0, 0, 0) == 0);
    CHECK(write(ends[1], "", 1) == 1);
    child_hang();
  }
  char byte;
  CHECK(read(ends[0], &byte, 1) == 1);
  cipc_death_end_backtrace(getpid());
  int ended = 0;
  // One that is no backtracer stays.
  bool is_one = strcmp(name, "swift-backtrace") == 0;
  if (!is_one) {
    CHECK(waitpid(pid, &ended, WNOHANG) == 0);
    CHECK(kill(pid, SIGTERM) == 0);
  }
  CHECK(waitpid(pid, &ended, 0) == pid);
  CHECK(WIFSIGNALED(ended) && WTERMSIG(ended) == (is_one ? SIGKILL : SIGTERM));
}

static void a_backtracer_ends_and_nothing_else(void) {
  static char names[][16] = {"swift-backtrace", "swift-backtrac", "s", "ls) S 1 (", "other"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    CHECK_EQUAL(child_join(child_start(have_a_child, names[i])), 0);
  }
  // Nobody's.
  cipc_death_end_backtrace(-1);
  cipc_death_end_backtrace(INT32_MAX);
}

int main(void) {
  TEST(a_child_that_dies_of_its_limit_says_so);
  TEST(handlers_of_before_are_called);
  TEST(wrong_arguments_are_refused);
  TEST(unread_bytes_stay);
  TEST(variables_that_are_zero_are_listed);
  TEST(a_backtracer_ends_and_nothing_else);
  return check_finish();
}
