/* SPDX-License-Identifier: Apache-2.0 */
/// Pipes between a process and the standard streams of its children.
///
/// A `cipc_pipe_t` is the writing end of a pipe whose reading end a child has as its standard
/// input. This process alone has the writing end, so that closing it ends what the child reads: it
/// is close-on-exec, and a forked child, which has a copy of everything, closes its copy.
///
/// Functions may be called from any thread, but not on a pipe that another thread is closing.
#ifndef CIPC_PIPE_H
#define CIPC_PIPE_H

#include <stddef.h>

#include "status.h"

CIPC_BEGIN_DECLS

/// Made by `cipc_pipe_open`, freed by `cipc_pipe_close`.
typedef struct cipc_pipe cipc_pipe_t;

/// Makes a pipe. `*reader` is its reading end, close-on-exec: the caller gives it to a child and
/// then closes it.
///
/// Returns CIPC_OK; CIPC_EINVAL for NULL; CIPC_ENOMEM, CIPC_EMFILE, CIPC_ENFILE.
CIPC_API CIPC_CHECKED int cipc_pipe_open(cipc_pipe_t **pipe, int *reader);

/// Writes as many of the bytes as there is room for, and says how many in `*written`. Does not
/// block, and raises no SIGPIPE.
///
/// Returns CIPC_OK; CIPC_EAGAIN when there is no room: wait until the descriptor is writable;
/// CIPC_EPEERCLOSED when no process reads any more; CIPC_ECLOSED in a forked child of the process
/// that made the pipe; CIPC_EINVAL for NULL.
CIPC_API CIPC_CHECKED int cipc_pipe_write(cipc_pipe_t *pipe, const void *bytes, size_t size,
                                          size_t *written);

/// The descriptor, for waiting; borrowed. -1 in a forked child.
CIPC_API int cipc_pipe_descriptor(const cipc_pipe_t *pipe);

/// Closes the pipe: once the child has read what was written, it finds the end. NULL is ignored.
CIPC_API void cipc_pipe_close(cipc_pipe_t *pipe);

/// Reads what is in a pipe, from its reading end: at most `size` bytes, and says how many in
/// `*count`, 0 at the end. Does not block, also where other threads and processes read from the
/// same pipe, and needs no O_NONBLOCK, which they would share. With kernels before 6.4 only one
/// thread of a process may call this for a pipe at a time, and another process that reads from it
/// can make this block.
///
/// Returns CIPC_OK; CIPC_EAGAIN when there is nothing: wait until the descriptor is readable;
/// CIPC_EBADF; CIPC_EINVAL for NULL; -errno.
CIPC_API CIPC_CHECKED int cipc_pipe_read(int reader, void *bytes, size_t size, size_t *count);

/// How many bytes a pipe holds at the moment. Does not block.
///
/// Returns CIPC_OK; CIPC_EBADF; CIPC_EINVAL for NULL; -errno.
CIPC_API CIPC_CHECKED int cipc_pipe_available(int reader, size_t *count);

CIPC_END_DECLS

#endif
