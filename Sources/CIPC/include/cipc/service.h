/* SPDX-License-Identifier: Apache-2.0 */
/// A program as a service: the sockets that the service manager hands to it, and what it tells that
/// manager about itself. systemd is one such manager; others speak the same protocol
/// (sd_listen_fds(3), sd_notify(3)). Nothing of systemd is needed for it.
///
///     cipc_service_socket_t socket;
///     size_t count;
///     cipc_listener_t *listener;
///     int status = cipc_service_sockets(&socket, 1, &count);
///     if (status == 0 && count == 1) status = cipc_listener_adopt(&listener, socket.descriptor);
///     if (status == 0) status = cipc_service_notify("READY=1", 7, CIPC_NO_DEADLINE);
///
/// The functions read the environment: a thread that changes it meanwhile is a race, as with
/// getenv(3). They may be called after a fork, where no sockets are the child's own.
#ifndef CIPC_SERVICE_H
#define CIPC_SERVICE_H

#include <stddef.h>

#include "clock.h"
#include "status.h"
#include "wait.h"

CIPC_BEGIN_DECLS

/// The number of the first descriptor that is handed over; the others follow it.
#define CIPC_SERVICE_FIRST 3
/// The most bytes of a socket's name.
#define CIPC_SERVICE_NAME 255

/// A socket that was handed over.
typedef struct cipc_service_socket {
  int descriptor;
  /// What the manager calls it, in systemd by FileDescriptorName=, which is the name of the socket
  /// unit where there is none; "unknown" where the manager says nothing. With a NUL.
  char name[CIPC_SERVICE_NAME + 1];
} cipc_service_socket_t;

/// Says which sockets were handed over: LISTEN_FDS of them, where LISTEN_PID is this process, with
/// the names in LISTEN_FDNAMES. `*count` is how many there are, 0 where none were, and as many of
/// them are put into `sockets` as there is room for: with a capacity of 0 it may be NULL. All are
/// made close-on-exec. They are the caller's, and each call tells of the same ones.
/// `cipc_listener_adopt` finds out whether one is a socket that listens. Does not block.
///
/// CIPC_EINVAL: a variable is not a number, there is another number of names than of sockets, or a
/// name is too long. CIPC_EBADF: not all of the descriptors are open.
CIPC_API CIPC_CHECKED int cipc_service_sockets(cipc_service_socket_t *sockets, size_t capacity,
                                               size_t *count);

/// Tells the manager something about this process: `length` bytes of lines such as "READY=1",
/// "STOPPING=1" and "STATUS=..." (sd_notify(3)). They go to the datagram socket in NOTIFY_SOCKET, a
/// path or an abstract name behind an `@`, as one packet. Blocks while the manager is behind.
///
/// 0: sent, which does not say that the manager has read it. CIPC_ENOENT: no manager asks for
/// messages. CIPC_EINVAL: no bytes, or the variable is not such a name; CIPC_EADDRESSLONG: it is
/// too long. CIPC_EMSGSIZE: more bytes than a packet has room for. CIPC_ETIMEDOUT;
/// CIPC_ECONNREFUSED: the manager is gone; CIPC_EACCES, CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM;
/// -errno.
CIPC_API CIPC_CHECKED int cipc_service_notify(const char *text, size_t length,
                                              cipc_deadline_t deadline);

/// The same without waiting. CIPC_EAGAIN: wait as `*wait` says (wait.h), which is all zero at
/// first, then call again.
CIPC_API CIPC_CHECKED int cipc_service_notify_step(const char *text, size_t length,
                                                   cipc_wait_t *wait);

CIPC_END_DECLS

#endif
