/* SPDX-License-Identifier: Apache-2.0 */
// Threads of the library's own, of which there are as few as can be.
#ifndef CIPC_THREAD_H
#define CIPC_THREAD_H

// Starts a detached thread with all signals blocked: no handler of the program is to run on it.
// `name` is at most 15 characters. CIPC_EAGAIN, CIPC_ENOMEM: no thread to be had.
int cipc_thread_start(const char *name, void *(*run)(void *), void *argument);

// The threads of this process; 0 where /proc cannot tell.
unsigned long cipc_thread_count(void);

#endif
