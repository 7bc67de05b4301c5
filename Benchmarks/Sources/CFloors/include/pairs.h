/* SPDX-License-Identifier: Apache-2.0 */
/// Two processes that do one job together: this one, and a child of it.
#ifndef PAIRS_H
#define PAIRS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Half of a job, done `count` times.
typedef void floor_job_t(void *context, size_t count);

typedef struct floor_jobs {
  floor_job_t *ours;
  /// In the peer, with its own copy of the context.
  floor_job_t *theirs;
  /// The peer begins at once and never ends; otherwise it does its half as often as we do ours, and
  /// sleeps in between, so that it is out of the way of other contests' peers.
  int is_endless;
  /// Lets go of the context, once the peer is gone; NULL for nothing.
  void (*end)(void *context);
} floor_jobs_t;

typedef struct floor_pair floor_pair_t;

/// Forks a peer, bound to a core, or with -1 to none.
floor_pair_t *floor_pair_create(int core, floor_jobs_t jobs, void *context);
/// Has the peer be awake when the next run begins: waking it may take 80 µs.
void floor_pair_wake(floor_pair_t *pair);
/// Both do their half, at the same time; returns when both are done, or we where the peer is
/// endless.
void floor_pair_run(floor_pair_t *pair, size_t count);
/// Kills the peer.
void floor_pair_end(floor_pair_t *pair);

/// The peer.
pid_t floor_pair_peer(const floor_pair_t *pair);
/// How often the threads of a process have gone to sleep since they began.
size_t floor_sleeps_of(pid_t process);

/// Between two looks of a wait that spins, given how many there were: a pause, or now and then a
/// chance for another process on this core.
void floor_spin(uint32_t looks);

/// How a bare wake-up is done.
typedef enum floor_waker { FLOOR_FUTEX, FLOOR_EVENTFD, FLOOR_PIPE } floor_waker_t;
/// Two processes that take turns: each wakes the other once and sleeps once in a round.
floor_pair_t *floor_ping_pong_create(int core, floor_waker_t waker);
/// The same without any wake-up: each spins on a cache line that the other writes.
floor_pair_t *floor_lines_create(int core);

/// One process writes records of 64 bytes (records.h) into a ring of slots as large as a record,
/// the other reads them; each tells the other how far it is after `batch` records. No waiting but
/// by spinning, nothing checked, one producer, one consumer: what there is to gain by being
/// special.
floor_pair_t *floor_slots_create(int core, size_t batch);

/// One process copies `size` bytes from private to shared memory, the other from shared to private,
/// at the same time and without waiting for each other; through so many places in turn.
floor_pair_t *floor_copies_create(int core, size_t size, size_t places);

/// ZeroMQ, PUSH to PULL through ipc://, messages of 64 bytes.
floor_pair_t *floor_zeromq_create(int core);
/// NULL, or why there is none.
const char *floor_zeromq_missing(void);

#ifdef __cplusplus
}
#endif

#endif
