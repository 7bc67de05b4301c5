/* SPDX-License-Identifier: Apache-2.0 */
// What a parent tells its child first.
#ifndef CIPC_GREETING_PRIVATE_H
#define CIPC_GREETING_PRIVATE_H

#include "cipc/image.h"
#include "cipc/participant.h"

// RLIM_NLIMITS, which is the same on all that Linux runs on.
#define CIPC_GREETING_LIMITS 16
// Of the largest set of processors that a kernel can be built for, 8,192 of them.
#define CIPC_GREETING_AFFINITY_MAX 1024
// Names the descriptor of the connection in the environment of a spawned child.
#define CIPC_GREETING_VARIABLE "CIPC_BOOTSTRAP"

#define CIPC_GREETING_MAGIC "CIPCboot"
#define CIPC_GREETING_VERSION UINT32_C(3)

// What the options say that a child sets in itself.
typedef struct cipc_settings {
  // Whether there is any. If so, the child sends an int32_t on its connection when it has tried: a
  // status.
  uint32_t is_given;
  // The limits that are given, a bit for each.
  uint32_t limits_given;
  uint64_t limits[CIPC_GREETING_LIMITS][2];
  uint32_t nice_given;
  int32_t nice;
  // In bytes; 0 for none.
  uint32_t affinity_size;
  uint32_t padding;
  uint8_t affinity[CIPC_GREETING_AFFINITY_MAX];
} cipc_settings_t;

// What a child is told first. A spawned child finds it on its connection before it begins, so that
// it can tell at once whether it is one. One byte follows on the connection when the parent has
// the child's pidfd: the child goes on only then, since a child that ends earlier, and whose
// parent ignores SIGCHLD, is gone without a trace.
typedef struct cipc_greeting {
  char magic[8];
  uint32_t version;
  uint32_t has_entry;
  cipc_image_location_t entry;
  char name[16];
  // Who started the child: not its parent, where the fork server has forked it.
  cipc_participant_t starter;
  // The number of the lifeline's reading end in the child; 0 for none.
  uint32_t lifeline;
  // Descriptors from CIPC_PROCESS_CONNECTION on.
  uint32_t count;
  cipc_settings_t settings;
} cipc_greeting_t;

#endif
