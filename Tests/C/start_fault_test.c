/* SPDX-License-Identifier: Apache-2.0 */
// Kills the child, the fork server or the parent at each system call of a start, at its entry and
// at its exit, from the start to the end of the child. The processes that are left end with a clear
// status.
//
// A tracer (this program) follows a parent and all that this starts, and counts their stops.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "child.h"
#include "cipc.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#if !defined(HAS_SANITIZER)
#define HAS_SANITIZER 0
#endif

typedef enum method { SPAWN, FORK_SERVER, FORK } method_t;
typedef enum victim { CHILDREN, PARENT } victim_t;

// How the parent says what became of the child, as its exit code.
enum { CHILD_DID_IT, START_FAILED, CHILD_KILLED, CHILD_REFUSED, UNKNOWN, OUTCOMES };
static const char *const outcome_names[] = {"child did its work", "start failed", "child killed",
                                            "child saw its parent fail", "unknown"};
#define PARENT_BROKEN 99

static int child_reads_a_byte(int connection) {
  char byte;
  return (int)read(connection, &byte, 1) == 1 ? 0 : CIPC_PROCESS_NO_ENTRY;
}

static int start(method_t method, cipc_process_t **process, int *connection) {
  if (method == SPAWN) return cipc_process_spawn(process, connection, child_reads_a_byte, NULL);
  if (method == FORK_SERVER) {
    return cipc_process_fork_server(process, connection, child_reads_a_byte, NULL);
  }
  int status = cipc_process_fork(process, connection, NULL);
  if (status == CIPC_PROCESS_IN_CHILD) cipc_process_leave(child_reads_a_byte(*connection));
  return status;
}

_Noreturn static void parent_main(method_t method, int go) {
  char byte;
  if (read(go, &byte, 1) != 1) _exit(PARENT_BROKEN);
  (void)close(go);
  cipc_process_t *process;
  int connection;
  int before = child_descriptors();
  int status = start(method, &process, &connection);
  if (status < 0) {
    // The fork server, its socket and its lifeline stay.
    _exit(child_descriptors() <= before + 3 ? START_FAILED : PARENT_BROKEN);
  }
  (void)!send(connection, "", 1, MSG_NOSIGNAL);
  cipc_process_status_t ended;
  status = cipc_process_wait(process, cipc_clock_deadline(CHILD_PATIENCE), &ended);
  if (status < 0) _exit(PARENT_BROKEN);
  cipc_process_release(process);
  (void)close(connection);
  if (ended.end == CIPC_PROCESS_UNKNOWN) _exit(UNKNOWN);
  if (ended.end == CIPC_PROCESS_SIGNALLED) {
    _exit(ended.value == SIGKILL ? CHILD_KILLED : PARENT_BROKEN);
  }
  if (ended.value == CIPC_PROCESS_NO_ENTRY) _exit(CHILD_REFUSED);
  _exit(ended.value == 0 ? CHILD_DID_IT : PARENT_BROKEN);
}

/// One start, with a SIGKILL for the victim at its stop number `kill_at`. Whether there was one so
/// late.
static int run(method_t method, victim_t victim, int kill_at, int *outcomes) {
  (void)alarm(CHECK_TEST_SECONDS);
  int go[2];
  CHECK(pipe(go) == 0);
  (void)fflush(NULL);
  pid_t parent = fork();
  CHECK(parent >= 0);
  if (parent == 0) {
    (void)close(go[1]);
    parent_main(method, go[0]);
  }
  (void)close(go[0]);
  long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                 PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
  CHECK(ptrace(PTRACE_SEIZE, parent, NULL, options) == 0);
  CHECK(ptrace(PTRACE_INTERRUPT, parent, NULL, NULL) == 0);
  CHECK(write(go[1], "", 1) == 1);
  (void)close(go[1]);

  int stops = 0, has_killed = 0, is_parent_killed = 0;
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, __WALL);
    if (pid < 0) {
      if (errno == EINTR) continue;
      // No process is left, neither hung nor orphaned.
      CHECK_EQUAL(errno, ECHILD);
      return has_killed;
    }
    if (!WIFSTOPPED(status)) {
      if (pid != parent) continue;
      if (is_parent_killed) {
        CHECK(WIFSIGNALED(status));
      } else {
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) < OUTCOMES);
        outcomes[WEXITSTATUS(status)]++;
      }
      continue;
    }
    int signal = WSTOPSIG(status);
    int is_syscall = signal == (SIGTRAP | 0x80);
    if (is_syscall && !has_killed && (pid == parent) == (victim == PARENT) && ++stops == kill_at) {
      has_killed = 1;
      is_parent_killed = pid == parent;
      CHECK(kill(pid, SIGKILL) == 0);
      continue;
    }
    // Events of the tracing itself are no signals for the process.
    if (is_syscall || status >> 16 != 0) signal = 0;
    // Fails for one that was killed meanwhile.
    (void)ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)signal);
  }
}

static void sweep(method_t method, victim_t victim) {
  if (HAS_SANITIZER) {
    check_skip("a sanitizer cannot be traced");
    return;
  }
  int outcomes[OUTCOMES] = {0};
  int kills = 0;
  while (run(method, victim, kills + 1, outcomes)) kills++;
  (void)printf("  killed at %d stops:", kills);
  for (int i = 0; i < OUTCOMES; i++) {
    if (outcomes[i] > 0) (void)printf(" %s %d times;", outcome_names[i], outcomes[i]);
  }
  (void)printf("\n");
  CHECK(kills > 5);
}

static void the_child_of_a_spawn_is_killed(void) { sweep(SPAWN, CHILDREN); }
static void the_parent_of_a_spawn_is_killed(void) { sweep(SPAWN, PARENT); }
static void the_fork_server_or_its_child_is_killed(void) { sweep(FORK_SERVER, CHILDREN); }
static void the_parent_of_a_fork_server_is_killed(void) { sweep(FORK_SERVER, PARENT); }
static void the_child_of_a_fork_is_killed(void) { sweep(FORK, CHILDREN); }
static void the_parent_of_a_fork_is_killed(void) { sweep(FORK, PARENT); }

int main(int argc, char **argv) {
  CHECK_EQUAL(cipc_process_bootstrap(argc, argv, NULL), CIPC_OK);
  TEST(the_child_of_a_spawn_is_killed);
  TEST(the_parent_of_a_spawn_is_killed);
  TEST(the_fork_server_or_its_child_is_killed);
  TEST(the_parent_of_a_fork_server_is_killed);
  TEST(the_child_of_a_fork_is_killed);
  TEST(the_parent_of_a_fork_is_killed);
  return check_finish();
}
