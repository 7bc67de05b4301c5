/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"
#include "floors.h"

pid_t floor_spawn(char *const arguments[], int fd) {
  return floor_spawn_program("/proc/self/exe", arguments, fd);
}

pid_t floor_spawn_program(const char *program, char *const arguments[], int fd) {
  pid_t child = 0;
  int error = 0;
  if (fd < 0) {
    error = posix_spawnp(&child, program, NULL, NULL, arguments, environ);
  } else {
    posix_spawn_file_actions_t actions;
    error = posix_spawn_file_actions_init(&actions);
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, fd, 3);
    if (error == 0) {
      error = posix_spawnp(&child, program, &actions, NULL, arguments, environ);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
  }
  if (error != 0) fail("posix_spawn", error);
  return child;
}

void floor_wait(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail("waitpid", errno);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    (void)fprintf(stderr, "floor: child %d ended with wait status %#x\n", (int)child,
                  (unsigned)status);
    exit(2);
  }
}
