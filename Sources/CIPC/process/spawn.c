/* SPDX-License-Identifier: Apache-2.0 */
// Starting a child by executing a program: this one, or another.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "process/child.h"
#include "process/start.h"

#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 34)
#define HAS_CLOSEFROM 1
#endif
#if __GLIBC_PREREQ(2, 29)
#define HAS_FCHDIR 1
#endif
#else
#define HAS_FCHDIR 1
#endif
#if !defined(HAS_CLOSEFROM)
#include <dirent.h>
#endif

extern char **environ;

// The environment with the variable in it; to be freed. The strings are borrowed.
static char **environment_make(char *const *environment, char *variable) {
  size_t count = 0;
  while (environment != NULL && environment[count] != NULL) count++;
  char **copy = malloc((count + 2) * sizeof *copy);
  if (copy == NULL) return NULL;
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    // Read once: a thread that takes a variable away may have shortened the list.
    char *entry = environment[i];
    if (entry == NULL) break;
    if (strncmp(entry, CIPC_GREETING_VARIABLE "=", sizeof CIPC_GREETING_VARIABLE) != 0)
      copy[kept++] = entry;
  }
  copy[kept++] = variable;
  copy[kept] = NULL;
  return copy;
}

#if !defined(HAS_CLOSEFROM)
// Closes, in the child, what is open here from `first` on and not close-on-exec.
// A descriptor that another thread opens meanwhile slips through; with glibc the
// child closes them itself.
static int actions_close_from(posix_spawn_file_actions_t *actions, int first) {
  DIR *directory = opendir("/proc/self/fd");
  if (directory == NULL) return errno;
  int status = 0;
  struct dirent *entry;
  while (status == 0 && (entry = readdir(directory)) != NULL) {
    int descriptor = atoi(entry->d_name);
    int flags = descriptor >= first ? fcntl(descriptor, F_GETFD) : -1;
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) {
      status = posix_spawn_file_actions_addclose(actions, descriptor);
    }
  }
  (void)closedir(directory);
  return status;
}
#else
static int actions_close_from(posix_spawn_file_actions_t *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}
#endif

// Says what becomes of the descriptors in the child. The sources are above all the numbers that
// they get there, or are the number already.
static int actions_make(posix_spawn_file_actions_t *actions, const cipc_start_t *start) {
  int status = 0;
  if (start->directory >= 0) {
#if defined(HAS_FCHDIR)
    status = posix_spawn_file_actions_addfchdir_np(actions, start->directory);
#else
    status = ENOSYS;
#endif
  }
  for (size_t i = 0; status == 0 && i < start->count; i++) {
    // Onto the same number, too, this clears close-on-exec, in the child alone.
    status = posix_spawn_file_actions_adddup2(actions, start->sources[i], (int)i);
  }
  if (status == 0) status = actions_close_from(actions, (int)start->count);
  return status;
}

static int attributes_make(posix_spawnattr_t *attributes, int new_group) {
  static const int kept[] = {SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
  sigset_t none, defaults;
  sigemptyset(&none);
  sigfillset(&defaults);
  // An ignored one of these stays ignored; one with a handler gets its default by execve.
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) sigdelset(&defaults, kept[i]);
  int status = posix_spawnattr_setsigmask(attributes, &none);
  if (status == 0) status = posix_spawnattr_setsigdefault(attributes, &defaults);
  if (status == 0) {
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (new_group) flags |= POSIX_SPAWN_SETPGROUP;
    status = posix_spawnattr_setflags(attributes, (short)flags);
  }
  return status;
}

static int spawn_file(cipc_start_t *start) {
  const cipc_process_options_t *options = start->options;
  static char variable[] = CIPC_GREETING_VARIABLE "=3";
  _Static_assert(CIPC_PROCESS_CONNECTION == 3, "the variable spells it");
  static char no_name[] = "cipc";
  static char *no_arguments[] = {no_name, NULL};
  char *const *arguments =
      options->arguments != NULL ? options->arguments : cipc_program_arguments();
  if (arguments == NULL) arguments = no_arguments;
  char **environment =
      environment_make(options->environment != NULL ? options->environment : environ, variable);
  if (environment == NULL) return CIPC_ENOMEM;

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int status = posix_spawn_file_actions_init(&actions);
  if (status != 0) goto out_environment;
  status = posix_spawnattr_init(&attributes);
  if (status != 0) goto out_actions;
  status = actions_make(&actions, start);
  if (status == 0) status = attributes_make(&attributes, options->new_group);
  if (status == 0) {
    status = posix_spawn(&start->made->pid,
                         options->executable != NULL ? options->executable : CIPC_PROGRAM_FILE,
                         &actions, &attributes, arguments, environment);
  }
  (void)posix_spawnattr_destroy(&attributes);
out_actions:
  (void)posix_spawn_file_actions_destroy(&actions);
out_environment:
  free(environment);
  return -status;
}

int cipc_process_spawn(cipc_process_t **process, int *connection, cipc_process_entry_t entry,
                       const cipc_process_options_t *options) {
  static const cipc_process_options_t no_options;
  if (options == NULL) options = &no_options;
  if (process == NULL) return CIPC_EINVAL;
  int status = cipc_process_can_start(entry, options->executable);
  if (status < 0) return status;
  cipc_start_t start;
  status = cipc_start_prepare(&start, entry, options);
  if (status == 0) status = cipc_start_separate(&start);
  if (status == 0) {
    ssize_t size =
        send(start.connection, &start.greeting, sizeof start.greeting, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size != (ssize_t)sizeof start.greeting) status = size < 0 ? -errno : CIPC_EAGAIN;
  }
  if (status == 0) status = spawn_file(&start);
  if (status == 0) status = cipc_start_adopt(&start);
  return cipc_start_finish(&start, status, process, connection);
}
