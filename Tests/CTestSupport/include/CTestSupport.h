/* SPDX-License-Identifier: Apache-2.0 */
// Other processes for the Swift tests of shared memory: forked children that run nothing but C, so
// that forking a test process with many threads is safe.
#ifndef CTESTSUPPORT_H
#define CTESTSUPPORT_H

#include <stdint.h>
#include <sys/types.h>

#include "cipc.h"

// Maps the memory behind a descriptor a second time, for the children; the payload of a typed
// segment. NULL on failure. Never unmapped.
void *test_map_payload(int descriptor);

// A child that does `rounds` times: lock, `*counter += 1` in two steps, unlock. The pid.
pid_t test_fork_increments(cipc_mutex_t *mutex, volatile uint64_t *counter, int rounds);

// A child that takes the mutex `depth` times, sets `*mark` if there is one, and is killed by
// SIGKILL while it holds it.
pid_t test_fork_killed_holding(cipc_mutex_t *mutex, int depth, volatile int32_t *mark);

// A child that tries the mutex once and exits with 0 (taken and released) or 1 (busy).
pid_t test_fork_try(cipc_mutex_t *mutex);

// A child that takes the mutex, writes a byte to `ready`, reads one from `go`, unlocks and exits.
pid_t test_fork_holding(cipc_mutex_t *mutex, int ready, int go);

// A child that adds 1 to a cell of a 64-bit integer `rounds` times.
pid_t test_fork_cell_increments(cipc_cell_t *cell, int rounds);

// A child that updates a cell of 8 words for ever: seven equal counters and their sum.
pid_t test_fork_cell_writer(cipc_cell_t *cell);

// A child that adds 1 to an atomic of `width` bytes `rounds` times.
pid_t test_fork_atomic_increments(void *word, size_t width, int rounds);

// A child that tries to release a permit of its parent's, as a process and as a thread, and exits
// with 1 when it is refused both times.
pid_t test_fork_release(cipc_semaphore_t *semaphore, uint32_t capacity, uint32_t permit);

// Waits for a child: its exit code, or minus the signal that killed it.
int test_wait(pid_t child);
int test_kill(pid_t child);

// pipe2(2) with O_CLOEXEC, which Swift does not see.
int test_pipe(int ends[2]);

// pidfd_open(2), close-on-exec.
int test_pidfd(pid_t pid);

// Makes a terminal; its master, close-on-exec, with the path of its other side.
int test_terminal(char *path, size_t room);

// Makes this process the leader of a session at a terminal, which becomes its standard streams; one
// that a Ctrl-C there does not end, and to which its descendants fall when they lose their parent.
int test_lead_session(const char *terminal);

// Follows a process, not a child of this one, to its system-call stop number `calls`, then single
// steps as many instructions, and kills it there. To be called by one thread, which waits
// meanwhile. Writes a byte to `ready` and closes it once the process is followed, or cannot be:
// system calls are counted from there. 1: killed there; 0: it ended before; negative: it cannot be
// traced.
int test_kill_at(pid_t pid, long calls, long instructions, int ready);

// A memfd of these bytes, sealed against resizing if asked for, and against writing unless.
int test_memfd(const void *bytes, size_t size, int sealed, int writable);

uint64_t test_inode(int descriptor);
// How many descriptors and mappings of this process are of an inode.
int test_count_descriptors(uint64_t inode);
int test_count_mappings(uint64_t inode);

#endif
