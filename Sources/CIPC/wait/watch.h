/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_WATCH_PRIVATE_H
#define CIPC_WATCH_PRIVATE_H

#include <stddef.h>

#include "cipc/wait.h"
#include "cipc/watch.h"

// What is watched. `step` says CIPC_EAGAIN and where to sleep, or anything else when it is ready.
typedef struct cipc_watch_subject {
  void *object;
  // The step's own.
  size_t parameter;
  int (*step)(const struct cipc_watch_subject *subject, cipc_wait_t *wait);
} cipc_watch_subject_t;

// Makes a watch; nothing is watched yet. The object must outlive it.
//
// CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM. Does not block.
int cipc_watch_open(cipc_watch_t **watch, const cipc_watch_subject_t *subject);

#endif
