/* SPDX-License-Identifier: Apache-2.0 */
// Children without a waiter: with one thread, with several, in a fork, without their server.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "child.h"
#include "cipc.h"
#include "descriptors.h"

// ThreadSanitizer has a thread of its own from the beginning.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_THREAD 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define HAS_THREAD 1
#endif
#if !defined(HAS_THREAD)
#define HAS_THREAD 0
#endif

#define WAIT_PIDFD 3

typedef int (*start_t)(cipc_process_t **, int *, cipc_process_entry_t,
                       const cipc_process_options_t *);

static uint32_t calls;
static pthread_t caller;

static void count(void *context) {
  (void)context;
  caller = pthread_self();
  gate_set(&calls, __atomic_load_n(&calls, __ATOMIC_SEQ_CST) + 1);
}

static void count_and_release(void *context) {
  cipc_process_release(context);
  count(NULL);
}

static int child_until_closed(int connection) {
  char byte = 'r';
  if (write(connection, &byte, 1) != 1) return 99;
  return (int)read(connection, &byte, 1);
}

/// Starts a child that runs until the connection is closed.
static cipc_process_t *start(start_t how, int *connection) {
  cipc_process_t *process = NULL;
  CHECK_EQUAL(how(&process, connection, child_until_closed, NULL), CIPC_OK);
  char byte;
  CHECK(read(*connection, &byte, 1) == 1);
  return process;
}

static int kept_pidfd(const cipc_process_t *process) {
  int pidfd = cipc_process_pidfd(process);
  CHECK(pidfd >= 0);
  return pidfd;
}

static void await_end(int pidfd) {
  struct pollfd end = {pidfd, POLLIN, 0};
  CHECK_EQUAL(poll(&end, 1, (int)(CHILD_PATIENCE / 1000000)), 1);
}

/// Whether a child of this process that has ended is still to be reaped.
static int is_zombie(int pidfd) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  if (waitid((idtype_t)WAIT_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
    CHECK_EQUAL(errno, ECHILD);
    return 0;
  }
  CHECK(info.si_pid != 0);
  return 1;
}

static void start_and_finish_one(void) {
  int connection;
  cipc_process_t *process = start(cipc_process_spawn, &connection);
  (void)close(connection);
  cipc_process_status_t status;
  CHECK_EQUAL(cipc_process_wait(process, CIPC_NO_DEADLINE, &status), CIPC_OK);
  cipc_process_release(process);
}

static uint32_t is_settled;

static void note_settled(void *context, int status) {
  (void)context;
  CHECK_EQUAL(status, 0);
  gate_set(&is_settled, 1);
}

/// Starts the poller's thread, and returns when it has called back for all that was ready before.
static void settle(void) {
  cipc_poller_ticket_t ticket;
  int ready = eventfd(1, EFD_CLOEXEC);
  gate_set(&is_settled, 0);
  CHECK_EQUAL(cipc_poller_wait(ready, CIPC_POLLER_READABLE | CIPC_POLLER_OWNED, CIPC_NO_DEADLINE,
                               note_settled, NULL, &ticket),
              CIPC_OK);
  gate_wait(&is_settled, 1);
}

static int thread_count(void) {
  DIR *directory = opendir("/proc/self/task");
  CHECK(directory != NULL);
  int count = 0;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    count += entry->d_name[0] != '.';
  }
  (void)closedir(directory);
  return count;
}

// MARK: - One thread

static int has_one_thread(void) {
  if (HAS_THREAD) check_skip("ThreadSanitizer has a thread of its own");
  return !HAS_THREAD;
}

static void with_one_thread_none_is_started_and_children_are_reaped_in_passing(void) {
  if (!has_one_thread()) return;
  calls = 0;
  int connections[2];
  cipc_process_t *dropped = start(cipc_process_spawn, &connections[0]);
  cipc_process_t *watched = start(cipc_process_spawn, &connections[1]);
  int pidfds[] = {kept_pidfd(dropped), kept_pidfd(watched)};
  cipc_process_release(dropped);
  CHECK_EQUAL(cipc_process_watch(watched, count_and_release, watched), CIPC_OK);
  CHECK_EQUAL(cipc_process_watch(watched, count, NULL), CIPC_EBUSY);
  CHECK_EQUAL(thread_count(), 1);
  for (int i = 0; i < 2; i++) {
    (void)close(connections[i]);
    await_end(pidfds[i]);
    CHECK(is_zombie(pidfds[i]));
  }
  CHECK_EQUAL(calls, 0);
  start_and_finish_one();
  CHECK_EQUAL(calls, 1);
  for (int i = 0; i < 2; i++) {
    CHECK(!is_zombie(pidfds[i]));
    (void)close(pidfds[i]);
  }
  CHECK_EQUAL(thread_count(), 1);
}

static void in_a_fork_of(void *context) {
  const int *kept = context;
  // Those given up are the parent's children: nothing of them is left here.
  CHECK_EQUAL(open_descriptors(), kept[0]);
  CHECK_EQUAL(calls, 0);
  // A watched one runs still, and this process is called back as its parent will be.
  cipc_process_release(NULL);
  CHECK_EQUAL(calls, 0);
  (void)close(kept[1]);
  await_end(kept[2]);
  cipc_process_release(NULL);
  CHECK_EQUAL(calls, 1);
}

static void a_forked_process_keeps_nothing_of_those_given_up(void) {
  if (!has_one_thread()) return;
  calls = 0;
  int connections[2], ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  cipc_process_t *dropped = start(cipc_process_spawn, &connections[0]);
  cipc_process_t *watched = start(cipc_process_spawn, &connections[1]);
  CHECK_EQUAL(cipc_process_watch(watched, count, NULL), CIPC_OK);
  int pidfds[] = {kept_pidfd(dropped), kept_pidfd(watched)};
  int before = open_descriptors();
  cipc_process_release(dropped);
  int context[] = {before - 1, connections[1], pidfds[1]};
  pid_t fork = child_start(in_a_fork_of, context);
  (void)close(connections[1]);
  CHECK_EQUAL(child_join(fork), 0);
  CHECK_EQUAL(calls, 0);
  (void)close(connections[0]);
  await_end(pidfds[0]);
  cipc_process_release(watched);
  CHECK_EQUAL(calls, 1);
  for (int i = 0; i < 2; i++) {
    CHECK(!is_zombie(pidfds[i]));
    (void)close(pidfds[i]);
    (void)close(ends[i]);
  }
}

static void the_waiter_takes_over_those_from_before_it_started(void) {
  if (!has_one_thread()) return;
  calls = 0;
  int connections[2];
  cipc_process_t *early = start(cipc_process_spawn, &connections[0]);
  cipc_process_t *late = start(cipc_process_spawn, &connections[1]);
  int early_pidfd = kept_pidfd(early);
  CHECK_EQUAL(cipc_process_watch(early, count_and_release, early), CIPC_OK);
  CHECK_EQUAL(cipc_process_watch(late, count_and_release, late), CIPC_OK);
  (void)close(connections[0]);
  await_end(early_pidfd);
  CHECK_EQUAL(calls, 0);
  settle();
  gate_wait(&calls, 1);
  CHECK(!pthread_equal(caller, pthread_self()));
  (void)close(connections[1]);
  gate_wait(&calls, 2);
  (void)close(early_pidfd);
}

// MARK: - Several threads

static uint32_t may_end;

static void *idle(void *context) {
  gate_wait(&may_end, 1);
  return context;
}

static void in_a_process_with_threads(void *context) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, idle, context) == 0);
  int connection;
  cipc_process_t *process = start(cipc_process_spawn, &connection);
  CHECK_EQUAL(cipc_process_watch(process, count_and_release, process), CIPC_OK);
  (void)close(connection);
  gate_wait(&calls, 1);
  gate_set(&may_end, 1);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void the_waiter_is_started_beside_other_threads(void) {
  calls = may_end = 0;
  // A forked child has no waiter yet.
  CHECK_EQUAL(child_join(child_start(in_a_process_with_threads, NULL)), 0);
}

#define CHILDREN 100

static void with_threads_children_are_reaped_as_soon_as_they_end(void) {
  gate_set(&may_end, 0);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, idle, NULL) == 0);
  settle();
  int before = open_descriptors();
  int connections[CHILDREN], pidfds[CHILDREN];
  for (int i = 0; i < CHILDREN; i++) {
    cipc_process_t *process = start(cipc_process_spawn, &connections[i]);
    pidfds[i] = kept_pidfd(process);
    cipc_process_release(process);
  }
  for (int i = 0; i < CHILDREN; i++) (void)close(connections[i]);
  for (int i = 0; i < CHILDREN; i++) await_end(pidfds[i]);
  // The kernel tells of an end under a lock that a start needs too: behind it, all those ends have
  // reached the waiter, which takes what is ready in order.
  start_and_finish_one();
  settle();
  for (int i = 0; i < CHILDREN; i++) {
    CHECK(!is_zombie(pidfds[i]));
    (void)close(pidfds[i]);
  }
  CHECK_EQUAL(open_descriptors(), before);
  gate_set(&may_end, 1);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void watched_children_call_back(void) {
  const start_t starts[] = {cipc_process_spawn, cipc_process_fork_server};
  for (int how = 0; how < 2; how++) {
    calls = 0;
    settle();
    int connections[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
      cipc_process_t *process = start(starts[how], &connections[i]);
      CHECK_EQUAL(cipc_process_watch(process, count_and_release, process), CIPC_OK);
    }
    CHECK_EQUAL(__atomic_load_n(&calls, __ATOMIC_SEQ_CST), 0);
    for (int i = 0; i < CHILDREN; i++) (void)close(connections[i]);
    gate_wait(&calls, CHILDREN);
  }
}

static void one_that_has_ended_calls_back_at_once(void) {
  settle();
  calls = 0;
  int connection;
  cipc_process_t *process = start(cipc_process_spawn, &connection);
  (void)close(connection);
  cipc_process_status_t status;
  CHECK_EQUAL(cipc_process_wait(process, CIPC_NO_DEADLINE, &status), CIPC_OK);
  CHECK_EQUAL(cipc_process_watch(process, NULL, NULL), CIPC_EINVAL);
  CHECK_EQUAL(cipc_process_watch(NULL, count, NULL), CIPC_EINVAL);
  CHECK_EQUAL(cipc_process_watch(process, count, NULL), CIPC_OK);
  CHECK_EQUAL(calls, 1);
  CHECK(pthread_equal(caller, pthread_self()));
  CHECK_EQUAL(cipc_process_watch(process, count, NULL), CIPC_EBUSY);
  cipc_process_release(process);
}

static int child_tells_its_parent(int connection) {
  pid_t parent = getppid();
  return write(connection, &parent, sizeof parent) == (ssize_t)sizeof parent ? 0 : 99;
}

static void a_watched_child_outlives_its_server(void) {
  settle();
  calls = 0;
  int connection, other;
  cipc_process_t *process = start(cipc_process_fork_server, &connection);
  CHECK_EQUAL(cipc_process_watch(process, count_and_release, process), CIPC_OK);
  cipc_process_t *asked = NULL;
  pid_t server = 0;
  CHECK_EQUAL(cipc_process_fork_server(&asked, &other, child_tells_its_parent, NULL), CIPC_OK);
  CHECK(read(other, &server, sizeof server) == (ssize_t)sizeof server);
  (void)close(other);
  cipc_process_release(asked);
  int pidfd = (int)syscall(SYS_pidfd_open, server, 0);
  CHECK(pidfd >= 0 && kill(server, SIGKILL) == 0);
  await_end(pidfd);
  (void)close(pidfd);
  settle();
  CHECK_EQUAL(__atomic_load_n(&calls, __ATOMIC_SEQ_CST), 0);
  (void)close(connection);
  gate_wait(&calls, 1);
}

int main(int argc, char **argv) {
  CHECK_EQUAL(cipc_process_bootstrap(argc, argv, NULL), CIPC_OK);
  TEST(with_one_thread_none_is_started_and_children_are_reaped_in_passing);
  TEST(a_forked_process_keeps_nothing_of_those_given_up);
  TEST(the_waiter_takes_over_those_from_before_it_started);
  TEST(the_waiter_is_started_beside_other_threads);
  TEST(with_threads_children_are_reaped_as_soon_as_they_end);
  TEST(watched_children_call_back);
  TEST(one_that_has_ended_calls_back_at_once);
  TEST(a_watched_child_outlives_its_server);
  return check_finish();
}
