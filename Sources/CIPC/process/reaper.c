/* SPDX-License-Identifier: Apache-2.0 */
// Only a thread can reap a child at the moment of its end without taking SIGCHLD over, which is the
// program's. So the poller's thread does, where there is one, or where one more changes nothing. A
// process with one thread keeps the right to fork, and has its children reaped in passing.
#include "process/reaper.h"

#include <pthread.h>

#include "base/fork_hooks.h"
#include "base/list.h"
#include "base/thread.h"
#include "cipc/process.h"
#include "process/handle.h"
#include "wait/poller.h"

// How long to wait before looking again for a child whose end is known and which cannot be reaped
// yet, since a tracer has it.
#define PAUSE_NANOSECONDS INT64_C(1000000)

// Those watched that have not ended yet, under the guard.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_list_t watched = CIPC_LIST_EMPTY(watched);
// Starts and releases to go until the next look at those that no thread waits for.
static long until_sweep;

static cipc_process_t *object(cipc_list_t *node) {
  return CIPC_LIST_OBJECT(node, cipc_process_t, node);
}

// How many those are; read without the guard, since a start that misses one leaves it to the next.
static long watched_count;

static bool is_any_watched(void) { return __atomic_load_n(&watched_count, __ATOMIC_RELAXED) != 0; }

static void enlist(cipc_process_t *process) {
  cipc_list_insert_first(&watched, &process->node);
  __atomic_store_n(&watched_count, watched_count + 1, __ATOMIC_RELAXED);
}

static void delist(cipc_process_t *process) {
  cipc_list_remove(&process->node);
  __atomic_store_n(&watched_count, watched_count - 1, __ATOMIC_RELAXED);
}

static bool may_use_waiter(void) { return cipc_poller_is_running() || cipc_thread_count() > 1; }

// Leaves the child to the sweep.
static void await_no_more(cipc_process_t *process) {
  (void)pthread_mutex_lock(&guard);
  process->is_awaited = false;
  (void)pthread_mutex_unlock(&guard);
}

static void signalled(void *context, int status);

// `is_awaited` is set: until it is taken back, the child is this wait's alone.
static void await(cipc_process_t *process) {
  cipc_poller_ticket_t ticket;
  int status = cipc_poller_wait(cipc_process_descriptor(process), CIPC_POLLER_READABLE,
                                CIPC_NO_DEADLINE, signalled, process, &ticket);
  if (status < 0) await_no_more(process);
}

static void paused(void *context, int status) {
  (void)status;
  await(context);
}

static void signalled(void *context, int status) {
  cipc_process_t *process = context;
  if (!cipc_process_try_reap(process)) {
    // A tracer has it; or the fork server was killed, and there is another descriptor to wait for.
    cipc_poller_ticket_t ticket;
    status =
        cipc_poller_wait(-1, 0, cipc_clock_deadline(PAUSE_NANOSECONDS), paused, process, &ticket);
    if (status < 0) await_no_more(process);
    return;
  }
  (void)pthread_mutex_lock(&guard);
  delist(process);
  (void)pthread_mutex_unlock(&guard);
  process->callback(process->context);
}

static void sweep(void) {
  if (!is_any_watched()) return;
  bool may_await = may_use_waiter();
  cipc_list_t ended = CIPC_LIST_EMPTY(ended);
  cipc_process_t *to_await = NULL;
  long left = 0;
  (void)pthread_mutex_lock(&guard);
  CIPC_LIST_EACH_REMOVABLE(node, &watched) {
    cipc_process_t *process = object(node);
    if (process->is_awaited) continue;
    if (cipc_process_try_reap(process)) {
      delist(process);
      cipc_list_insert_first(&ended, node);
    } else if (may_await) {
      process->is_awaited = true;
      process->next_to_await = to_await;
      to_await = process;
    } else {
      left++;
    }
  }
  // So that a start costs the same however many of them run.
  __atomic_store_n(&until_sweep, left / 2, __ATOMIC_RELAXED);
  (void)pthread_mutex_unlock(&guard);
  while (!cipc_list_is_empty(&ended)) {
    cipc_process_t *process = object(ended.next);
    cipc_list_remove(&process->node);
    process->callback(process->context);
  }
  while (to_await != NULL) {
    cipc_process_t *process = to_await;
    to_await = process->next_to_await;
    await(process);
  }
}

void cipc_process_sweep(void) {
  if (!is_any_watched()) return;
  if (__atomic_fetch_sub(&until_sweep, 1, __ATOMIC_RELAXED) <= 0) sweep();
}

static void sweep_at_start(void) { cipc_poller_call_first(sweep); }

int cipc_process_watch(cipc_process_t *process, cipc_process_callback_t callback, void *context) {
  if (process == NULL || callback == NULL) return CIPC_EINVAL;
  // Each time, since it changes nothing: a fork in the middle of a pthread_once may block its
  // child.
  sweep_at_start();
  bool has_ended = cipc_process_try_reap(process);
  bool may_await = !has_ended && may_use_waiter();
  (void)pthread_mutex_lock(&guard);
  bool is_first = process->callback == NULL;
  if (is_first) {
    process->callback = callback;
    process->context = context;
    process->is_awaited = may_await;
    if (!has_ended) enlist(process);
  }
  (void)pthread_mutex_unlock(&guard);
  if (!is_first) return CIPC_EBUSY;
  if (has_ended) {
    callback(context);
  } else if (may_await) {
    await(process);
  } else if (cipc_poller_is_running()) {
    // Started since, and its sweep may have come before this one was in the list.
    cipc_process_sweep();
  }
  return 0;
}

static void free_ended(void *context) { cipc_process_free(context); }

void cipc_process_release(cipc_process_t *process) {
  if (process == NULL) {
    sweep();
    return;
  }
  cipc_process_sweep();
  if (cipc_process_try_reap(process)) {
    cipc_process_free(process);
  } else {
    (void)!cipc_process_watch(process, free_ended, process);
  }
}

// MARK: Forks

static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }

// The waits are gone with the thread; and those given up are the parent's children.
static void fork_child(void) {
  CIPC_LIST_EACH_REMOVABLE(node, &watched) {
    cipc_process_t *process = object(node);
    process->is_awaited = false;
    if (process->callback != free_ended) continue;
    delist(process);
    cipc_process_free(process);
  }
  (void)pthread_mutex_unlock(&guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_REAPER, fork_prepare, fork_parent, fork_child)
