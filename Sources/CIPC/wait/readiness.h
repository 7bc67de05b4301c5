/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_READINESS_PRIVATE_H
#define CIPC_READINESS_PRIVATE_H

#include <stddef.h>

#include "cipc/readiness.h"
#include "cipc/wait.h"

// What is watched. `step` says CIPC_EAGAIN and where to sleep, or anything else when it is ready.
typedef struct cipc_readiness_subject {
  void *object;
  // The step's own.
  size_t parameter;
  int (*step)(const struct cipc_readiness_subject *subject, cipc_wait_t *wait);
} cipc_readiness_subject_t;

// Makes one; nothing is watched yet. The object must outlive it.
//
// CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM. Does not block.
int cipc_readiness_open(cipc_readiness_t **readiness, const cipc_readiness_subject_t *subject);

#endif
