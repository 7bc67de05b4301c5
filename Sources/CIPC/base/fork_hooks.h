/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_FORK_HOOKS_PRIVATE_H
#define CIPC_FORK_HOOKS_PRIVATE_H

// What the library does around a fork of its process: one pthread_atfork, and a list of rooms.
//
// Every lock of the library that lies in a process's own memory belongs to a room. A fork takes all
// of them first, so that the child finds what they guard between two changes and never in the
// middle of one; then parent and child release theirs. The child has the calling thread alone:
// its room forgets the threads that were inside. Locks in shared memory are not the fork's: the
// parent's thread that holds one goes on and releases it.
//
// A forked child of a process with several threads may use the C library. The Swift library
// refuses to make one, since the Swift runtime has locks of its own.

// In the order of locking: a thread that holds a lock of one rank takes locks of higher ranks
// alone. A fork takes them from the lowest on, and releases them from the highest on.
enum {
  CIPC_FORK_RANK_SERVER = 1,
  CIPC_FORK_RANK_REAPER,
  CIPC_FORK_RANK_LIFELINES,
  CIPC_FORK_RANK_LISTENERS,
  CIPC_FORK_RANK_CONNECTIONS,
  CIPC_FORK_RANK_PIPES,
  CIPC_FORK_RANK_READINESS,
  CIPC_FORK_RANK_PARTICIPANTS,
  CIPC_FORK_RANK_POLLER,
  CIPC_FORK_RANK_FUTEX_WAITER,
  CIPC_FORK_RANK_DROPS,
};

typedef struct cipc_fork_room {
  int rank;
  void (*prepare)(void);  // takes the room's locks
  void (*parent)(void);   // releases them
  void (*child)(void);    // in the child: forgets other threads, then releases them
  struct cipc_fork_room *next;
} cipc_fork_room_t;

// How many forks lie between this process and the first. What was made before the last one is the
// parent's, too.
extern unsigned cipc_fork_count;

// Adds a room, which must live for ever. Once for each.
void cipc_fork_register(cipc_fork_room_t *room);

// Adds this file's room before `main`, so that no lock is ever taken before its room is known.
#define CIPC_FORK_ROOM(rank, prepare, parent, child) \
  static cipc_fork_room_t fork_room = {rank, prepare, parent, child, NULL}; \
  __attribute__((constructor)) static void register_fork_room(void) { \
    cipc_fork_register(&fork_room); \
  }

#endif
