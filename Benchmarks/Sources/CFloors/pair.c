/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "floors.h"
#include "futex.h"
#include "pairs.h"
#include "records.h"
#include "spin.h"

/// What one side writes and the other waits for: numbers of runs. A line each.
typedef struct shared {
  /// The peer sleeps on it.
  uint32_t wanted;
  char apart[124];
  uint32_t awake;
  char apart_too[124];
  size_t count;
  uint32_t begun;
  char apart_as_well[112];
  uint32_t done;
} shared_t;

struct floor_pair {
  floor_jobs_t jobs;
  void *context;
  pid_t peer;
  uint32_t run;
  bool is_awake;
  shared_t *shared;
};

static void await_number(const uint32_t *word, uint32_t number, pid_t peer) {
  for (uint32_t looks = 1; __atomic_load_n(word, __ATOMIC_ACQUIRE) != number; looks++) {
    spin(looks);
    if (looks % 65536 == 0 && peer != 0 && waitpid(peer, NULL, WNOHANG) != 0) {
      fail("the peer is gone", EPIPE);
    }
  }
}

static _Noreturn void serve(floor_pair_t *pair) {
  if (pair->jobs.is_endless) pair->jobs.theirs(pair->context, SIZE_MAX);
  shared_t *shared = pair->shared;
  for (uint32_t run = 1;; run++) {
    futex_wait(&shared->wanted, run - 1);
    __atomic_store_n(&shared->awake, run, __ATOMIC_RELEASE);
    await_number(&shared->begun, run, 0);
    pair->jobs.theirs(pair->context, shared->count);
    __atomic_store_n(&shared->done, run, __ATOMIC_RELEASE);
  }
}

floor_pair_t *floor_pair_create(int core, floor_jobs_t jobs, void *context) {
  floor_pair_t *pair = malloc(sizeof *pair);
  if (pair == NULL) fail("malloc", errno);
  *pair = (floor_pair_t){
      .jobs = jobs, .context = context, .shared = floor_memory_create(sizeof(shared_t))};
  pid_t parent = getpid();
  pair->peer = fork();
  if (pair->peer < 0) fail("fork", errno);
  if (pair->peer == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    floor_pin(core);
    serve(pair);
  }
  return pair;
}

void floor_pair_wake(floor_pair_t *pair) {
  if (pair->jobs.is_endless || pair->is_awake) return;
  pair->is_awake = true;
  pair->run++;
  __atomic_store_n(&pair->shared->wanted, pair->run, __ATOMIC_SEQ_CST);
  futex_wake(&pair->shared->wanted);
  await_number(&pair->shared->awake, pair->run, pair->peer);
}

void floor_pair_run(floor_pair_t *pair, size_t count) {
  if (pair->jobs.is_endless) {
    pair->jobs.ours(pair->context, count);
    return;
  }
  floor_pair_wake(pair);
  pair->shared->count = count;
  __atomic_store_n(&pair->shared->begun, pair->run, __ATOMIC_RELEASE);
  pair->jobs.ours(pair->context, count);
  await_number(&pair->shared->done, pair->run, pair->peer);
  pair->is_awake = false;
}

void floor_pair_end(floor_pair_t *pair) {
  (void)kill(pair->peer, SIGKILL);
  while (waitpid(pair->peer, NULL, 0) < 0 && errno == EINTR) {
  }
  if (pair->jobs.end != NULL) pair->jobs.end(pair->context);
  free(pair);
}

pid_t floor_pair_peer(const floor_pair_t *pair) { return pair->peer; }

void floor_spin(uint32_t looks) { spin(looks); }

void floor_record_fail(void) { fail("a record is not the next one", EBADMSG); }
