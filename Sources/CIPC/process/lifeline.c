/* SPDX-License-Identifier: Apache-2.0 */
#include "process/lifeline.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fork_hooks.h"
#include "base/pidfd.h"
#include "cipc/status.h"

int cipc_lifeline_arm(int reader, pid_t pid, int pidfd) {
  int flags = fcntl(reader, F_GETFL);
  if (flags < 0) return -errno;
  if (fcntl(reader, F_SETOWN, pid) < 0) return errno == ESRCH ? 0 : -errno;
  // Not reaped even now: so the number was this child's when it was given.
  if (pidfd >= 0 && cipc_pidfd_signal(pidfd, 0) == CIPC_ESRCH) {
    (void)fcntl(reader, F_SETOWN, 0);
    return 0;
  }
  if (fcntl(reader, F_SETSIG, SIGKILL) < 0 || fcntl(reader, F_SETFL, flags | O_ASYNC) < 0) {
    return -errno;
  }
  return 0;
}

void cipc_lifeline_disarm(int reader) { (void)fcntl(reader, F_SETFL, 0); }

int cipc_lifeline_writer(int reader) {
  char path[32];
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", reader);
  int writer = open(path, O_WRONLY | O_CLOEXEC);
  return writer < 0 ? -errno : writer;
}

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_list_t lifelines = CIPC_LIST_EMPTY(lifelines);

// With the guard.
static void enlist(cipc_lifeline_t *lifeline, int writer) {
  lifeline->writer = writer;
  cipc_list_insert_first(&lifelines, &lifeline->node);
}

int cipc_lifeline_open(cipc_lifeline_t *lifeline, int *reader) {
  // Under the guard, so that a fork finds it in the list or not there at all.
  (void)pthread_mutex_lock(&guard);
  int ends[2];
  int status = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
  if (status == 0) {
    *reader = ends[0];
    enlist(lifeline, ends[1]);
  }
  (void)pthread_mutex_unlock(&guard);
  return status;
}

int cipc_lifeline_reopen(cipc_lifeline_t *lifeline, int reader) {
  (void)pthread_mutex_lock(&guard);
  int writer = cipc_lifeline_writer(reader);
  if (writer >= 0) enlist(lifeline, writer);
  (void)pthread_mutex_unlock(&guard);
  return writer < 0 ? writer : 0;
}

// With the guard.
static void delist(cipc_lifeline_t *lifeline) {
  cipc_list_remove(&lifeline->node);
  (void)close(lifeline->writer);
  lifeline->writer = -1;
}

void cipc_lifeline_close(cipc_lifeline_t *lifeline) {
  (void)pthread_mutex_lock(&guard);
  if (lifeline->writer >= 0) delist(lifeline);
  (void)pthread_mutex_unlock(&guard);
}

static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }
static void fork_child(void) {
  // A copy would keep daemons of the parent alive when that dies.
  CIPC_LIST_EACH_REMOVABLE(node, &lifelines) {
    delist(CIPC_LIST_OBJECT(node, cipc_lifeline_t, node));
  }
  (void)pthread_mutex_unlock(&guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_LIFELINES, fork_prepare, fork_parent, fork_child)
