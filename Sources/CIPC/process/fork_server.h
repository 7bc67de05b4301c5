/* SPDX-License-Identifier: Apache-2.0 */
// The fork server: a child of this program, with one thread and nothing in its memory, that forks
// itself on request. Its socket is this process's alone, so that its end is the end of the server.
//
// A request is a frame with descriptors: the socket to answer on, the caller's directory, and then
// what the child gets, in the order of its numbers. The answer is the child's pid with its pidfd,
// and later, on the same socket, how the child ended.
//
// Once a request has been answered the server forks the child of the next one, the *preforked* one.
// It has the kernel map what its task will need, then sleeps in a read from a socket that the
// server alone has the other end of, and ends when that closes. A request goes to that child where
// there is one and it takes it at once; else the server forks as if there had never been one. So
// the fork and most page faults are done while the caller does something else; where there is one
// processor for both, none is forked ahead.
#ifndef CIPC_FORK_SERVER_PRIVATE_H
#define CIPC_FORK_SERVER_PRIVATE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process/greeting.h"

// What the server runs.
int cipc_fork_server_main(int connection);

// Runs small tasks, as a child does, so that much is done already when a child begins: in the
// server, between its first answer and its next, and again in each preforked child. NULL for
// nothing. Set before `main`.
extern void (*cipc_fork_server_warm_up)(int is_preforked);

// Has the dynamic linker bind all functions of the server at once: what is bound there is bound in
// its children, and each of them would spend a third of its time on some dozens.
#define CIPC_FORK_SERVER_BIND_NOW "LD_BIND_NOW=1"
// Descriptors in front of what the child gets.
#define CIPC_FORK_SERVER_DESCRIPTORS 2

// Signals of a terminal: the child ignores those that the caller ignores.
#define CIPC_FORK_SERVER_SIGNALS \
  { SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU }
#define CIPC_FORK_SERVER_SIGNAL_COUNT 6

// The beginning of a request. The environment follows, each entry with its zero byte.
typedef struct cipc_fork_server_request {
  cipc_greeting_t greeting;
  uint64_t limits[CIPC_GREETING_LIMITS][2];
  uint32_t file_mask;
  uint32_t ignored_signals;
  uint32_t new_group;
  uint32_t environment_count;
  // Of the caller: its thread's.
  int32_t nice;
  // In bytes; 0 where the kernel did not tell.
  uint32_t affinity_size;
  uint8_t affinity[CIPC_GREETING_AFFINITY_MAX];
} cipc_fork_server_request_t;

typedef struct cipc_fork_server_answer {
  int32_t status;
  int32_t pid;
} cipc_fork_server_answer_t;

// getrlimit and setrlimit in one; by number, since the type of a resource differs between libcs.
static inline int cipc_fork_server_limit(int resource, const uint64_t *wanted, uint64_t *here) {
  return syscall(SYS_prlimit64, 0, resource, wanted, here) < 0 ? -errno : 0;
}

#endif
