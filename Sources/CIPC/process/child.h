/* SPDX-License-Identifier: Apache-2.0 */
// What a process knows of itself as a child, and what it does before its task.
#ifndef CIPC_CHILD_PRIVATE_H
#define CIPC_CHILD_PRIVATE_H

#include <stddef.h>

#include "cipc/process.h"
#include "process/greeting.h"

#define CIPC_CHILD_DESCRIPTORS_MAX 250
// The standard streams, the connection, what is handed, and the lifeline.
#define CIPC_CHILD_SOURCES_MAX (3 + 1 + CIPC_CHILD_DESCRIPTORS_MAX + 1)

// The executable of this process.
#define CIPC_PROGRAM_FILE "/proc/self/exe"

// The arguments that this program said it had; NULL for none.
char **cipc_program_arguments(void);

// CIPC_ENOBOOTSTRAP where a child of `executable` (NULL for this program) would run the program
// again, CIPC_EINVAL where it would have no entry.
int cipc_process_can_start(cipc_process_entry_t entry, const char *executable);

// In a child: puts the sources in place and closes everything else. The statuses of dup2.
int cipc_child_place(const int *sources, size_t count);

// In a child: notes who started it, takes the settings and waits until the parent lets it go on,
// which it does once the lifeline is armed. Does not return when the parent has gone.
void cipc_child_begin(const cipc_greeting_t *greeting, int connection);

// In a fork of the server: makes it the child of this greeting.
void cipc_child_become(const cipc_greeting_t *greeting, int connection);

// In a child: gives it its name, runs the entry and exits. Returns where there is no entry yet.
void cipc_child_run(void);

// In a child: replaces the environment by a copy. CIPC_ENOMEM.
int cipc_child_replace_environment(char *const *environment);

#endif
