/* SPDX-License-Identifier: Apache-2.0 */
#include "stream/rights.h"

#include <stdint.h>
#include <string.h>

#include "base/descriptor.h"
#include "cipc/status.h"

#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif

// One batch of descriptors and whatever a foreign socket has switched on besides.
#define CONTROL_SIZE (CMSG_SPACE(CIPC_RIGHTS_MAX * sizeof(int)) + 256)

static void set_vector(struct msghdr *message, const struct iovec *vector, int pieces) {
  memset(message, 0, sizeof *message);
  message->msg_iov = (struct iovec *)(uintptr_t)vector;
  // A size_t in glibc and an int in musl.
  message->msg_iovlen = 1;
  if (pieces == 2) message->msg_iovlen = 2;
}

ssize_t cipc_rights_send(int fd, const struct iovec *vector, int pieces, const int *descriptors,
                         size_t count, int flags) {
  if (count > CIPC_RIGHTS_OUT_MAX) return CIPC_EDESCRIPTORCOUNT;
  union {
    char bytes[CMSG_SPACE(CIPC_RIGHTS_OUT_MAX * sizeof(int))];
    struct cmsghdr alignment;
  } control;
  struct msghdr message;
  set_vector(&message, vector, pieces);
  if (count > 0) {
    message.msg_control = control.bytes;
    // A size_t in glibc, a socklen_t in musl.
    message.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof(int));
    memset(control.bytes, 0, message.msg_controllen);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
  }
  ssize_t size;
  do {
    size = sendmsg(fd, &message, flags | MSG_NOSIGNAL);
  } while (size < 0 && errno == EINTR);
  return size < 0 ? -errno : size;
}

// CMSG_NXTHDR, whose definition in musl mixes signs.
static struct cmsghdr *next_header(struct msghdr *message, struct cmsghdr *header) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
  return CMSG_NXTHDR(message, header);
#pragma GCC diagnostic pop
}

// Takes the descriptors out of a message, and closes those that nobody asked for.
static void take(struct msghdr *message, cipc_rights_t *rights) {
  rights->count = 0;
  rights->status = message->msg_flags & MSG_CTRUNC ? CIPC_EDESCRIPTORSLOST : 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
       header = next_header(message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    if (header->cmsg_type != SCM_RIGHTS && header->cmsg_type != SCM_PIDFD) continue;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(header) + i * sizeof descriptor, sizeof descriptor);
      if (header->cmsg_type == SCM_RIGHTS && rights->count < CIPC_RIGHTS_MAX) {
        rights->descriptors[rights->count++] = descriptor;
      } else {
        cipc_descriptor_drop(descriptor);
      }
    }
  }
}

ssize_t cipc_rights_receive(int fd, const struct iovec *vector, int pieces, cipc_rights_t *rights,
                            int flags, int *message_flags) {
  union {
    char bytes[CONTROL_SIZE];
    struct cmsghdr alignment;
  } control;
  struct msghdr message;
  ssize_t size;
  do {
    set_vector(&message, vector, pieces);
    if (rights != NULL) {
      message.msg_control = control.bytes;
      message.msg_controllen = sizeof control.bytes;
    }
    size = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return -errno;
  if (message_flags != NULL) *message_flags = message.msg_flags;
  if (rights != NULL) {
    rights->count = 0;
    rights->status = 0;
    if (message.msg_controllen > 0 || (message.msg_flags & MSG_CTRUNC) != 0) take(&message, rights);
  }
  return size;
}
