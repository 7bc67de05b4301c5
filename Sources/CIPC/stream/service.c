/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/service.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cipc/address.h"
#include "stream/frame.h"
#include "wait/wait.h"

// MARK: Sockets

// A number as the protocol writes it: digits alone, and no more than an int holds.
static bool number(const char *text, int *value) {
  size_t digits = strspn(text, "0123456789");
  if (digits == 0 || text[digits] != 0) return false;
  long long found = 0;
  for (size_t i = 0; i < digits; i++) {
    found = found * 10 + (text[i] - '0');
    if (found > INT32_MAX) return false;
  }
  *value = (int)found;
  return true;
}

// Checks that there is a name for each of them, or none at all.
static int check_names(const char *names, int count) {
  if (names == NULL) return 0;
  int found = 1;
  for (const char *name = names;; found++) {
    size_t length = strcspn(name, ":");
    if (length > CIPC_SERVICE_NAME) return CIPC_EINVAL;
    if (name[length] == 0) break;
    name += length + 1;
    // One that goes on for ever, beside few sockets.
    if (found > count) return CIPC_EINVAL;
  }
  return found == count ? 0 : CIPC_EINVAL;
}

int cipc_service_sockets(cipc_service_socket_t *sockets, size_t capacity, size_t *count) {
  *count = 0;
  const char *process = getenv("LISTEN_PID"), *wanted = getenv("LISTEN_FDS");
  if (process == NULL || wanted == NULL) return 0;
  int pid, given;
  if (!number(process, &pid) || !number(wanted, &given)) return CIPC_EINVAL;
  // Meant for an ancestor, from whom the variables are inherited.
  if (pid != getpid()) return 0;
  if (given > INT32_MAX - CIPC_SERVICE_FIRST) return CIPC_EINVAL;
  const char *names = getenv("LISTEN_FDNAMES");
  int status = given == 0 ? 0 : check_names(names, given);
  if (status < 0) return status;
  // All or none: the first that is not open ends this, whatever the number says.
  for (int i = 0; i < given; i++) {
    if (fcntl(CIPC_SERVICE_FIRST + i, F_GETFD) < 0) return CIPC_EBADF;
  }
  for (int i = 0; i < given; i++) {
    size_t length = names != NULL ? strcspn(names, ":") : 0;
    if (fcntl(CIPC_SERVICE_FIRST + i, F_SETFD, FD_CLOEXEC) < 0) return -errno;
    if ((size_t)i < capacity) {
      cipc_service_socket_t *socket = &sockets[i];
      socket->descriptor = CIPC_SERVICE_FIRST + i;
      memset(socket->name, 0, sizeof socket->name);
      if (names != NULL) {
        memcpy(socket->name, names, length);
      } else {
        memcpy(socket->name, "unknown", sizeof "unknown");
      }
    }
    if (names != NULL && names[length] != 0) names += length + 1;
  }
  *count = (size_t)given;
  return 0;
}

// MARK: Telling

static int manager_address(const char *name, cipc_address_t *address) {
  size_t length = strlen(name);
  if (name[0] == '/') return cipc_address_path(address, name, length);
  if (name[0] == '@') return cipc_address_abstract(address, name + 1, length - 1);
  return CIPC_EINVAL;
}

int cipc_service_notify(const char *text, size_t length, cipc_deadline_t deadline) {
  if (text == NULL || length == 0) return CIPC_EINVAL;
  const char *name = getenv("NOTIFY_SOCKET");
  if (name == NULL || name[0] == 0) return CIPC_ENOENT;
  cipc_address_t address;
  int status = manager_address(name, &address);
  if (status < 0) return status;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  // Connected, so that poll knows whether the manager has room.
  if (connect(fd, (const struct sockaddr *)(const void *)address.storage.bytes, address.length) <
      0) {
    // CIPC_ENOENT says that nobody has asked.
    status = errno == ENOENT ? CIPC_ECONNREFUSED : -errno;
  }
  while (status == 0) {
    if (send(fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) break;
    if (errno == EINTR) continue;
    status = -errno;
    if (status == CIPC_EAGAIN) status = cipc_frame_wait(fd, POLLOUT, deadline);
  }
  (void)close(fd);
  return status;
}

int cipc_service_notify_step(const char *text, size_t length, cipc_wait_t *wait) {
  int status = cipc_service_notify(text, length, CIPC_IMMEDIATELY);
  // Nothing but a socket that is open in between would tell when there is room.
  return status == CIPC_ETIMEDOUT ? cipc_wait_for_pause(wait) : status;
}
