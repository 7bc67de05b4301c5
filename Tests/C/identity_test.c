/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/participant.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "child.h"

// Waits in the child until the parent closes its end of `pipe`.
static int until_closed[2];

static void wait_for_close(void *unused) {
  (void)unused;
  (void)close(until_closed[1]);
  char byte;
  CHECK_EQUAL(read(until_closed[0], &byte, 1), 0);
}

static pid_t start_waiting(void) {
  CHECK(pipe2(until_closed, O_CLOEXEC) == 0);
  pid_t child = child_start(wait_for_close, NULL);
  (void)close(until_closed[0]);
  return child;
}

static cipc_participant_t of(pid_t pid) {
  cipc_participant_t participant = CIPC_PARTICIPANT_NOBODY;
  CHECK_EQUAL(cipc_participant_of(pid, &participant), 0);
  CHECK(participant != CIPC_PARTICIPANT_NOBODY);
  return participant;
}

static void self_is_this_process(void) {
  cipc_participant_t self = cipc_participant_self();
  CHECK(self == of(getpid()));
  CHECK(self == cipc_participant_current());
  CHECK_EQUAL(cipc_participant_pid(self), getpid());
  CHECK_EQUAL(cipc_participant_check(self), 0);
}

static void *ask_self(void *found) {
  *(cipc_participant_t *)found = cipc_participant_self();
  return NULL;
}

static void threads_are_one_participant(void) {
  cipc_participant_t found = CIPC_PARTICIPANT_NOBODY;
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, ask_self, &found), 0);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
  CHECK(found == cipc_participant_self());
}

static void report_self(void *word) {
  *(cipc_participant_t *)word = cipc_participant_current();
  CHECK(cipc_participant_current() == of(getpid()));
}

static void a_forked_child_is_another(void) {
  cipc_participant_t *reported = child_shared(sizeof *reported);
  cipc_participant_t parent = cipc_participant_self();
  pid_t child = child_start(report_self, reported);
  CHECK_EQUAL(child_join(child), 0);
  CHECK(*reported != parent);
  CHECK_EQUAL(cipc_participant_pid(*reported), child);
  CHECK(cipc_participant_self() == parent);
}

static void report_from_grandchild(void *word) {
  CHECK_EQUAL(child_join(child_start(report_self, word)), 0);
  CHECK(*(cipc_participant_t *)word != cipc_participant_self());
}

static void a_grandchild_is_another_again(void) {
  cipc_participant_t *reported = child_shared(sizeof *reported);
  CHECK_EQUAL(child_join(child_start(report_from_grandchild, reported)), 0);
}

static void the_dead_are_dead_before_and_after_they_are_reaped(void) {
  pid_t child = start_waiting();
  cipc_participant_t participant = of(child);
  CHECK_EQUAL(cipc_participant_check(participant), 0);
  (void)close(until_closed[1]);
  siginfo_t ended;
  CHECK(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT) == 0);
  CHECK_EQUAL(cipc_participant_check(participant), CIPC_PARTICIPANT_DEAD);
  CHECK_EQUAL(child_join(child), 0);
  CHECK_EQUAL(cipc_participant_check(participant), CIPC_PARTICIPANT_DEAD);
  CHECK_EQUAL(cipc_participant_of(child, &participant), CIPC_ESRCH);
}

static void the_killed_are_dead(void) {
  pid_t child = start_waiting();
  cipc_participant_t participant = of(child);
  child_kill(child);
  (void)close(until_closed[1]);
  CHECK_EQUAL(cipc_participant_check(participant), CIPC_PARTICIPANT_DEAD);
}

static void the_stopped_are_alive(void) {
  pid_t child = start_waiting();
  cipc_participant_t participant = of(child);
  CHECK(kill(child, SIGSTOP) == 0);
  int status = 0;
  CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
  CHECK_EQUAL(cipc_participant_check(participant), 0);
  CHECK(kill(child, SIGCONT) == 0);
  (void)close(until_closed[1]);
  CHECK_EQUAL(child_join(child), 0);
}

// Another start time with the same pid: what a recycled pid looks like.
static void a_recycled_pid_is_another_participant(void) {
  const cipc_participant_t tick = UINT64_C(1) << 22;
  cipc_participant_t self = cipc_participant_self();
  CHECK_EQUAL(cipc_participant_check(self - tick), CIPC_PARTICIPANT_DEAD);
  CHECK_EQUAL(cipc_participant_check(self + tick), CIPC_PARTICIPANT_DEAD);
  CHECK_EQUAL(cipc_participant_pid(self + tick), getpid());
}

static void nobody_is_an_error(void) {
  CHECK_EQUAL(cipc_participant_pid(CIPC_PARTICIPANT_NOBODY), 0);
  CHECK_EQUAL(cipc_participant_check(CIPC_PARTICIPANT_NOBODY), CIPC_EINVAL);
  // A start time without a pid.
  CHECK_EQUAL(cipc_participant_check(UINT64_C(1) << 22), CIPC_EINVAL);
}

static void any_bits_are_dead_or_an_error(void) {
  uint64_t bits = 88172645463325252u;
  for (int i = 0; i < 2000; i++) {
    bits ^= bits << 13;
    bits ^= bits >> 7;
    bits ^= bits << 17;
    int status = cipc_participant_check(bits);
    CHECK(status == CIPC_PARTICIPANT_DEAD || status == CIPC_EINVAL);
  }
}

static void unused_numbers_are_no_process(void) {
  cipc_participant_t participant;
  // The kernel's largest pid is 2^22 - 1.
  CHECK_EQUAL(cipc_participant_of(1 << 22, &participant), CIPC_ESRCH);
  CHECK_EQUAL(cipc_participant_of(-1, &participant), CIPC_ESRCH);
}

static void a_strange_name_hides_nothing(void) {
  static const char *const names[] = {") S 1 (", "a) b) c", "((((", "a b c d e f g", ") 1 2 3 4 5"};
  cipc_participant_t self = cipc_participant_self();
  char before[16];
  CHECK(prctl(PR_GET_NAME, before) == 0);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    CHECK(prctl(PR_SET_NAME, names[i]) == 0);
    CHECK(of(getpid()) == self);
  }
  CHECK(prctl(PR_SET_NAME, before) == 0);
}

static void become_cat(void *unused) {
  (void)unused;
  (void)close(until_closed[1]);
  CHECK(dup2(until_closed[0], STDIN_FILENO) == STDIN_FILENO);
  (void)execlp("cat", "cat", (char *)NULL);
}

static void exec_keeps_the_identity(void) {
  int executed[2];
  CHECK(pipe2(until_closed, O_CLOEXEC) == 0);
  CHECK(pipe2(executed, O_CLOEXEC) == 0);
  pid_t child = child_start(become_cat, NULL);
  (void)close(until_closed[0]);
  cipc_participant_t before = of(child);
  // Close-on-exec: the end of file says that the other program runs.
  (void)close(executed[1]);
  char byte;
  CHECK_EQUAL(read(executed[0], &byte, 1), 0);
  CHECK(of(child) == before);
  CHECK_EQUAL(cipc_participant_check(before), 0);
  (void)close(until_closed[1]);
  CHECK_EQUAL(child_join(child), 0);
  (void)close(executed[0]);
}

static void *outlive_main(void *gate) {
  gate_wait(gate, 1);
  _exit(0);
}

static void end_main_thread(void *gate) {
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, outlive_main, gate), 0);
  pthread_exit(NULL);
}

static int state_of(pid_t pid) {
  char path[32];
  char text[512] = "";
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE *file = fopen(path, "re");
  CHECK(file != NULL);
  CHECK(fgets(text, sizeof text, file) != NULL);
  (void)fclose(file);
  return strrchr(text, ')')[2];
}

static void a_process_whose_main_thread_ended_is_alive(void) {
  uint32_t *gate = child_shared(sizeof *gate);
  pid_t child = child_start(end_main_thread, gate);
  cipc_participant_t participant = of(child);
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  while (state_of(child) != 'Z') CHECK(cipc_clock_now() < deadline && sched_yield() == 0);
  CHECK_EQUAL(cipc_participant_check(participant), 0);
  gate_set(gate, 1);
  CHECK_EQUAL(child_join(child), 0);
  CHECK_EQUAL(cipc_participant_check(participant), CIPC_PARTICIPANT_DEAD);
}

typedef struct thread_gates {
  uint32_t started;
  uint32_t finish;
  pid_t tid;
} thread_gates_t;

static void *tell_tid(void *argument) {
  thread_gates_t *gates = argument;
  gates->tid = (pid_t)syscall(SYS_gettid);
  gate_set(&gates->started, 1);
  gate_wait(&gates->finish, 1);
  return NULL;
}

// A number that was a process once and is a thread now.
static void a_thread_is_no_participant(void) {
  thread_gates_t gates = {0, 0, 0};
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, tell_tid, &gates), 0);
  gate_wait(&gates.started, 1);
  cipc_participant_t participant =
      (cipc_participant_self() & ~UINT64_C(0x3fffff)) | (cipc_participant_t)gates.tid;
  CHECK_EQUAL(cipc_participant_check(participant), CIPC_PARTICIPANT_DEAD);
  gate_set(&gates.finish, 1);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

// MARK: Threads

typedef struct visitor {
  cipc_participant_t first;
  cipc_participant_t again;
  uint32_t told;
  uint32_t finish;
} visitor_t;

static void *visit(void *argument) {
  visitor_t *visitor = argument;
  visitor->first = cipc_participant_this_thread();
  visitor->again = cipc_participant_this_thread();
  gate_set(&visitor->told, 1);
  gate_wait(&visitor->finish, 1);
  return NULL;
}

// The kernel takes a thread off its list a little after pthread_join has returned.
static void check_that_it_dies(cipc_participant_t participant) {
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  while (cipc_participant_check(participant) != CIPC_PARTICIPANT_DEAD) {
    CHECK(cipc_clock_now() < deadline && sched_yield() == 0);
  }
}

static void threads_have_identities_of_their_own(void) {
  visitor_t visitor = {0, 0, 0, 0};
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, visit, &visitor), 0);
  gate_wait(&visitor.told, 1);
  cipc_participant_t mine = cipc_participant_this_thread();
  CHECK(visitor.first == visitor.again && visitor.first != mine);
  CHECK((visitor.first & mine & CIPC_PARTICIPANT_THREAD) != 0);
  CHECK((cipc_participant_self() & CIPC_PARTICIPANT_THREAD) == 0);
  // The first thread has the number and the start time of its process.
  CHECK((mine & ~CIPC_PARTICIPANT_THREAD) == cipc_participant_self());
  CHECK(mine == cipc_participant_this_thread());
  CHECK_EQUAL(cipc_participant_check(mine), 0);
  CHECK_EQUAL(cipc_participant_check(visitor.first), 0);
  gate_set(&visitor.finish, 1);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
  check_that_it_dies(visitor.first);
  CHECK_EQUAL(cipc_participant_check(mine), 0);
}

static void a_recycled_thread_number_is_another_participant(void) {
  const cipc_participant_t tick = UINT64_C(1) << 22;
  cipc_participant_t mine = cipc_participant_this_thread();
  CHECK_EQUAL(cipc_participant_check(mine - tick), CIPC_PARTICIPANT_DEAD);
  CHECK_EQUAL(cipc_participant_check(mine + tick), CIPC_PARTICIPANT_DEAD);
  CHECK_EQUAL(cipc_participant_check(CIPC_PARTICIPANT_THREAD), CIPC_EINVAL);
}

static void report_thread(void *word) {
  cipc_participant_t mine = cipc_participant_this_thread();
  CHECK_EQUAL(cipc_participant_pid(mine), getpid());
  CHECK((mine & ~CIPC_PARTICIPANT_THREAD) == cipc_participant_self());
  *(cipc_participant_t *)word = mine;
}

static void *fork_from_a_thread(void *word) {
  cipc_participant_t before = cipc_participant_this_thread();
  CHECK_EQUAL(child_join(child_start(report_thread, word)), 0);
  CHECK(cipc_participant_this_thread() == before);
  return NULL;
}

static void a_forked_child_has_another_thread(void) {
  cipc_participant_t *reported = child_shared(sizeof *reported);
  cipc_participant_t mine = cipc_participant_this_thread();
  CHECK_EQUAL(child_join(child_start(report_thread, reported)), 0);
  CHECK(*reported != mine);
  CHECK_EQUAL(cipc_participant_check(*reported), CIPC_PARTICIPANT_DEAD);
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, fork_from_a_thread, reported), 0);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

static void a_stopped_thread_is_alive(void) {
  pid_t child = start_waiting();
  cipc_participant_t thread = of(child) | CIPC_PARTICIPANT_THREAD;
  CHECK(kill(child, SIGSTOP) == 0);
  int status = 0;
  CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
  CHECK_EQUAL(cipc_participant_check(thread), 0);
  CHECK(kill(child, SIGCONT) == 0);
  CHECK(kill(child, SIGKILL) == 0);
  siginfo_t ended;
  CHECK(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT) == 0);
  CHECK_EQUAL(cipc_participant_check(thread), CIPC_PARTICIPANT_DEAD);
  CHECK_EQUAL(child_join(child), -SIGKILL);
  CHECK_EQUAL(cipc_participant_check(thread), CIPC_PARTICIPANT_DEAD);
  (void)close(until_closed[1]);
}

static void a_first_thread_that_ended_is_dead_in_a_live_process(void) {
  uint32_t *gate = child_shared(sizeof *gate);
  pid_t child = child_start(end_main_thread, gate);
  cipc_participant_t process = of(child);
  check_that_it_dies(process | CIPC_PARTICIPANT_THREAD);
  CHECK_EQUAL(cipc_participant_check(process), 0);
  gate_set(gate, 1);
  CHECK_EQUAL(child_join(child), 0);
}

static void *become_cat_on_a_thread(void *thread) {
  *(cipc_participant_t *)thread = cipc_participant_this_thread();
  become_cat(NULL);
  return NULL;
}

static void exec_on_a_thread(void *thread) {
  pthread_t other;
  CHECK_EQUAL(pthread_create(&other, NULL, become_cat_on_a_thread, thread), 0);
  child_hang();
}

// It becomes the first thread, number and start time included.
static void a_thread_that_executes_is_dead(void) {
  int executed[2];
  cipc_participant_t *thread = child_shared(sizeof *thread);
  CHECK(pipe2(until_closed, O_CLOEXEC) == 0);
  CHECK(pipe2(executed, O_CLOEXEC) == 0);
  pid_t child = child_start(exec_on_a_thread, thread);
  (void)close(until_closed[0]);
  cipc_participant_t process = of(child);
  (void)close(executed[1]);
  char byte;
  CHECK_EQUAL(read(executed[0], &byte, 1), 0);
  CHECK_EQUAL(cipc_participant_check(*thread), CIPC_PARTICIPANT_DEAD);
  CHECK_EQUAL(cipc_participant_check(process), 0);
  CHECK_EQUAL(cipc_participant_check(process | CIPC_PARTICIPANT_THREAD), 0);
  (void)close(until_closed[1]);
  CHECK_EQUAL(child_join(child), 0);
  (void)close(executed[0]);
}

// MARK: What cannot be told

static void look_at_what_is_hidden(void *argument) {
  const cipc_participant_t *others = argument;
  CHECK(setgid(65534) == 0 && setuid(65534) == 0);
  CHECK_EQUAL(cipc_participant_check(others[0]), CIPC_EPERM);
  CHECK_EQUAL(cipc_participant_check(others[0] | CIPC_PARTICIPANT_THREAD), CIPC_EPERM);
  CHECK_EQUAL(cipc_participant_check(others[1]), CIPC_PARTICIPANT_DEAD);
  CHECK_EQUAL(cipc_participant_check(others[1] | CIPC_PARTICIPANT_THREAD), CIPC_PARTICIPANT_DEAD);
  cipc_participant_t unknown;
  CHECK_EQUAL(cipc_participant_of(cipc_participant_pid(others[0]), &unknown), CIPC_EPERM);
  CHECK_EQUAL(cipc_participant_of(cipc_participant_pid(others[1]), &unknown), CIPC_ESRCH);
}

// Exit code 2: such a mount is unavailable here.
static void hide_processes(void *argument) {
  const cipc_participant_t *others = argument;
  if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
      mount("proc", "/proc", "proc", 0, "hidepid=2") < 0) {
    _exit(2);
  }
  CHECK_EQUAL(child_join(child_start(look_at_what_is_hidden, (void *)(uintptr_t)others)), 0);
}

static void what_proc_hides_is_not_dead(void) {
  pid_t ended = child_start(report_self, child_shared(sizeof(cipc_participant_t)));
  cipc_participant_t *others = child_shared(2 * sizeof *others);
  others[0] = cipc_participant_self();
  others[1] = of(ended);
  CHECK_EQUAL(child_join(ended), 0);
  int status = child_join(child_start(hide_processes, others));
  if (status == 2) {
    check_skip("mounting a /proc that hides processes needs root");
    return;
  }
  CHECK_EQUAL(status, 0);
}

static void run_out_of_descriptors(void *unused) {
  (void)unused;
  cipc_participant_t self = cipc_participant_self();
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = 0;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK_EQUAL(cipc_participant_check(self), CIPC_EMFILE);
  CHECK(cipc_participant_self() == self);
}

static void no_descriptor_is_no_proof_of_death(void) {
  CHECK_EQUAL(child_join(child_start(run_out_of_descriptors, NULL)), 0);
}

static void checking_leaks_no_descriptors(void) {
  int before = child_descriptors();
  for (int i = 0; i < 100; i++) {
    CHECK_EQUAL(cipc_participant_check(cipc_participant_self()), 0);
    CHECK_EQUAL(cipc_participant_check(cipc_participant_self() + (UINT64_C(1) << 22)),
                CIPC_PARTICIPANT_DEAD);
  }
  CHECK_EQUAL(child_descriptors(), before);
}

static void report_namespace(void *word) { *(uint64_t *)word = cipc_participant_namespace(); }

static void children_share_the_namespace(void) {
  uint64_t *reported = child_shared(sizeof *reported);
  CHECK(cipc_participant_namespace() != 0);
  CHECK_EQUAL(child_join(child_start(report_namespace, reported)), 0);
  CHECK(*reported == cipc_participant_namespace());
}

int main(void) {
  TEST(self_is_this_process);
  TEST(threads_are_one_participant);
  TEST(a_forked_child_is_another);
  TEST(a_grandchild_is_another_again);
  TEST(the_dead_are_dead_before_and_after_they_are_reaped);
  TEST(the_killed_are_dead);
  TEST(the_stopped_are_alive);
  TEST(a_recycled_pid_is_another_participant);
  TEST(nobody_is_an_error);
  TEST(any_bits_are_dead_or_an_error);
  TEST(unused_numbers_are_no_process);
  TEST(a_strange_name_hides_nothing);
  TEST(exec_keeps_the_identity);
  TEST(a_process_whose_main_thread_ended_is_alive);
  TEST(a_thread_is_no_participant);
  TEST(threads_have_identities_of_their_own);
  TEST(a_recycled_thread_number_is_another_participant);
  TEST(a_forked_child_has_another_thread);
  TEST(a_stopped_thread_is_alive);
  TEST(a_first_thread_that_ended_is_dead_in_a_live_process);
  TEST(a_thread_that_executes_is_dead);
  TEST(what_proc_hides_is_not_dead);
  TEST(no_descriptor_is_no_proof_of_death);
  TEST(checking_leaks_no_descriptors);
  TEST(children_share_the_namespace);
  return check_finish();
}
