/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/poller.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "check.h"
#include "descriptors.h"

#define MS INT64_C(1000000)

/// What a callback leaves: its results in order, under a lock.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int results[100000][2];
static int result_count;

static void note(void *context, int status) {
  (void)pthread_mutex_lock(&lock);
  results[result_count][0] = (int)(intptr_t)context;
  results[result_count++][1] = status;
  (void)pthread_cond_broadcast(&changed);
  (void)pthread_mutex_unlock(&lock);
}

static void until(int count) {
  (void)pthread_mutex_lock(&lock);
  while (result_count < count) (void)pthread_cond_wait(&changed, &lock);
  (void)pthread_mutex_unlock(&lock);
}

static void expect(int index, int context, int status) {
  (void)pthread_mutex_lock(&lock);
  CHECK_EQUAL(results[index][0], context);
  CHECK_EQUAL(results[index][1], status);
  (void)pthread_mutex_unlock(&lock);
}

static cipc_poller_ticket_t wait_for(int fd, unsigned flags, cipc_deadline_t deadline,
                                     int context) {
  cipc_poller_ticket_t ticket;
  CHECK_EQUAL(cipc_poller_wait(fd, flags, deadline, note, (void *)(intptr_t)context, &ticket), 0);
  CHECK(ticket != 0);
  return ticket;
}

/// Whatever is queued before it has been called back when this returns.
static void settle(void) {
  result_count = 0;
  int fd = eventfd(1, EFD_CLOEXEC);
  (void)wait_for(fd, CIPC_POLLER_READABLE | CIPC_POLLER_OWNED, CIPC_NO_DEADLINE, 0);
  until(1);
  result_count = 0;
}

static void one_thread_with_its_name(void) {
  settle();
  DIR *directory = opendir("/proc/self/task");
  CHECK(directory != NULL);
  int ours = 0;
  for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    char path[300], text[4096] = {0};
    (void)snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    CHECK(size > 0);
    if (strstr(text, "Name:\tcipc-poller\n") == NULL) continue;
    ours++;
    unsigned long long blocked = 0;
    const char *line = strstr(text, "SigBlk:\t");
    CHECK(line != NULL && sscanf(line, "SigBlk:\t%llx", &blocked) == 1);
    CHECK((blocked & 0x7fffffffu & ~(1u << (SIGKILL - 1)) & ~(1u << (SIGSTOP - 1))) ==
          (0x7fffffffu & ~(1u << (SIGKILL - 1)) & ~(1u << (SIGSTOP - 1))));
  }
  (void)closedir(directory);
  CHECK_EQUAL(ours, 1);
  sigset_t mask;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGTERM) == 0);
}

static void ready_and_late(void) {
  settle();
  int before = open_descriptors();
  int fd = eventfd(0, EFD_CLOEXEC);
  (void)wait_for(fd, CIPC_POLLER_READABLE, CIPC_NO_DEADLINE, 1);
  (void)wait_for(fd, CIPC_POLLER_WRITABLE, CIPC_NO_DEADLINE, 2);
  until(1);
  expect(0, 2, 0);
  cipc_deadline_t deadline = cipc_clock_deadline(10 * MS);
  (void)wait_for(fd, CIPC_POLLER_READABLE, deadline, 3);
  until(2);
  CHECK(cipc_clock_now() >= deadline);
  expect(1, 3, CIPC_ETIMEDOUT);
  CHECK_EQUAL(eventfd_write(fd, 1), 0);
  until(3);
  expect(2, 1, 0);
  // Ready beats a deadline in the past; nothing to be ready does not.
  (void)wait_for(fd, CIPC_POLLER_READABLE, CIPC_IMMEDIATELY, 4);
  until(4);
  expect(3, 4, 0);
  (void)wait_for(-1, 0, CIPC_IMMEDIATELY, 5);
  until(5);
  expect(4, 5, CIPC_ETIMEDOUT);
  close(fd);
  settle();
  CHECK_EQUAL(open_descriptors(), before);
}

static void many_waits_on_one_descriptor(void) {
  settle();
  int before = open_descriptors();
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  cipc_poller_ticket_t tickets[50];
  for (int i = 0; i < 50; i++) {
    tickets[i] = wait_for(fds[0], CIPC_POLLER_READABLE, CIPC_NO_DEADLINE, i);
  }
  for (int i = 0; i < 50; i += 2) CHECK_EQUAL(cipc_poller_cancel(tickets[i]), 0);
  for (int i = 0; i < 50; i += 2) CHECK_EQUAL(cipc_poller_cancel(tickets[i]), CIPC_ENOENT);
  // The caller's descriptor may go; the peer sees no end as long as a wait has its duplicate.
  close(fds[0]);
  close(fds[1]);
  until(25);
  int seen = 0;
  for (int i = 0; i < 25; i++) {
    CHECK(results[i][0] % 2 == 1 && results[i][1] == 0);
    seen += results[i][0];
  }
  CHECK_EQUAL(seen, 25 * 25);
  for (int i = 0; i < 50; i++) CHECK_EQUAL(cipc_poller_cancel(tickets[i]), CIPC_ENOENT);
  settle();
  CHECK_EQUAL(open_descriptors(), before);
}

static void deadlines_in_order(void) {
  settle();
  enum { COUNT = 500 };
  cipc_poller_ticket_t tickets[COUNT];
  cipc_deadline_t start = cipc_clock_now() + 200 * MS;
  int order[COUNT];
  for (int i = 0; i < COUNT; i++) order[i] = i * 211 % COUNT;
  for (int i = 0; i < COUNT; i++) {
    tickets[order[i]] = wait_for(-1, 0, start + order[i] * 20000, order[i]);
  }
  for (int i = 0; i < COUNT; i += 3) CHECK_EQUAL(cipc_poller_cancel(tickets[i]), 0);
  int left = COUNT - (COUNT + 2) / 3;
  until(left);
  CHECK(cipc_clock_now() >= start + (COUNT - 1) * 20000);
  for (int i = 0; i < left; i++) {
    CHECK_EQUAL(results[i][1], CIPC_ETIMEDOUT);
    CHECK(results[i][0] % 3 != 0);
    if (i > 0) CHECK(results[i][0] > results[i - 1][0]);
  }
}

static void mistakes(void) {
  cipc_poller_ticket_t ticket;
  int before = open_descriptors();
  CHECK_EQUAL(cipc_poller_wait(0, 0, CIPC_NO_DEADLINE, note, NULL, &ticket), CIPC_EINVAL);
  CHECK_EQUAL(cipc_poller_wait(9999, CIPC_POLLER_READABLE, CIPC_NO_DEADLINE, note, NULL, &ticket),
              CIPC_EBADF);
  int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  CHECK_EQUAL(cipc_poller_wait(file, CIPC_POLLER_READABLE | CIPC_POLLER_OWNED, CIPC_NO_DEADLINE,
                               note, NULL, &ticket),
              -EPERM);
  CHECK_EQUAL(ticket, 0);
  CHECK_EQUAL(open_descriptors(), before);
  CHECK_EQUAL(cipc_poller_cancel(0), CIPC_ENOENT);
  CHECK_EQUAL(cipc_poller_cancel(UINT64_MAX), CIPC_ENOENT);
}

static void a_process_that_ends(void) {
  settle();
  int hold[2];
  CHECK(pipe2(hold, O_CLOEXEC) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    char byte;
    close(hold[1]);
    _exit(read(hold[0], &byte, 1) == 0 ? 7 : 1);
  }
  int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
  CHECK(pidfd >= 0);
  (void)wait_for(pidfd, CIPC_POLLER_READABLE | CIPC_POLLER_OWNED, CIPC_NO_DEADLINE, 1);
  (void)wait_for(-1, 0, cipc_clock_deadline(5 * MS), 2);
  until(1);
  expect(0, 2, CIPC_ETIMEDOUT);
  close(hold[0]);
  close(hold[1]);
  until(2);
  expect(1, 1, 0);
  int status;
  CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
}

/// A callback may wait again, and cancel.
static int again_fd;
static void again(void *context, int status) {
  int left = (int)(intptr_t)context;
  CHECK_EQUAL(status, 0);
  if (left == 0) {
    note(context, status);
    return;
  }
  cipc_poller_ticket_t ticket;
  CHECK_EQUAL(
      cipc_poller_wait(again_fd, CIPC_POLLER_READABLE, CIPC_NO_DEADLINE, note, NULL, &ticket), 0);
  CHECK_EQUAL(cipc_poller_cancel(ticket), 0);
  CHECK_EQUAL(cipc_poller_wait(again_fd, CIPC_POLLER_READABLE, CIPC_NO_DEADLINE, again,
                               (void *)(intptr_t)(left - 1), &ticket),
              0);
}

static void from_a_callback(void) {
  settle();
  again_fd = eventfd(1, EFD_CLOEXEC);
  cipc_poller_ticket_t ticket;
  CHECK_EQUAL(cipc_poller_wait(again_fd, CIPC_POLLER_READABLE, CIPC_NO_DEADLINE, again,
                               (void *)(intptr_t)100, &ticket),
              0);
  until(1);
  close(again_fd);
}

/// Either the callback or the cancellation wins, never both and never neither.
static int calls;
static void count(void *context, int status) {
  (void)context;
  (void)status;
  __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
}

static void *race(void *argument) {
  int *cancelled = argument;
  for (int i = 0; i < 5000; i++) {
    int fd = eventfd(0, EFD_CLOEXEC);
    cipc_poller_ticket_t ticket;
    CHECK_EQUAL(cipc_poller_wait(fd, CIPC_POLLER_READABLE,
                                 i % 3 == 0 ? cipc_clock_deadline(1000) : CIPC_NO_DEADLINE, count,
                                 NULL, &ticket),
                0);
    if (i % 3 != 0) CHECK_EQUAL(eventfd_write(fd, 1), 0);
    int status = cipc_poller_cancel(ticket);
    CHECK(status == 0 || status == CIPC_ENOENT);
    if (status == 0) ++*cancelled;
    close(fd);
  }
  return NULL;
}

static void cancellations_race_with_callbacks(void) {
  int before = open_descriptors();
  calls = 0;
  pthread_t threads[3];
  int cancelled[3] = {0};
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, race, &cancelled[i]) == 0);
  for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  settle();
  int total = cancelled[0] + cancelled[1] + cancelled[2];
  CHECK_EQUAL(__atomic_load_n(&calls, __ATOMIC_SEQ_CST) + total, 15000);
  CHECK_EQUAL(open_descriptors(), before);
}

static void after_a_fork(void) {
  settle();
  int fd = eventfd(0, EFD_CLOEXEC);
  cipc_poller_ticket_t ticket = wait_for(fd, CIPC_POLLER_READABLE, CIPC_NO_DEADLINE, 1);
  (void)wait_for(-1, 0, cipc_clock_deadline(20 * MS), 2);
  int before = open_descriptors();
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    // Without the duplicate, the epoll set and the timer.
    CHECK_EQUAL(open_descriptors(), before - 3);
    CHECK_EQUAL(cipc_poller_cancel(ticket), CIPC_ENOENT);
    settle();
    CHECK_EQUAL(open_descriptors(), before - 1);
    (void)wait_for(fd, CIPC_POLLER_READABLE, CIPC_NO_DEADLINE, 3);
    CHECK_EQUAL(eventfd_write(fd, 1), 0);
    until(1);
    expect(0, 3, 0);
    _exit(0);
  }
  until(2);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(results[0][0] + results[1][0] == 3);
  close(fd);
}

static void several_at_once(void) {
  int before = open_descriptors();
  int pair[2], event = eventfd(0, EFD_CLOEXEC);
  CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  cipc_poller_interest_t interests[40] = {{event, CIPC_POLLER_READABLE},
                                          {pair[0], CIPC_POLLER_READABLE}};
  int set = cipc_poller_gather(interests, 2);
  CHECK(set >= 0);
  CHECK_EQUAL(fcntl(set, F_GETFD), FD_CLOEXEC);
  cipc_poller_interest_t of_set = {set, CIPC_POLLER_READABLE};
  CHECK_EQUAL(cipc_poller_poll(&of_set, 1, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_poller_poll(interests, 2, cipc_clock_deadline(3 * MS)), CIPC_ETIMEDOUT);
  CHECK_EQUAL(write(pair[1], "x", 1), 1);
  CHECK_EQUAL(cipc_poller_poll(&of_set, 1, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_poller_poll(interests, 2, CIPC_NO_DEADLINE), 0);
  char byte;
  CHECK_EQUAL(read(pair[0], &byte, 1), 1);
  CHECK_EQUAL(cipc_poller_poll(&of_set, 1, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  // It keeps nothing open, and forgets what was closed.
  (void)close(pair[1]);
  CHECK_EQUAL(cipc_poller_poll(&of_set, 1, CIPC_NO_DEADLINE), 0);
  (void)close(pair[0]);
  CHECK_EQUAL(cipc_poller_poll(&of_set, 1, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  (void)close(set);

  // A number that is not open, and that the set itself does not get.
  interests[1].fd = 1000;
  CHECK_EQUAL(cipc_poller_gather(interests, 2), CIPC_EBADF);
  CHECK_EQUAL(cipc_poller_poll(interests, 2, CIPC_NO_DEADLINE), CIPC_EBADF);
  interests[1].fd = -1;
  CHECK_EQUAL(cipc_poller_gather(interests, 2), CIPC_EBADF);
  CHECK_EQUAL(cipc_poller_poll(interests, 2, CIPC_NO_DEADLINE), CIPC_EBADF);
  interests[1] = interests[0];
  CHECK_EQUAL(cipc_poller_gather(interests, 2), CIPC_EEXIST);
  interests[1].directions = 0;
  CHECK_EQUAL(cipc_poller_poll(interests, 2, CIPC_NO_DEADLINE), CIPC_EINVAL);
  CHECK_EQUAL(cipc_poller_poll(NULL, 0, cipc_clock_deadline(MS)), CIPC_ETIMEDOUT);
  for (int i = 0; i < 40; i++) interests[i] = (cipc_poller_interest_t){event, 3};
  CHECK_EQUAL(cipc_poller_poll(interests, 40, CIPC_NO_DEADLINE), 0);
  (void)close(event);
  CHECK_EQUAL(open_descriptors(), before);
}

int main(void) {
  TEST(several_at_once);
  TEST(one_thread_with_its_name);
  TEST(ready_and_late);
  TEST(many_waits_on_one_descriptor);
  TEST(deadlines_in_order);
  TEST(mistakes);
  TEST(a_process_that_ends);
  TEST(from_a_callback);
  TEST(cancellations_race_with_callbacks);
  TEST(after_a_fork);
  return check_finish();
}
