/* SPDX-License-Identifier: Apache-2.0 */
/// Addresses of stream sockets, and connecting to them: Unix sockets with a path or
/// in the abstract namespace, and TCP over IPv4 and IPv6.
///
/// An address is a value: it holds no resource and may be copied. All functions may be called from
/// any thread and after a fork; a function that blocks says so.
#ifndef CIPC_ADDRESS_H
#define CIPC_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "status.h"
#include "wait.h"

CIPC_BEGIN_DECLS

/// The most bytes of a path: what the kernel has room for (unix(7)), less the NUL.
#define CIPC_ADDRESS_PATH 107
/// The most bytes of an abstract name.
#define CIPC_ADDRESS_ABSTRACT 107
/// Bytes that are enough for cipc_address_text, the NUL included.
#define CIPC_ADDRESS_TEXT 512

/// An address as the kernel takes it: a struct sockaddr of `length` bytes.
typedef struct cipc_address {
  union {
    uint64_t alignment;
    unsigned char bytes[128];
  } storage;
  uint32_t length;
} cipc_address_t;

/// A Unix socket by the path of its file, `length` bytes without a NUL in them.
/// CIPC_EADDRESSLONG: more than CIPC_ADDRESS_PATH bytes. CIPC_EINVAL: none, or a NUL.
CIPC_API CIPC_CHECKED int cipc_address_path(cipc_address_t *address, const char *path,
                                            size_t length);

/// A Unix socket in the abstract namespace, which belongs to the network namespace and goes with
/// its last holder. The name is any bytes. Python writes "\0name". CIPC_EADDRESSLONG: more than
/// CIPC_ADDRESS_ABSTRACT bytes. CIPC_EINVAL: none.
CIPC_API CIPC_CHECKED int cipc_address_abstract(cipc_address_t *address, const void *name,
                                                size_t length);

/// TCP by a numeric host ("127.0.0.1", "::1", "fe80::1%eth0") and a port. `*count` is
/// how many of the `capacity` places were filled. "localhost" counts as numeric, as
/// 127.0.0.1 and ::1 in this order: Python listens on the first alone. Does not block.
/// CIPC_EHOST: any other name; CIPC_EINVAL: no place.
CIPC_API CIPC_CHECKED int cipc_address_numeric(cipc_address_t *addresses, size_t capacity,
                                               size_t *count, const char *host, uint16_t port);

/// The same for a host that may be a name: asks the system's resolver (getaddrinfo),
/// which may block for as long as it wants. CIPC_EHOST: no such host, or no answer.
/// CIPC_ENOMEM, CIPC_EINVAL, -errno.
CIPC_API CIPC_CHECKED int cipc_address_resolve(cipc_address_t *addresses, size_t capacity,
                                               size_t *count, const char *host, uint16_t port);

/// 1 for a Unix socket with a path, 2 for an abstract one, 4 for IPv4, 6 for IPv6, 0 for anything
/// else, such as an unnamed socket.
CIPC_API int cipc_address_kind(const cipc_address_t *address);

/// The path, the abstract name or the numeric host, with a NUL behind it; an abstract name may hold
/// NULs. Returns its length in bytes; the port (0 where there is none) is in `*port` unless that is
/// NULL. CIPC_EINVAL: an address of none of these kinds.
CIPC_API CIPC_CHECKED int cipc_address_text(const cipc_address_t *address,
                                            char text[CIPC_ADDRESS_TEXT], uint16_t *port);

/// Connects without waiting, in steps. The first step has `*fd` -1 and makes a
/// close-on-exec stream socket, the caller's to close.
///
/// 0: connected. CIPC_EAGAIN: wait as `*wait` says (wait.h), which is all zero before the first
/// step, then step again: for the descriptor, or with `*fd` -1 for a moment, since the listener's
/// backlog is full and nothing tells when that changes. After any other status `*fd` is -1.
/// CIPC_ECONNREFUSED: there is no listener (also for a path whose listener is gone); CIPC_ENOENT:
/// no such path; CIPC_EACCES; CIPC_ETIMEDOUT: the kernel gave up; -EPROTOTYPE: a socket of another
/// type; -ENETUNREACH, -EHOSTUNREACH; CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_address_connect_step(const cipc_address_t *address, int *fd,
                                                    cipc_wait_t *wait);

/// Connects, and waits for that until the deadline. The descriptor is close-on-exec and the
/// caller's. TCP is without delay (TCP_NODELAY). Statuses as above but for CIPC_EAGAIN;
/// CIPC_ETIMEDOUT also when the deadline has passed.
CIPC_API CIPC_CHECKED int cipc_address_connect(const cipc_address_t *address, int *fd,
                                               cipc_deadline_t deadline);

CIPC_END_DECLS

#endif
