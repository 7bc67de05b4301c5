/* SPDX-License-Identifier: Apache-2.0 */
// Messages with descriptors in them (SCM_RIGHTS), on Unix sockets.
#ifndef CIPC_RIGHTS_PRIVATE_H
#define CIPC_RIGHTS_PRIVATE_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

// The most that one message brings: SCM_MAX_FD of the kernel.
#define CIPC_RIGHTS_MAX 253
// The most that one message takes: sendmsg of musl takes 1024 bytes of control data, one descriptor
// less than the kernel.
#define CIPC_RIGHTS_OUT_MAX 252

// The descriptors of one message that arrived.
typedef struct cipc_rights {
  int descriptors[CIPC_RIGHTS_MAX];
  size_t count;
  // CIPC_EDESCRIPTORSLOST: some did not fit this process, and are gone. 0.
  int status;
} cipc_rights_t;

// Sends bytes with descriptors, at most CIPC_RIGHTS_OUT_MAX: how many bytes, or -errno, never
// EINTR. `flags` are those of sendmsg(2), beside MSG_NOSIGNAL.
ssize_t cipc_rights_send(int fd, const struct iovec *vector, int pieces, const int *descriptors,
                         size_t count, int flags);

// Receives bytes with descriptors, which are close-on-exec: how many bytes, or -errno, never EINTR.
// `rights` NULL: descriptors are not received, as with sockets that carry none. `message_flags`, if
// not NULL, is what recvmsg(2) says of the message.
ssize_t cipc_rights_receive(int fd, const struct iovec *vector, int pieces, cipc_rights_t *rights,
                            int flags, int *message_flags);

#endif
