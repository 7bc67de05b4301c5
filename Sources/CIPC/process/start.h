/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_START_PRIVATE_H
#define CIPC_START_PRIVATE_H

// What the three ways of starting a child have in common: what the parent prepares, what the child
// is told first, and how the parent takes it over.

#include <stdbool.h>

#include "cipc/image.h"
#include "cipc/participant.h"
#include "cipc/process.h"

#define CIPC_START_DESCRIPTORS_MAX 250
/// RLIM_NLIMITS, which is the same on all that Linux runs on.
#define CIPC_START_LIMITS 16
/// Of the largest set of processors that a kernel can be built for, 8,192 of them.
#define CIPC_START_AFFINITY_MAX 1024
/// The standard streams, the connection, what is handed, and the lifeline.
#define CIPC_START_SOURCES_MAX (3 + 1 + CIPC_START_DESCRIPTORS_MAX + 1)

struct cipc_process {
  pid_t pid;
  int pidfd;
  /// Of a child of the fork server: where the server tells how it ended, or -1.
  int report;
  /// 1 once the server that was to tell has gone.
  int is_report_lost;
  /// Of a daemon: the writing end of a pipe that nobody else holds, or -1. When it closes, however
  /// that comes, the kernel kills the child: see `cipc_lifeline_arm`.
  int lifeline;
  /// 0 while running, then end << 32 | value; written once.
  uint64_t ended;
  /// What to call once it has ended, where it is watched; the rest is the reaper's, under its
  /// guard.
  cipc_process_callback_t callback;
  void *context;
  bool is_awaited;
  cipc_process_t *next, *previous;
  cipc_process_t *next_found;
  /// In the list of those with a lifeline.
  cipc_process_t *next_line, *previous_line;
};

/// What the options say that a child sets in itself.
typedef struct cipc_settings {
  /// Whether there is any. If so, the child sends an int32_t on its connection when it has tried: a
  /// status.
  uint32_t is_given;
  /// The limits that are given, a bit for each.
  uint32_t limits_given;
  uint64_t limits[CIPC_START_LIMITS][2];
  uint32_t nice_given;
  int32_t nice;
  /// In bytes; 0 for none.
  uint32_t affinity_size;
  uint32_t padding;
  uint8_t affinity[CIPC_START_AFFINITY_MAX];
} cipc_settings_t;

/// What a child is told first. A spawned child finds it on its connection before it begins, so that
/// it can tell at once whether it is one. One byte follows on the connection when the parent has
/// the child's pidfd: the child goes on only then, since a child that ends earlier, and whose
/// parent ignores SIGCHLD, is gone without a trace.
typedef struct cipc_greeting {
  char magic[8];
  uint32_t version;
  uint32_t has_entry;
  cipc_image_location_t entry;
  char name[16];
  /// Who started the child: not its parent, where the fork server has forked it.
  cipc_participant_t starter;
  /// The number of the lifeline's reading end in the child; 0 for none.
  uint32_t lifeline;
  /// Descriptors from CIPC_PROCESS_CONNECTION on.
  uint32_t count;
  cipc_settings_t settings;
} cipc_greeting_t;

#define CIPC_GREETING_MAGIC "CIPCboot"
#define CIPC_GREETING_VERSION UINT32_C(3)

typedef struct cipc_start {
  const cipc_process_options_t *options;
  cipc_greeting_t greeting;
  cipc_process_t *made;
  /// Of the options.
  cipc_deadline_t deadline;
  /// Our end of the connection.
  int connection;
  /// The child's directory, or -1 for ours.
  int directory;
  /// `sources[i]` becomes descriptor i of the child; the owned ones are closed at the end.
  size_t count;
  int sources[CIPC_START_SOURCES_MAX];
  bool is_owned[CIPC_START_SOURCES_MAX];
} cipc_start_t;

/// Checks the options and opens what the child gets. Whatever it returns, `cipc_start_finish`
/// follows.
int cipc_start_prepare(cipc_start_t *start, cipc_process_entry_t entry,
                       const cipc_process_options_t *options);

/// Copies the sources whose numbers others of the child get, so that they can be put in place one
/// after the other.
int cipc_start_separate(cipc_start_t *start);

/// Takes a started child over, whose pid is known: arms the lifeline of a daemon, waits until it
/// has its settings, then sends the byte that lets it go on. Ends the child when that fails.
/// `made->pidfd` is opened unless it is known already; the fork server has armed the lifeline of
/// its child.
int cipc_start_adopt(cipc_start_t *start);

/// Closes what the child has by now and hands out the process and the connection, or frees them;
/// returns the status.
int cipc_start_finish(cipc_start_t *start, int status, cipc_process_t **process, int *connection);

/// In a child: puts the sources in place and closes everything else. The statuses of dup2.
int cipc_start_place(const int *sources, size_t count);

/// In a child: notes who started it, takes the settings and waits until the parent lets it go on,
/// which it does once the lifeline is armed. Does not return when the parent has gone.
void cipc_child_begin(const cipc_greeting_t *greeting, int connection);

/// In a fork of the server: makes it the child of this greeting.
void cipc_child_become(const cipc_greeting_t *greeting, int connection);

/// In a child: gives it its name, runs the entry and exits. Returns where there is no entry yet.
void cipc_child_run(void);

/// In a child: replaces the environment by a copy. CIPC_ENOMEM.
int cipc_environment_replace(char *const *environment);

/// Frees a process, closes its descriptors.
void cipc_process_free(cipc_process_t *process);

/// Has the kernel kill a process when the writing end of its lifeline is closed, given the reading
/// end, which that process has open as well. (PR_SET_PDEATHSIG would follow the thread that started
/// it, not the process.)
///
/// The starter arms it, not the child: a child that is stopped before it has run dies all the same.
/// The number must be that of a child that is not reaped yet, or is proven by its pidfd (-1 for
/// none). 0, also for one that has ended; -errno.
int cipc_lifeline_arm(int reader, pid_t pid, int pidfd);
/// Takes that back.
void cipc_lifeline_disarm(int reader);
/// A writing end for a pipe of which only the reading end is open: made after a fork, so that the
/// child has no copy, which would keep it alive when it is stopped before it has closed that. The
/// descriptor, close-on-exec, or -errno.
int cipc_lifeline_writer(int reader);
/// The same, as the process's. 0 or -errno.
int cipc_lifeline_reopen(cipc_process_t *process, int reader);

/// Makes the pipe of a lifeline: the writing end is the process's, which forked children close, the
/// reading end the caller's. 0 or -errno.
int cipc_lifeline_open(cipc_process_t *process, int *reader);
/// Closes the writing end, where there is one.
void cipc_lifeline_delist(cipc_process_t *process);

/// Runs small tasks, as a child does, so that much is done already when a child begins: in the
/// server, between its first answer and its next, and again in each spare child. NULL for nothing.
/// Set before `main`.
extern void (*cipc_server_warm_up)(int is_spare);

/// Has the kernel map the pages that the end of this process will need: those of the destructors
/// of its images. Changes nothing else. Not beside other threads.
void cipc_image_touch_ends(void);

/// Reaps watched children that have ended, where no thread does; now and then, so that it costs the
/// same however many there are.
void cipc_process_sweep(void);

/// 1 when the child has ended and the word says how, and then it is reaped; 0 while it runs. Blocks
/// only where the fork server was killed: up to 200 ms.
int cipc_process_try_reap(cipc_process_t *process);

/// CIPC_ENOBOOTSTRAP where a child of `executable` (NULL for this program) would run the program
/// again, CIPC_EINVAL where it would have no entry.
int cipc_process_can_start(cipc_process_entry_t entry, const char *executable);

int cipc_pidfd_open(pid_t pid);

/// The threads of this process; 0 where /proc cannot tell.
unsigned long cipc_thread_count(void);

static inline uint64_t cipc_ended_word(int end, int value) {
  return (uint64_t)(uint32_t)end << 32 | (uint32_t)value;
}

/// The word for a status that wait(2) gave.
uint64_t cipc_ended_of_status(int status);

#endif
