/* SPDX-License-Identifier: Apache-2.0 */
// Children that are reaped though nobody waits for them: those watched, and those given up.
//
// Only a thread can reap a child at the moment of its end without taking SIGCHLD over, which is the
// program's. So the waiter thread does, where there is one, or where one more changes nothing. A
// process with one thread keeps the right to fork, and has its children reaped in passing.
#include <pthread.h>

#include "base/fork_hooks.h"
#include "process/start.h"
#include "wait/waiter.h"

// How long to wait before looking again for a child whose end is known and which cannot be reaped
// yet, since a tracer has it.
#define PAUSE_NANOSECONDS INT64_C(1000000)

/// Those watched that have not ended yet, under the guard.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_process_t *watched;
/// Starts and releases to go until the next look at those that no thread waits for.
static long until_sweep;

static void enlist(cipc_process_t *process) {
  process->previous = NULL;
  process->next = watched;
  if (watched != NULL) watched->previous = process;
  __atomic_store_n(&watched, process, __ATOMIC_RELAXED);
}

static void delist(cipc_process_t *process) {
  if (process->next != NULL) process->next->previous = process->previous;
  if (process->previous != NULL) {
    process->previous->next = process->next;
  } else {
    __atomic_store_n(&watched, process->next, __ATOMIC_RELAXED);
  }
}

static bool may_use_waiter(void) { return cipc_waiter_is_running() || cipc_thread_count() > 1; }

/// Leaves the child to the sweep.
static void await_no_more(cipc_process_t *process) {
  (void)pthread_mutex_lock(&guard);
  process->is_awaited = false;
  (void)pthread_mutex_unlock(&guard);
}

static void signalled(void *context, int status);

/// `is_awaited` is set: until it is taken back, the child is this wait's alone.
static void await(cipc_process_t *process) {
  cipc_waiter_ticket_t ticket;
  int status = cipc_waiter_wait(cipc_process_descriptor(process), CIPC_WAITER_READABLE,
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
    cipc_waiter_ticket_t ticket;
    status =
        cipc_waiter_wait(-1, 0, cipc_clock_deadline(PAUSE_NANOSECONDS), paused, process, &ticket);
    if (status < 0) await_no_more(process);
    return;
  }
  (void)pthread_mutex_lock(&guard);
  delist(process);
  (void)pthread_mutex_unlock(&guard);
  process->callback(process->context);
}

static void sweep(void) {
  if (__atomic_load_n(&watched, __ATOMIC_RELAXED) == NULL) return;
  bool may_await = may_use_waiter();
  cipc_process_t *ended = NULL, *to_await = NULL;
  long left = 0;
  (void)pthread_mutex_lock(&guard);
  for (cipc_process_t *process = watched, *next; process != NULL; process = next) {
    next = process->next;
    if (process->is_awaited) continue;
    if (cipc_process_try_reap(process)) {
      delist(process);
      process->next_found = ended;
      ended = process;
    } else if (may_await) {
      process->is_awaited = true;
      process->next_found = to_await;
      to_await = process;
    } else {
      left++;
    }
  }
  // So that a start costs the same however many of them run.
  __atomic_store_n(&until_sweep, left / 2, __ATOMIC_RELAXED);
  (void)pthread_mutex_unlock(&guard);
  while (ended != NULL) {
    cipc_process_t *process = ended;
    ended = process->next_found;
    process->callback(process->context);
  }
  while (to_await != NULL) {
    cipc_process_t *process = to_await;
    to_await = process->next_found;
    await(process);
  }
}

void cipc_process_sweep(void) {
  if (__atomic_load_n(&watched, __ATOMIC_RELAXED) == NULL) return;
  if (__atomic_fetch_sub(&until_sweep, 1, __ATOMIC_RELAXED) <= 0) sweep();
}

static void sweep_at_start(void) { cipc_waiter_call_first(sweep); }

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
  } else if (cipc_waiter_is_running()) {
    // Started since, and its sweep may have come before this one was in the list.
    cipc_process_sweep();
  }
  return CIPC_OK;
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

// MARK: - Forks

static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }

/// The waits are gone with the thread; and those given up are the parent's children.
static void fork_child(void) {
  for (cipc_process_t *process = watched, *next; process != NULL; process = next) {
    next = process->next;
    process->is_awaited = false;
    if (process->callback != free_ended) continue;
    delist(process);
    cipc_process_free(process);
  }
  (void)pthread_mutex_unlock(&guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_REAPER, fork_prepare, fork_parent, fork_child)
