/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/thread.h"
#include "process/child.h"
#include "process/start.h"

// How long a thread that was joined may still be counted: it leaves the kernel's list a little
// after pthread_join has returned; 1 ms was seen on a busy machine.
#define THREAD_LOOKS 40
#define THREAD_PAUSE_NANOSECONDS 250000

static bool has_other_threads(void) {
  for (int i = 0; i < THREAD_LOOKS; i++) {
    if (cipc_thread_count() == 1) return false;
    struct timespec pause = {0, THREAD_PAUSE_NANOSECONDS};
    (void)nanosleep(&pause, NULL);
  }
  return true;
}

// These two alone: fflush(NULL) waits for a thread that sits in a read, and a forked child that
// exits must not write its parent's half-written files.
static void flush(void) {
  (void)fflush(stdout);
  (void)fflush(stderr);
}

// Where the libc has it: not 0 while this process has one thread.
extern char __libc_single_threaded __attribute__((weak));

void cipc_process_flush(void) {
  // Mostly there is nothing, and looking is a tenth of a flush.
  if (__fpending(stdout) > 0) (void)fflush(stdout);
  if (__fpending(stderr) > 0) (void)fflush(stderr);
}

void cipc_process_flush_all(void) {
  // Of one thread, none sits in a read.
  if (&__libc_single_threaded != NULL && __libc_single_threaded != 0) {
    (void)fflush(NULL);
  } else {
    cipc_process_flush();
  }
}

void cipc_process_leave(int code) {
  flush();
  _exit(code);
}

// In the child. What it cannot be given, it must not run without.
static void become(const cipc_start_t *start) {
  const cipc_process_options_t *options = start->options;
  (void)close(start->connection);
  if (start->directory >= 0) {
    if (fchdir(start->directory) < 0) _exit(CIPC_PROCESS_NO_ENTRY);
    (void)close(start->directory);
  }
  // Sources are separate from all numbers that are written here.
  for (int i = 0; i < 3; i++) {
    int source = start->sources[i];
    if (source != i && dup2(source, i) < 0) _exit(CIPC_PROCESS_NO_ENTRY);
    if (start->is_owned[i]) (void)close(source);
  }
  if (options->new_group && setpgid(0, 0) < 0) _exit(CIPC_PROCESS_NO_ENTRY);
  if (options->name != NULL) (void)prctl(PR_SET_NAME, start->greeting.name, 0, 0, 0);

  cipc_greeting_t greeting = start->greeting;
  // Numbers are what they are here: a fork moves no descriptor but the streams.
  if (greeting.lifeline > 0) greeting.lifeline = (uint32_t)start->sources[greeting.lifeline];
  cipc_child_begin(&greeting, start->sources[CIPC_PROCESS_CONNECTION]);
}

int cipc_process_fork(cipc_process_t **process, int *connection,
                      const cipc_process_options_t *options) {
  static const cipc_process_options_t no_options;
  if (options == NULL) options = &no_options;
  if (process == NULL || options->descriptor_count > 0 || options->executable != NULL ||
      options->arguments != NULL) {
    return CIPC_EINVAL;
  }
  if (has_other_threads()) return CIPC_ETHREADS;
  cipc_start_t start;
  int status = cipc_start_prepare(&start, NULL, options);
  if (status == 0) status = cipc_start_separate(&start);
  if (status < 0) return cipc_start_finish(&start, status, process, connection);
  // Opened again when the child is there: see cipc_lifeline_writer.
  cipc_lifeline_close(&start.made->lifeline);

  flush();
  pid_t pid = fork();
  if (pid < 0) return cipc_start_finish(&start, -errno, process, connection);
  if (pid == 0) {
    if (options->environment != NULL && cipc_child_replace_environment(options->environment) < 0) {
      _exit(CIPC_PROCESS_NO_ENTRY);
    }
    become(&start);
    free(start.made);
    *process = NULL;
    if (connection != NULL) {
      *connection = start.sources[CIPC_PROCESS_CONNECTION];
    } else {
      (void)close(start.sources[CIPC_PROCESS_CONNECTION]);
    }
    return CIPC_PROCESS_IN_CHILD;
  }
  start.made->pid = pid;
  if (options->new_group) (void)setpgid(pid, pid);
  status = cipc_start_adopt(&start);
  return cipc_start_finish(&start, status, process, connection);
}
