/* SPDX-License-Identifier: Apache-2.0 */
/// What a parent can find out about the death of its child, beyond a signal's number.
#ifndef CIPC_DEATH_H
#define CIPC_DEATH_H

#include <stddef.h>
#include <sys/types.h>

#include "status.h"

CIPC_BEGIN_DECLS

/// The longest word that `cipc_death_watch_memory` takes.
#define CIPC_DEATH_WORD_MAX 16

/// Makes this process, whose memory is limited (RLIMIT_DATA), send a word of at most
/// CIPC_DEATH_WORD_MAX bytes on a socket when it dies of the limit: when SIGABRT, SIGSEGV, SIGBUS,
/// SIGILL or SIGTRAP arrives after memory was refused, or with next to none left. The signal then
/// acts as it did before this call, handlers included, so that the process ends as it would have.
///
/// Installs handlers for those signals. A handler that is installed later takes their place. Does
/// not block. Call it once, before other threads are started.
///
/// Returns CIPC_OK; CIPC_EINVAL for NULL, no bytes or too many, CIPC_ENOENT where there is no
/// limit.
CIPC_API CIPC_CHECKED int cipc_death_watch_memory(int socket, const void *word, size_t size);

/// Kills the `swift-backtrace` that a crashing child of this process has started, if there is one:
/// it would wait for ever for a child that is killed meanwhile, and keep the child's output open.
/// Call it before killing the child. Does not block; takes some microseconds.
CIPC_API void cipc_death_end_backtrace(pid_t child);

/// Copies the unread bytes of a pipe, up to `room` bytes from their end, and leaves them there.
/// `*length` is how many were copied. Does not block.
///
/// Returns CIPC_OK; CIPC_EINVAL for NULL and for a descriptor that is not a pipe; CIPC_ENOMEM,
/// CIPC_EMFILE, CIPC_ENFILE.
CIPC_API CIPC_CHECKED int cipc_death_unread(int pipe, void *buffer, size_t room, size_t *length);

CIPC_END_DECLS

#endif
