/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/address.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "stream/address.h"
#include "wait/wait.h"

_Static_assert(sizeof(struct sockaddr_un) <= sizeof((cipc_address_t *)0)->storage, "room");
_Static_assert(sizeof(struct sockaddr_in6) <= sizeof((cipc_address_t *)0)->storage, "room");
_Static_assert(CIPC_ADDRESS_PATH == sizeof((struct sockaddr_un *)0)->sun_path - 1, "the kernel's");

// MARK: Making

static void set_unix(cipc_address_t *address, const void *bytes, size_t length, size_t skip) {
  struct sockaddr_un name;
  memset(&name, 0, sizeof name);
  name.sun_family = AF_UNIX;
  memcpy(name.sun_path + skip, bytes, length);
  memset(address, 0, sizeof *address);
  memcpy(address->storage.bytes, &name, sizeof name);
}

int cipc_address_path(cipc_address_t *address, const char *path, size_t length) {
  if (length == 0 || memchr(path, 0, length) != NULL) return CIPC_EINVAL;
  if (length > CIPC_ADDRESS_PATH) return CIPC_EADDRESSLONG;
  set_unix(address, path, length, 0);
  // With the NUL, which the kernel then need not add.
  address->length = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
  return 0;
}

int cipc_address_abstract(cipc_address_t *address, const void *name, size_t length) {
  // No name at all would have the kernel choose one.
  if (length == 0) return CIPC_EINVAL;
  if (length > CIPC_ADDRESS_ABSTRACT) return CIPC_EADDRESSLONG;
  set_unix(address, name, length, 1);
  address->length = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
  return 0;
}

static void set_ip(cipc_address_t *address, const void *name, size_t length) {
  memset(address, 0, sizeof *address);
  memcpy(address->storage.bytes, name, length);
  address->length = (uint32_t)length;
}

static bool parse(cipc_address_t *address, const char *host, uint16_t port) {
  struct sockaddr_in four;
  memset(&four, 0, sizeof four);
  if (inet_pton(AF_INET, host, &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    set_ip(address, &four, sizeof four);
    return true;
  }
  struct sockaddr_in6 six;
  memset(&six, 0, sizeof six);
  char number[INET6_ADDRSTRLEN];
  const char *scope = strchr(host, '%');
  size_t length = scope != NULL ? (size_t)(scope - host) : strlen(host);
  if (length >= sizeof number) return false;
  memcpy(number, host, length);
  number[length] = 0;
  if (inet_pton(AF_INET6, number, &six.sin6_addr) != 1) return false;
  if (scope != NULL) {
    char *end;
    unsigned long index = strtoul(scope + 1, &end, 10);
    if (scope[1] == 0 || *end != 0) index = if_nametoindex(scope + 1);
    if (index == 0 || index > UINT32_MAX) return false;
    six.sin6_scope_id = (uint32_t)index;
  }
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  set_ip(address, &six, sizeof six);
  return true;
}

int cipc_address_numeric(cipc_address_t *addresses, size_t capacity, size_t *count,
                         const char *host, uint16_t port) {
  *count = 0;
  if (capacity == 0) return CIPC_EINVAL;
  static const char *const local[] = {"127.0.0.1", "::1"};
  bool is_local = strcmp(host, "localhost") == 0;
  for (size_t i = 0; i < (is_local ? 2u : 1u) && *count < capacity; i++) {
    if (!parse(&addresses[*count], is_local ? local[i] : host, port)) return CIPC_EHOST;
    (*count)++;
  }
  return 0;
}

int cipc_address_resolve(cipc_address_t *addresses, size_t capacity, size_t *count,
                         const char *host, uint16_t port) {
  int status = cipc_address_numeric(addresses, capacity, count, host, port);
  if (status != CIPC_EHOST) return status;
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct addrinfo *found = NULL;
  char service[8];
  (void)snprintf(service, sizeof service, "%u", (unsigned)port);
  int error = getaddrinfo(host, service, &hints, &found);
  if (error == EAI_MEMORY) return CIPC_ENOMEM;
  if (error == EAI_SYSTEM) return errno != 0 ? -errno : CIPC_EHOST;
  if (error != 0) return CIPC_EHOST;
  for (struct addrinfo *entry = found; entry != NULL && *count < capacity; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    set_ip(&addresses[(*count)++], entry->ai_addr, entry->ai_addrlen);
  }
  freeaddrinfo(found);
  return *count > 0 ? 0 : CIPC_EHOST;
}

// MARK: Looking

static sa_family_t family(const cipc_address_t *address) {
  struct sockaddr header;
  if (address->length < sizeof header.sa_family) return AF_UNSPEC;
  memcpy(&header, address->storage.bytes, sizeof header);
  return header.sa_family;
}

int cipc_address_kind(const cipc_address_t *address) {
  switch (family(address)) {
    case AF_INET:
      return 4;
    case AF_INET6:
      return 6;
    case AF_UNIX:
      if (address->length <= offsetof(struct sockaddr_un, sun_path)) return 0;
      return address->storage.bytes[offsetof(struct sockaddr_un, sun_path)] == 0 ? 2 : 1;
    default:
      return 0;
  }
}

int cipc_address_text(const cipc_address_t *address, char text[CIPC_ADDRESS_TEXT], uint16_t *port) {
  text[0] = 0;
  if (port != NULL) *port = 0;
  size_t start = offsetof(struct sockaddr_un, sun_path);
  size_t length = address->length > start ? address->length - start : 0;
  if (length > sizeof address->storage.bytes - start) return CIPC_EINVAL;
  const unsigned char *bytes = address->storage.bytes + start;
  struct sockaddr_in four;
  struct sockaddr_in6 six;
  switch (cipc_address_kind(address)) {
    case 1:
      length = strnlen((const char *)bytes, length);
      memcpy(text, bytes, length);
      break;
    case 2:
      memcpy(text, bytes + 1, --length);
      break;
    case 4:
      memcpy(&four, address->storage.bytes, sizeof four);
      if (inet_ntop(AF_INET, &four.sin_addr, text, CIPC_ADDRESS_TEXT) == NULL) return -errno;
      if (port != NULL) *port = ntohs(four.sin_port);
      return (int)strlen(text);
    case 6:
      memcpy(&six, address->storage.bytes, sizeof six);
      if (inet_ntop(AF_INET6, &six.sin6_addr, text, CIPC_ADDRESS_TEXT) == NULL) return -errno;
      if (port != NULL) *port = ntohs(six.sin6_port);
      if (six.sin6_scope_id != 0) {
        size_t end = strlen(text);
        (void)snprintf(text + end, CIPC_ADDRESS_TEXT - end, "%%%u", (unsigned)six.sin6_scope_id);
      }
      return (int)strlen(text);
    default:
      return CIPC_EINVAL;
  }
  text[length] = 0;
  return (int)length;
}

// MARK: Sockets

int cipc_address_socket(const cipc_address_t *address, int *fd) {
  *fd = socket(family(address), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return *fd < 0 ? -errno : 0;
}

void cipc_address_no_delay(const cipc_address_t *address, int fd) {
  int on = 1;
  if (family(address) == AF_UNIX) return;
  // A question and its answer, not a stream: Nagle's algorithm would hold the second frame back for
  // as long as the peer delays its acknowledgement, 40 ms.
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int begin(const cipc_address_t *address, int *fd) {
  int status = cipc_address_socket(address, fd);
  if (status < 0) return status;
  cipc_address_no_delay(address, *fd);
  for (;;) {
    if (connect(*fd, (const struct sockaddr *)(const void *)address->storage.bytes,
                address->length) == 0) {
      return 0;
    }
    if (errno == EINPROGRESS) return CIPC_EAGAIN;
    // Of TCP, EAGAIN says that there is no port left; of a Unix socket, that the backlog is full.
    if (errno == EAGAIN && family(address) != AF_UNIX) return -EADDRNOTAVAIL;
    if (errno != EINTR) return -errno;
  }
}

static int finish(int fd) {
  struct pollfd entry = {.fd = fd, .events = POLLOUT};
  int ready = poll(&entry, 1, 0);
  if (ready < 0) return errno == EINTR ? CIPC_EAGAIN : -errno;
  if (ready == 0) return CIPC_EAGAIN;
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return -errno;
  return -error;
}

int cipc_address_connect_step(const cipc_address_t *address, int *fd, cipc_wait_t *wait) {
  bool is_first = *fd < 0;
  int status = is_first ? begin(address, fd) : finish(*fd);
  if (status == 0) {
    // Nobody here minds, but whoever is given the descriptor may.
    int flags = fcntl(*fd, F_GETFL);
    if (flags < 0 || fcntl(*fd, F_SETFL, flags & ~O_NONBLOCK) < 0) status = -errno;
  }
  if (status == 0) return 0;
  if (status == CIPC_EAGAIN && family(address) != AF_UNIX) {
    return cipc_wait_for_descriptor(wait, *fd, CIPC_POLLER_WRITABLE);
  }
  if (*fd >= 0) (void)close(*fd);
  *fd = -1;
  return status == CIPC_EAGAIN ? cipc_wait_for_pause(wait) : status;
}

int cipc_address_connect(const cipc_address_t *address, int *fd, cipc_deadline_t deadline) {
  *fd = -1;
  cipc_wait_t wait = {0};
  for (;;) {
    int status = cipc_address_connect_step(address, fd, &wait);
    if (status != CIPC_EAGAIN) return status;
    status = cipc_wait_sleep(&wait, deadline);
    if (status < 0) {
      if (*fd >= 0) (void)close(*fd);
      *fd = -1;
      return status;
    }
  }
}
