/* SPDX-License-Identifier: Apache-2.0 */
/// Listeners: a Unix socket with a path or in the abstract namespace, or a TCP port,
/// on which other processes connect.
///
/// Any function but `free` may be called from several threads at once; each client goes to one of
/// the threads that accept. `close` wakes all of them with CIPC_ECLOSED.
///
/// A path belongs to the listener that made it: that listener removes it when it is closed, in the
/// process that opened it and while the path still leads to its own socket. The next listener of a
/// path takes over what a killed process left there, once it is proven that no socket is bound to
/// it: the kernel is asked by connecting with a socket of another type, so a live listener notices
/// nothing. The name is moved aside first, and moved back should a listener have come in between.
/// Two things keep listeners that take over the same path from meeting there: an abstract socket
/// with a name for the directory and the user, and a lock on the directory (flock). Another user
/// can hold either of them: then the other one is enough, and where a stranger holds both, neither
/// is used. Programs that unlink and bind, such as Python ones, can still take the path from one
/// another, and from these.
///
/// After a fork the child may accept, too, and has to close its copy as well: clients
/// are refused once the last copy is closed. Closing there wakes and unlinks nothing of
/// the parent's, also while threads of the parent are inside.
///
/// What clients send before they are accepted, such as descriptors, blocks no thread here: see
/// cipc/descriptor.h.
#ifndef CIPC_LISTENER_H
#define CIPC_LISTENER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "address.h"
#include "clock.h"
#include "connection.h"
#include "status.h"

CIPC_BEGIN_DECLS

typedef struct cipc_listener cipc_listener_t;

/// How many clients may wait to be accepted, where the options say 0.
#define CIPC_LISTENER_BACKLOG 128

/// How to listen; zeros, or NULL, are the defaults.
typedef struct cipc_listener_options {
  /// How many clients may wait to be accepted. The kernel cuts it to
  /// /proc/sys/net/core/somaxconn.
  int backlog;
  /// Permission bits of a path, less the umask; a user that may write may connect. 0 stands for
  /// 0600. The file has them from the beginning.
  mode_t mode;
} cipc_listener_options_t;

/// The process at the other end of a Unix socket, as the kernel says, not the peer. The process id
/// is the one in this pid namespace: 0 for a process that is invisible here, and it may be another
/// process's by now.
typedef struct cipc_credentials {
  pid_t process;
  uid_t user;
  gid_t group;
} cipc_credentials_t;

/// Listens. With port 0 the kernel chooses a port; cipc_listener_address tells it. An IPv6
/// listener on "::" takes IPv4 clients as well.
///
/// CIPC_EADDRINUSE: another listener is there, or the path is a file that no listener left.
/// CIPC_EADDRNOTAVAIL: not an address of this machine. CIPC_EACCES; CIPC_ENOENT: no such directory;
/// CIPC_EINVAL; CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM; -errno. Does not block, except where it
/// takes a path over: then it waits up to a second for another listener of this user that does so,
/// and a tenth of a second for a directory that another program has locked.
CIPC_API CIPC_CHECKED int cipc_listener_open(cipc_listener_t **listener,
                                             const cipc_address_t *address,
                                             const cipc_listener_options_t *options);

/// Listens at a socket that listens already, such as one that a service manager has handed to this
/// program (cipc/service.h). Takes the descriptor over and makes it close-on-exec. The socket is
/// made non-blocking, for all that have it, or one of several programs that accept could be stuck.
///
/// Closing this listener closes the descriptor alone: other holders of the socket go on, and a path
/// stays, since it is its maker's.
///
/// After an error the descriptor is still the caller's: CIPC_EBADF; CIPC_EOPNOTSUPP: not a stream
/// socket, or of another family than Unix, IPv4 and IPv6; CIPC_EINVAL: it does not listen;
/// CIPC_ENOMEM, CIPC_EMFILE, CIPC_ENFILE; -errno. Does not block.
CIPC_API CIPC_CHECKED int cipc_listener_adopt(cipc_listener_t **listener, int descriptor);

/// Accepts one client. `maximum` is the longest message, in bytes; 0 stands for
/// CIPC_FRAME_MAXIMUM. The connection is the caller's to free; TCP is without delay.
///
/// CIPC_ETIMEDOUT; CIPC_ECLOSED; CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM, -ENOBUFS: the
/// client stays where it is, and so the listener stays readable: do not try again before
/// something was closed, or not at once. Clients that went before they were accepted are
/// passed over. -errno.
CIPC_API CIPC_CHECKED int cipc_listener_accept(cipc_listener_t *listener,
                                               cipc_connection_t **connection, uint64_t maximum,
                                               cipc_deadline_t deadline);

/// The address that clients connect to, with the port that the kernel chose.
CIPC_API void cipc_listener_address(const cipc_listener_t *listener, cipc_address_t *address);

/// Three descriptors to wait for together: the socket, readable when cipc_listener_accept would not
/// wait; an eventfd that is readable once the listener is closed; and one that is readable while
/// cipc_listener_raise says so. All are borrowed; the eventfds are open until the listener is
/// freed, the socket's number may be used again once it is closed. CIPC_ECLOSED, CIPC_EMFILE,
/// CIPC_ENFILE, CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_listener_watch(cipc_listener_t *listener, int descriptors[3]);

/// Makes the third descriptor of cipc_listener_watch readable, or unreadable again: for callers
/// that keep accepted clients for others.
CIPC_API void cipc_listener_raise(cipc_listener_t *listener, int is_raised);

/// Stops listening, removes the path if it is its own, and wakes every call inside. Clients that
/// wait to be accepted see the end of the stream. Closing twice does nothing. Does not block.
CIPC_API void cipc_listener_close(cipc_listener_t *listener);

/// 1 once closed, otherwise 0.
CIPC_API int cipc_listener_closed(const cipc_listener_t *listener);

/// Closes the listener and frees it; no call may be inside. NULL is ignored.
CIPC_API void cipc_listener_free(cipc_listener_t *listener);

/// The process at the other end of a connection, as the kernel noted it when the connection was
/// made. CIPC_EOPNOTSUPP: not a Unix socket. CIPC_ECLOSED. Any thread.
CIPC_API CIPC_CHECKED int cipc_connection_credentials(cipc_connection_t *connection,
                                                      cipc_credentials_t *credentials);

/// The address of the other end of a connection. A client of a Unix socket has none as a rule:
/// CIPC_EOPNOTSUPP, as for a pipe. CIPC_ECLOSED, -errno. Any thread.
CIPC_API CIPC_CHECKED int cipc_connection_peer_address(cipc_connection_t *connection,
                                                       cipc_address_t *address);

CIPC_END_DECLS

#endif
