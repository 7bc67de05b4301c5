/* SPDX-License-Identifier: Apache-2.0 */
// Real processes for the C tests: forked children, memory shared with them, and words in it that
// one side sets and the other waits for, so that no test sleeps and hopes.
#ifndef CHILD_H
#define CHILD_H

#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/futex.h"
#include "check.h"
#include "cipc/clock.h"

// Long enough for any machine; reaching it is a failure.
#define CHILD_PATIENCE INT64_C(30000000000)

// Memory that children forked later share, all zero. Never freed: the program ends soon.
static inline void *child_shared(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

// Forks a child that runs `body` and ends with 0.
static inline pid_t child_start(void (*body)(void *), void *argument) {
  (void)fflush(NULL);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    (void)alarm(CHECK_TEST_SECONDS);
    body(argument);
    _exit(0);
  }
  return pid;
}

// How a child ended: its exit code, or minus the signal.
static inline int child_join(pid_t pid) {
  int ended = 0;
  while (waitpid(pid, &ended, 0) != pid) CHECK_EQUAL(errno, EINTR);
  return WIFEXITED(ended) ? WEXITSTATUS(ended) : -WTERMSIG(ended);
}

// Kills a child and reaps it.
static inline void child_kill(pid_t pid) {
  CHECK(kill(pid, SIGKILL) == 0);
  CHECK_EQUAL(child_join(pid), -SIGKILL);
}

static inline void gate_set(uint32_t *gate, uint32_t value) {
  __atomic_store_n(gate, value, __ATOMIC_SEQ_CST);
  CHECK(cipc_futex_wake(gate, INT32_MAX) >= 0);
}

// Waits until the gate is at least `value`.
static inline void gate_wait(uint32_t *gate, uint32_t value) {
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  for (;;) {
    uint32_t found = __atomic_load_n(gate, __ATOMIC_SEQ_CST);
    if (found >= value) return;
    CHECK_EQUAL(cipc_futex_wait(gate, found, deadline), 0);
  }
}

// For a child that is to be killed here.
_Noreturn static inline void child_hang(void) {
  for (;;) (void)pause();
}

// Descriptors that this process has open.
static inline int child_descriptors(void) {
  DIR *directory = opendir("/proc/self/fd");
  CHECK(directory != NULL);
  int count = 0;
  while (readdir(directory) != NULL) count++;
  (void)closedir(directory);
  return count;
}

// From now on, a system call fails in this process. False where filters are unavailable.
static inline bool child_forbid(unsigned number, unsigned error) {
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

#endif
