/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_START_PRIVATE_H
#define CIPC_START_PRIVATE_H

// What the three ways of starting a child have in common: what the parent prepares, and how it
// takes the child over.

#include <stdbool.h>

#include "process/child.h"
#include "process/greeting.h"
#include "process/handle.h"

typedef struct cipc_start {
  const cipc_process_options_t *options;
  cipc_greeting_t greeting;
  cipc_process_t *made;
  // Of the options.
  cipc_deadline_t deadline;
  // Our end of the connection.
  int connection;
  // The child's directory, or -1 for ours.
  int directory;
  // `sources[i]` becomes descriptor i of the child; the owned ones are closed at the end.
  size_t count;
  int sources[CIPC_CHILD_SOURCES_MAX];
  bool is_owned[CIPC_CHILD_SOURCES_MAX];
} cipc_start_t;

// Checks the options and opens what the child gets. Whatever it returns, `cipc_start_finish`
// follows.
int cipc_start_prepare(cipc_start_t *start, cipc_process_entry_t entry,
                       const cipc_process_options_t *options);

// Copies the sources whose numbers others of the child get, so that they can be put in place one
// after the other.
int cipc_start_separate(cipc_start_t *start);

// Takes a started child over, whose pid is known: arms the lifeline of a daemon, waits until it
// has its settings, then sends the byte that lets it go on. Ends the child when that fails.
// `made->pidfd` is opened unless it is known already; the fork server has armed the lifeline of
// its child.
int cipc_start_adopt(cipc_start_t *start);

// Closes what the child has by now and hands out the process and the connection, or frees them;
// returns the status.
int cipc_start_finish(cipc_start_t *start, int status, cipc_process_t **process, int *connection);

#endif
