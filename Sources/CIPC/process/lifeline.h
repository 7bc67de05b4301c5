/* SPDX-License-Identifier: Apache-2.0 */
// What ends a daemon with the process that started it: a pipe of which nobody else holds the
// writing end. When that closes, however it comes, the kernel kills the child.
#ifndef CIPC_LIFELINE_PRIVATE_H
#define CIPC_LIFELINE_PRIVATE_H

#include <sys/types.h>

#include "base/list.h"

typedef struct cipc_lifeline {
  // The writing end, or -1.
  int writer;
  // In the list of those that are open.
  cipc_list_t node;
} cipc_lifeline_t;

static inline void cipc_lifeline_init(cipc_lifeline_t *lifeline) {
  lifeline->writer = -1;
  cipc_list_init(&lifeline->node);
}

// Has the kernel kill a process when the writing end of its lifeline is closed, given the reading
// end, which that process has open as well. (PR_SET_PDEATHSIG would follow the thread that started
// it, not the process.)
//
// The starter arms it, not the child: a child that is stopped before it has run dies all the same.
// The number must be that of a child that is not reaped yet, or is proven by its pidfd (-1 for
// none). 0, also for one that has ended; -errno.
int cipc_lifeline_arm(int reader, pid_t pid, int pidfd);
// Takes that back.
void cipc_lifeline_disarm(int reader);
// A writing end for a pipe of which only the reading end is open: made after a fork, so that the
// child has no copy, which would keep it alive when it is stopped before it has closed that. The
// descriptor, close-on-exec, or -errno.
int cipc_lifeline_writer(int reader);
// The same, for a lifeline, which forked children close. 0 or -errno.
int cipc_lifeline_reopen(cipc_lifeline_t *lifeline, int reader);

// Makes the pipe: the writing end is the lifeline's, which forked children close, the reading end
// the caller's. 0 or -errno.
int cipc_lifeline_open(cipc_lifeline_t *lifeline, int *reader);
// Closes the writing end, where there is one.
void cipc_lifeline_close(cipc_lifeline_t *lifeline);

#endif
