/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

int cipc_thread_start(const char *name, void *(*run)(void *), void *argument) {
  pthread_attr_t attributes;
  int status = -pthread_attr_init(&attributes);
  if (status < 0) return status;
  (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // The thread inherits the mask.
  sigset_t all, before;
  sigfillset(&all);
  status = -pthread_sigmask(SIG_SETMASK, &all, &before);
  if (status == 0) {
    pthread_t thread;
    status = -pthread_create(&thread, &attributes, run, argument);
    if (status == 0) (void)pthread_setname_np(thread, name);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  (void)pthread_attr_destroy(&attributes);
  return status;
}

unsigned long cipc_thread_count(void) {
  struct stat tasks;
  if (stat("/proc/self/task", &tasks) < 0 || tasks.st_nlink < 3) return 0;
  return (unsigned long)tasks.st_nlink - 2;
}
