/* SPDX-License-Identifier: Apache-2.0 */
#include "CTestSupport.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_FAILED 99

void *test_map_payload(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) < 0) return NULL;
  char *mapping =
      mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  return mapping == MAP_FAILED ? NULL : mapping + CIPC_SEGMENT_HEADER_SIZE;
}

pid_t test_fork_increments(cipc_mutex_t *mutex, volatile uint64_t *counter, int rounds) {
  pid_t child = fork();
  if (child != 0) return child;
  for (int i = 0; i < rounds; i++) {
    if (cipc_mutex_lock(mutex, CIPC_NO_DEADLINE) != 0) _exit(CHILD_FAILED);
    uint64_t before = *counter;
    // Others come to run just here, and would lose an update if they were let in.
    if (i % 16 == 0) (void)sched_yield();
    *counter = before + 1;
    if (cipc_mutex_unlock(mutex) != 0) _exit(CHILD_FAILED);
  }
  _exit(0);
}

pid_t test_fork_killed_holding(cipc_mutex_t *mutex, int depth, volatile int32_t *mark) {
  pid_t child = fork();
  if (child != 0) return child;
  for (int i = 0; i < depth; i++) {
    if (cipc_mutex_lock(mutex, CIPC_NO_DEADLINE) < 0) _exit(CHILD_FAILED);
  }
  if (mark != NULL) *mark = 13;
  (void)kill(getpid(), SIGKILL);
  _exit(CHILD_FAILED);
}

pid_t test_fork_try(cipc_mutex_t *mutex) {
  pid_t child = fork();
  if (child != 0) return child;
  int status = cipc_mutex_trylock(mutex);
  if (status == CIPC_EBUSY) _exit(1);
  if (status != 0 || cipc_mutex_unlock(mutex) != 0) _exit(CHILD_FAILED);
  _exit(0);
}

pid_t test_fork_holding(cipc_mutex_t *mutex, int ready, int go) {
  pid_t child = fork();
  if (child != 0) return child;
  char byte = 0;
  if (cipc_mutex_lock(mutex, CIPC_NO_DEADLINE) != 0 || write(ready, &byte, 1) != 1 ||
      read(go, &byte, 1) != 1 || cipc_mutex_unlock(mutex) != 0) {
    _exit(CHILD_FAILED);
  }
  _exit(0);
}

pid_t test_fork_cell_increments(cipc_cell_t *cell, int rounds) {
  pid_t child = fork();
  if (child != 0) return child;
  for (int i = 0; i < rounds; i++) {
    uint64_t value;
    if (cipc_cell_begin(cell, &value, sizeof value, CIPC_NO_DEADLINE) != 0) _exit(CHILD_FAILED);
    value++;
    if (cipc_cell_commit(cell, &value, sizeof value) != 0) _exit(CHILD_FAILED);
  }
  _exit(0);
}

pid_t test_fork_cell_writer(cipc_cell_t *cell) {
  pid_t child = fork();
  if (child != 0) return child;
  for (;;) {
    uint64_t words[8];
    if (cipc_cell_begin(cell, words, sizeof words, CIPC_NO_DEADLINE) != 0) _exit(CHILD_FAILED);
    for (int i = 0; i < 7; i++) words[i]++;
    words[7] = 7 * words[0];
    if (cipc_cell_commit(cell, words, sizeof words) != 0) _exit(CHILD_FAILED);
  }
}

pid_t test_fork_atomic_increments(void *word, size_t width, int rounds) {
  pid_t child = fork();
  if (child != 0) return child;
  for (int i = 0; i < rounds; i++) (void)cipc_atomic_add(word, width, 1);
  _exit(0);
}

pid_t test_fork_release(cipc_semaphore_t *semaphore, uint32_t capacity, uint32_t permit) {
  pid_t child = fork();
  if (child != 0) return child;
  int process = cipc_semaphore_release_for(semaphore, capacity, permit, cipc_participant_self());
  int thread = cipc_semaphore_release(semaphore, capacity, permit);
  _exit(process == CIPC_EPERM && thread == CIPC_EPERM ? 1 : 0);
}

int test_wait(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return CHILD_FAILED;
  }
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int test_kill(pid_t child) { return kill(child, SIGKILL); }

int test_pidfd(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int test_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int test_memfd(const void *bytes, size_t size, int sealed, int writable) {
  int descriptor = memfd_create("crafted", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0 || ftruncate(descriptor, (off_t)size) < 0 ||
      pwrite(descriptor, bytes, size, 0) != (ssize_t)size ||
      (sealed && fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) ||
      (!writable && fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE) < 0)) {
    return -1;
  }
  return descriptor;
}

uint64_t test_inode(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) < 0 ? 0 : (uint64_t)status.st_ino;
}

int test_count_descriptors(uint64_t inode) {
  int count = 0;
  DIR *directory = opendir("/proc/self/fd");
  if (directory == NULL) return -1;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    int descriptor = atoi(entry->d_name);
    if (entry->d_name[0] != '.' && test_inode(descriptor) == inode) count++;
  }
  (void)closedir(directory);
  return count;
}

int test_count_mappings(uint64_t inode) {
  int count = 0;
  FILE *maps = fopen("/proc/self/maps", "re");
  if (maps == NULL) return -1;
  char line[4096];
  while (fgets(line, sizeof line, maps) != NULL) {
    unsigned long long found = 0;
    if (sscanf(line, "%*s %*s %*s %*s %llu", &found) == 1 && found == inode) count++;
  }
  (void)fclose(maps);
  return count;
}

int test_terminal(char *path, size_t room) {
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0) return -1;
  if (grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, path, room) != 0) {
    close(master);
    return -1;
  }
  return master;
}

static void ignore(int signal) { (void)signal; }

int test_lead_session(const char *terminal) {
  if (setsid() < 0) return -1;
  // The first terminal that a session's leader opens is the session's.
  int descriptor = open(terminal, O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return -1;
  for (int i = 0; i < 3; i++) {
    if (dup2(descriptor, i) < 0) return -1;
  }
  close(descriptor);
  // A handler and not SIG_IGN, which what it executes would inherit.
  struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
  if (sigaction(SIGINT, &action, NULL) < 0) return -1;
  return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

// Goes on to the next stop; 1 when there was one, 0 at the end of the process.
static int trace_on(pid_t pid, int how) {
  int signal = 0;
  for (;;) {
    int status;
    if (ptrace(how, pid, NULL, (void *)(intptr_t)signal) < 0) return 0;
    if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) return 0;
    signal = WSTOPSIG(status);
    if (signal == (SIGTRAP | 0x80) || signal == SIGTRAP) return 1;
    // Its own signals reach it; stops of the group's do not hold it.
    if (status >> 16 != 0) signal = 0;
  }
}

// Begins to trace a process, and stops it. 1: it stands still; 0: it has ended; negative: it cannot
// be traced.
static int follow(pid_t pid) {
  int status;
  if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) < 0) return -1;
  if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0) return 0;
  return waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
}

int test_kill_at(pid_t pid, long calls, long instructions, int ready) {
  int status;
  int followed = follow(pid);
  (void)!write(ready, "", 1);
  (void)close(ready);
  if (followed <= 0) return followed;
  for (long i = 0; i < calls; i++) {
    if (!trace_on(pid, PTRACE_SYSCALL)) return 0;
  }
  for (long i = 0; i < instructions; i++) {
    if (!trace_on(pid, PTRACE_SINGLESTEP)) return 0;
  }
  (void)kill(pid, SIGKILL);
  while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
  }
  return 1;
}
