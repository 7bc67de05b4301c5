/* SPDX-License-Identifier: Apache-2.0 */
// A socket that blocks its last closer, as a hostile peer passes it on.
#ifndef LINGERING_H
#define LINGERING_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "check.h"

#define LINGERING_SECONDS 40

/// A TCP socket that lingers, with bytes that its peer does not read; `*peer` is that peer.
static inline int lingering_socket(int *peer) {
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  CHECK(bind(listening, (struct sockaddr *)&address, sizeof address) == 0);
  CHECK(listen(listening, 1) == 0);
  CHECK(getsockname(listening, (struct sockaddr *)&address, &length) == 0);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int size = 1;
  CHECK(setsockopt(listening, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) == 0);
  CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  *peer = accept(listening, NULL, NULL);
  CHECK(*peer >= 0);
  struct linger linger = {.l_onoff = 1, .l_linger = LINGERING_SECONDS};
  CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
  static char bytes[1 << 16];
  while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
  }
  CHECK(close(listening) == 0);
  return fd;
}

/// Sends a byte with a descriptor, which is closed here.
static inline void send_away(int socket_fd, int fd) {
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr alignment;
  } control = {.bytes = {0}};
  char byte = 0;
  struct iovec vector = {&byte, 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes};
  message.msg_controllen = sizeof control.bytes;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  CHECK_EQUAL(sendmsg(socket_fd, &message, MSG_NOSIGNAL), 1);
  CHECK(close(fd) == 0);
}

#endif
