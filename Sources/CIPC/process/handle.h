/* SPDX-License-Identifier: Apache-2.0 */
// A child, as its parent has it: how it ended, and its descriptors.
#ifndef CIPC_HANDLE_PRIVATE_H
#define CIPC_HANDLE_PRIVATE_H

#include <stdbool.h>

#include "cipc/process.h"
#include "process/lifeline.h"

struct cipc_process {
  pid_t pid;
  int pidfd;
  // Of a child of the fork server: where the server tells how it ended, or -1.
  int report;
  // 1 once the server that was to tell has gone.
  int is_report_lost;
  // Of a daemon.
  cipc_lifeline_t lifeline;
  // 0 while running, then end << 32 | value; written once.
  uint64_t ended;
  // What to call once it has ended, where it is watched; the rest is the reaper's, under its
  // guard.
  cipc_process_callback_t callback;
  void *context;
  bool is_awaited;
  cipc_list_t node;
  cipc_process_t *next_to_await;
};

// A process of which nothing is known yet; NULL for no memory.
cipc_process_t *cipc_process_make(void);
// Frees a process, closes its descriptors.
void cipc_process_free(cipc_process_t *process);

// 1 when the child has ended and the word says how, and then it is reaped; 0 while it runs. Blocks
// only where the fork server was killed: up to 200 ms.
int cipc_process_try_reap(cipc_process_t *process);

static inline uint64_t cipc_ended_word(int end, int value) {
  return (uint64_t)(uint32_t)end << 32 | (uint32_t)value;
}

#endif
