/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/fork_hooks.h"
#include "base/guard.h"
#include "base/interrupt.h"
#include "base/list.h"
#include "stream/address.h"
#include "stream/connection.h"

// How long to try for the lock of a directory, in nanoseconds: listeners hold it for microseconds,
// and whoever holds it for other reasons, or to be in the way, is not waited for.
#define LOCK_PATIENCE INT64_C(100000000)
// How long another process of this user is waited for that takes a path over.
#define TURN_PATIENCE INT64_C(1000000000)
// How often a path is tried that others take and leave at the same time.
#define BIND_TRIES 16

struct cipc_listener {
  // Set when made, never changed.
  cipc_address_t address;
  unsigned made_in;  // `cipc_fork_count` when it was made
  int directory;     // of the path, however the working directory changes; -1 without a path
  char name[CIPC_ADDRESS_PATH + 1];  // of the file in it
  dev_t device;
  ino_t file;

  // In the list of all, with its guard.
  cipc_list_t node;

  cipc_guard_t guard;  // for all below; never held while waiting
  bool is_alone;       // no other process has the socket, as far as this library knows
  int turn;            // held while a path is taken over, or -1
  int fd;              // -1 once the last one out of a closed listener has closed it
  int wake;            // eventfd that says "closed"
  int kept;            // eventfd that says "raised", or -1 until somebody watches
  unsigned wake_fork;  // `cipc_fork_count` when these were made
  bool closed;         // written under guard, also read without it
  bool raised;
  unsigned users;  // threads inside
};

// For the list alone; taken before the guard of one in it.
static pthread_mutex_t list_guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_list_t all = CIPC_LIST_EMPTY(all);

static cipc_listener_t *object(cipc_list_t *node) {
  return CIPC_LIST_OBJECT(node, cipc_listener_t, node);
}

static void enlist(cipc_listener_t *listener) {
  (void)pthread_mutex_lock(&list_guard);
  cipc_list_insert_first(&all, &listener->node);
  (void)pthread_mutex_unlock(&list_guard);
}

static void delist(cipc_listener_t *listener) {
  (void)pthread_mutex_lock(&list_guard);
  cipc_list_remove(&listener->node);
  (void)pthread_mutex_unlock(&list_guard);
}

// MARK: Paths

// Opens the directory of a path and tells the name in it.
static int open_directory(const char *path, int *directory, const char **name) {
  char text[CIPC_ADDRESS_PATH + 2] = ".";
  const char *slash = strrchr(path, '/');
  *name = slash != NULL ? slash + 1 : path;
  if (slash != NULL) {
    size_t length = (size_t)(slash - path) + 1;
    memcpy(text, path, length);
    text[length] = 0;
  }
  if (**name == 0) return CIPC_EINVAL;
  *directory = open(text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // One that can be written to and not read cannot be locked, but files in it can be made.
  if (*directory < 0 && errno == EACCES) *directory = open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
  return *directory < 0 ? -errno : 0;
}

// Takes the directory's lock: held by the description, so it goes with a killed process. False
// where it is not to be had: any user who may read the directory can hold it for as long as they
// like.
static bool lock_directory(int directory) {
  cipc_deadline_t deadline = cipc_clock_deadline(LOCK_PATIENCE);
  for (;;) {
    if (flock(directory, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK && errno != EINTR) return false;
    if (cipc_clock_now() >= deadline) return false;
    struct pollfd none = {.fd = -1};
    (void)poll(&none, 1, 1);
  }
}

// An abstract socket with one name for each directory and user.
static int turn_socket(int directory, struct sockaddr_un *name, socklen_t *length) {
  struct stat status;
  if (fstat(directory, &status) < 0) return -1;
  *name = (struct sockaddr_un){.sun_family = AF_UNIX};
  // Behind the 0 that makes it abstract.
  int written = snprintf(name->sun_path + 1, sizeof name->sun_path - 1,
                         "cipc-take-over-%llx-%llx-%lx", (unsigned long long)status.st_dev,
                         (unsigned long long)status.st_ino, (unsigned long)geteuid());
  *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)written);
  return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

// Waits until the holder of the turn gives it up or ends. False where it need not be waited for:
// it is another user's, who may hold it for as long as they like.
static bool wait_for_turn(int directory, cipc_deadline_t deadline) {
  struct sockaddr_un name;
  socklen_t length;
  int probe = turn_socket(directory, &name, &length);
  if (probe < 0) return false;
  bool is_ours = true;
  if (connect(probe, (const struct sockaddr *)(const void *)&name, length) == 0) {
    struct ucred holder = {.uid = (uid_t)-1};
    socklen_t size = sizeof holder;
    is_ours =
        getsockopt(probe, SOL_SOCKET, SO_PEERCRED, &holder, &size) == 0 && holder.uid == geteuid();
    // A socket that is closed hangs up on those that it has not accepted.
    struct pollfd end = {.fd = probe, .events = POLLIN};
    if (is_ours) (void)poll(&end, 1, cipc_clock_poll_timeout(deadline));
  } else {
    // It does not listen yet, or its backlog is full.
    struct pollfd none = {.fd = -1};
    (void)poll(&none, 1, 1);
  }
  (void)close(probe);
  return is_ours;
}

// Takes the turn among this user's listeners that take a path over in a directory: a socket, which
// goes with a killed process. Left alone where it is not to be had.
static void take_turn(cipc_listener_t *listener) {
  cipc_deadline_t deadline = cipc_clock_deadline(TURN_PATIENCE);
  for (;;) {
    struct sockaddr_un name;
    socklen_t length;
    // A fork finds the socket in the listener, and closes the child's.
    cipc_guard_lock(&listener->guard);
    int turn = turn_socket(listener->directory, &name, &length);
    bool is_taken = turn >= 0 &&
                    bind(turn, (const struct sockaddr *)(const void *)&name, length) == 0 &&
                    listen(turn, 64) == 0;
    int error = errno;
    if (is_taken) {
      listener->turn = turn;
    } else if (turn >= 0) {
      (void)close(turn);
    }
    cipc_guard_unlock(&listener->guard);
    if (is_taken || turn < 0 || error != EADDRINUSE || cipc_clock_now() >= deadline) return;
    if (!wait_for_turn(listener->directory, deadline)) return;
  }
}

static void leave_turn(cipc_listener_t *listener) {
  if (listener->turn >= 0) (void)close(listener->turn);
  listener->turn = -1;
}

// Whether a name leads to a socket that nobody has bound any more: 1, 0, or CIPC_ENOENT where
// there is none; -errno where this process cannot ask. A listening stream socket takes no
// connection of a datagram socket, but the kernel looks for it first: EPROTOTYPE means that there
// is one, also before it listens, and ECONNREFUSED that there is none.
static int look_at(int directory, const char *name) {
  struct stat status;
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return -errno;
  if (!S_ISSOCK(status.st_mode)) return 0;
  int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return -errno;
  // By the directory's descriptor: the name may be a longer one than the listener's own.
  struct sockaddr_un path = {.sun_family = AF_UNIX};
  (void)snprintf(path.sun_path, sizeof path.sun_path, "/proc/self/fd/%d/%s", directory, name);
  bool is_refused = connect(probe, (const struct sockaddr *)(const void *)&path, sizeof path) < 0;
  int error = errno;
  (void)close(probe);
  return is_refused && error == ECONNREFUSED ? 1 : is_refused && error == ENOENT ? CIPC_ENOENT : 0;
}

// Takes a name away if it is a socket's that nobody has bound any more. 0: it is away;
// CIPC_EADDRINUSE: it stays.
//
// The name is moved to one of ours first and looked at there, where nobody replaces it any more:
// between a look and a removal another listener may have taken it over. A live socket is moved
// back, which only the turn and the lock keep from happening at all: where a stranger holds both,
// the name may be a third listener's by then.
static int remove_stale(int directory, const char *name) {
  int status = look_at(directory, name);
  if (status == CIPC_ENOENT) return 0;
  if (status != 1) return status < 0 ? status : CIPC_EADDRINUSE;
  char away[64];
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, GRND_NONBLOCK) < 0) return -errno;
  (void)snprintf(away, sizeof away, ".cipc-%d-%016llx", (int)getpid(), (unsigned long long)number);
  if (renameat(directory, name, directory, away) < 0) return errno == ENOENT ? 0 : -errno;
  status = look_at(directory, away);
  if (status == 1) {
    // The name is gone for a moment, and `away` is left behind when we are killed here.
    return unlinkat(directory, away, 0) < 0 ? -errno : 0;
  }
  // Not over a third one, which has bound the name since.
  if (linkat(directory, away, directory, name, 0) < 0) status = errno == EEXIST ? 0 : -errno;
  (void)unlinkat(directory, away, 0);
  return status < 0 ? status : CIPC_EADDRINUSE;
}

static int bind_to(int fd, const cipc_address_t *address) {
  return bind(fd, (const struct sockaddr *)(const void *)address->storage.bytes, address->length) <
                 0
             ? -errno
             : 0;
}

static int bind_path(cipc_listener_t *listener, int fd, mode_t mode) {
  const cipc_address_t *address = &listener->address;
  char path[CIPC_ADDRESS_TEXT];
  int status = cipc_address_text(address, path, NULL);
  const char *name;
  if (status >= 0) status = open_directory(path, &listener->directory, &name);
  if (status < 0) return status;
  memcpy(listener->name, name, strlen(name) + 1);
  // Before bind, which makes the file with these bits; afterwards it could be connected to already.
  if (fchmod(fd, mode == 0 ? 0600 : mode) < 0) return -errno;
  status = bind_to(fd, address);
  if (status == CIPC_EADDRINUSE && look_at(listener->directory, name) != 0) {
    // Both, since listeners of this user may be in other network namespaces, and since a stranger
    // can hold either.
    bool is_locked = lock_directory(listener->directory);
    // Last, so that nobody with the turn waits for a stranger.
    take_turn(listener);
    for (int i = 0; i < BIND_TRIES && status == CIPC_EADDRINUSE; i++) {
      status = remove_stale(listener->directory, name);
      if (status < 0) break;
      // Somebody else may have been quicker.
      status = bind_to(fd, address);
    }
    if (is_locked) (void)flock(listener->directory, LOCK_UN);
    cipc_guard_lock(&listener->guard);
    leave_turn(listener);
    cipc_guard_unlock(&listener->guard);
  }
  struct stat made;
  if (status == 0 && fstatat(listener->directory, name, &made, AT_SYMLINK_NOFOLLOW) < 0) {
    status = -errno;
  }
  if (status == 0) {
    listener->device = made.st_dev;
    listener->file = made.st_ino;
  } else {
    listener->file = 0;
  }
  return status;
}

// Removes the path unless it is somebody else's by now. While the socket is still open, so that
// nobody finds it stale and takes it over between the look and the removal.
static void unlink_path(const cipc_listener_t *listener) {
  if (listener->directory < 0 || listener->file == 0) return;
  if (listener->made_in != cipc_fork_count) return;
  struct stat found;
  if (fstatat(listener->directory, listener->name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
      found.st_dev == listener->device && found.st_ino == listener->file) {
    (void)unlinkat(listener->directory, listener->name, 0);
  }
}

// MARK: Making and ending

// With the guard: the eventfds are this process's own afterwards.
static int own_wake(cipc_listener_t *listener) {
  if (listener->wake_fork != cipc_fork_count) {
    if (listener->wake >= 0) (void)close(listener->wake);
    if (listener->kept >= 0) (void)close(listener->kept);
    listener->wake = listener->kept = -1;
    listener->wake_fork = cipc_fork_count;
  }
  if (listener->wake < 0) listener->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return listener->wake < 0 ? -errno : 0;
}

// A listener without a socket.
static int make(cipc_listener_t **made, const cipc_address_t *address) {
  cipc_listener_t *listener = calloc(1, sizeof *listener);
  if (listener == NULL) return CIPC_ENOMEM;
  listener->address = *address;
  listener->directory = listener->wake = listener->kept = listener->fd = listener->turn = -1;
  listener->made_in = listener->wake_fork = cipc_fork_count;
  listener->is_alone = true;
  enlist(listener);
  *made = listener;
  return 0;
}

int cipc_listener_open(cipc_listener_t **opened, const cipc_address_t *address,
                       const cipc_listener_options_t *options) {
  *opened = NULL;
  int kind = cipc_address_kind(address);
  if (kind == 0 || address->length > sizeof address->storage) return CIPC_EINVAL;
  cipc_listener_t *listener;
  int status = make(&listener, address);
  if (status < 0) return status;
  int fd = -1;
  status = cipc_address_socket(address, &fd);
  listener->fd = fd;
  if (status == 0 && kind >= 4) {
    int on = 1, off = 0;
    // Or a port stays taken for a minute after its last connection.
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) status = -errno;
    if (kind == 6) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  }
  if (status == 0) {
    status = kind == 1 ? bind_path(listener, fd, options == NULL ? 0 : options->mode)
                       : bind_to(fd, address);
  }
  if (status == 0) {
    int backlog =
        options == NULL || options->backlog <= 0 ? CIPC_LISTENER_BACKLOG : options->backlog;
    if (listen(fd, backlog) < 0) status = -errno;
  }
  socklen_t size = sizeof listener->address.storage;
  if (status == 0 && kind >= 4) {
    if (getsockname(fd, (struct sockaddr *)(void *)listener->address.storage.bytes, &size) < 0) {
      status = -errno;
    } else {
      listener->address.length = (uint32_t)size;
    }
  }
  if (status == 0) status = own_wake(listener);
  if (status < 0) {
    cipc_listener_free(listener);
    return status;
  }
  *opened = listener;
  return 0;
}

// The address of a socket, where it is a stream socket of a family that addresses have, and
// listens.
static int adoptable(int descriptor, cipc_address_t *address) {
  memset(address, 0, sizeof *address);
  int type = 0, listens = 0;
  socklen_t size = sizeof type;
  if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) < 0) {
    return errno == ENOTSOCK ? CIPC_EOPNOTSUPP : -errno;
  }
  if (type != SOCK_STREAM) return CIPC_EOPNOTSUPP;
  size = sizeof address->storage;
  if (getsockname(descriptor, (struct sockaddr *)(void *)address->storage.bytes, &size) < 0) {
    return -errno;
  }
  // Longer ones are cut: of another family.
  if (size > sizeof address->storage) return CIPC_EOPNOTSUPP;
  address->length = (uint32_t)size;
  size = sizeof listens;
  if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0) return -errno;
  if (!listens) return CIPC_EINVAL;
  return cipc_address_kind(address) == 0 ? CIPC_EOPNOTSUPP : 0;
}

int cipc_listener_adopt(cipc_listener_t **adopted, int descriptor) {
  *adopted = NULL;
  cipc_address_t address;
  int status = adoptable(descriptor, &address);
  if (status < 0) return status;
  cipc_listener_t *listener;
  status = make(&listener, &address);
  if (status < 0) return status;
  int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0 ||
      fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0) {
    status = -errno;
  }
  if (status == 0) status = own_wake(listener);
  if (status < 0) {
    // Without the socket, which stays the caller's.
    cipc_listener_free(listener);
    return status;
  }
  // Others have it as well.
  listener->is_alone = false;
  listener->fd = descriptor;
  *adopted = listener;
  return 0;
}

// With the guard: closes the socket, without blocking. With it the kernel would close what clients
// that nobody accepted have sent, and a peer's descriptor takes as long as the peer likes.
static void close_socket(cipc_listener_t *listener) {
  int fd = listener->fd;
  listener->fd = -1;
  if (cipc_address_kind(&listener->address) >= 4) {
    (void)close(fd);
    return;
  }
  if (!listener->is_alone) {
    // Others may go on accepting. At once where nobody waits, so that the address is free.
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (poll(&waiting, 1, 0) == 0) {
      (void)close(fd);
    } else {
      cipc_descriptor_drop(fd);
    }
    return;
  }
  // No more come from now on, and those that are there are let go of one by one.
  (void)shutdown(fd, SHUT_RDWR);
  int client;
  while ((client = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) cipc_socket_drop(client, true);
  if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
    cipc_descriptor_drop(fd);
  } else {
    (void)close(fd);
  }
}

// With the guard: closes the socket once nobody is inside.
static void release(cipc_listener_t *listener) {
  if (listener->closed && listener->users == 0 && listener->fd >= 0) close_socket(listener);
}

static void set_level(int descriptor, bool is_raised) {
  uint64_t count = 1;
  if (descriptor < 0) return;
  // It can fail only when the eventfd has the level already.
  if (is_raised) {
    if (write(descriptor, &count, sizeof count) < 0) return;
  } else if (read(descriptor, &count, sizeof count) < 0) {
    return;
  }
}

void cipc_listener_close(cipc_listener_t *listener) {
  cipc_guard_lock(&listener->guard);
  if (!listener->closed) {
    unlink_path(listener);
    __atomic_store_n(&listener->closed, true, __ATOMIC_RELEASE);
    // The parent's, since a fork.
    if (listener->wake_fork == cipc_fork_count) set_level(listener->wake, true);
  }
  release(listener);
  cipc_guard_unlock(&listener->guard);
}

int cipc_listener_closed(const cipc_listener_t *listener) {
  return __atomic_load_n(&listener->closed, __ATOMIC_ACQUIRE) ? 1 : 0;
}

void cipc_listener_free(cipc_listener_t *listener) {
  if (listener == NULL) return;
  cipc_listener_close(listener);
  if (listener->wake >= 0) (void)close(listener->wake);
  if (listener->kept >= 0) (void)close(listener->kept);
  if (listener->directory >= 0) (void)close(listener->directory);
  delist(listener);
  free(listener);
}

void cipc_listener_address(const cipc_listener_t *listener, cipc_address_t *address) {
  *address = listener->address;
}

void cipc_listener_raise(cipc_listener_t *listener, int is_raised) {
  cipc_guard_lock(&listener->guard);
  if (listener->raised != (is_raised != 0)) {
    listener->raised = is_raised != 0;
    if (listener->wake_fork == cipc_fork_count) set_level(listener->kept, listener->raised);
  }
  cipc_guard_unlock(&listener->guard);
}

int cipc_listener_watch(cipc_listener_t *listener, int descriptors[3]) {
  descriptors[0] = descriptors[1] = descriptors[2] = -1;
  cipc_guard_lock(&listener->guard);
  int status = listener->closed ? CIPC_ECLOSED : own_wake(listener);
  if (status == 0 && listener->kept < 0) {
    listener->kept = eventfd(listener->raised ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (listener->kept < 0) status = -errno;
  }
  if (status == 0) {
    descriptors[0] = listener->fd;
    descriptors[1] = listener->wake;
    descriptors[2] = listener->kept;
  }
  cipc_guard_unlock(&listener->guard);
  return status;
}

// MARK: Accepting

// Errors of the client that was about to be accepted, and not of this process (accept(2)).
static bool is_of_the_client(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
      return true;
    default:
      return false;
  }
}

// With the guard. CIPC_EAGAIN: there is nobody.
static int accept_client(const cipc_listener_t *listener, cipc_connection_t **connection,
                         uint64_t maximum) {
  int fd;
  do {
    fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 && !is_of_the_client(errno)) return -errno;
  } while (fd < 0);
  cipc_address_no_delay(&listener->address, fd);
  int status = cipc_connection_adopt(connection, fd, 0, maximum);
  if (status == 0) {
    cipc_connection_own(*connection);
  } else if (cipc_address_kind(&listener->address) >= 4) {
    (void)close(fd);
  } else {
    cipc_socket_drop(fd, true);
  }
  return status;
}

// 0: there may be somebody. CIPC_ETIMEDOUT, CIPC_ECLOSED, -errno.
static int wait_for_client(const cipc_listener_t *listener, cipc_deadline_t deadline) {
  if (cipc_listener_closed(listener)) return CIPC_ECLOSED;
  if (deadline <= CIPC_IMMEDIATELY ||
      (deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= deadline)) {
    return CIPC_ETIMEDOUT;
  }
  struct pollfd entries[2] = {{.fd = listener->fd, .events = POLLIN},
                              {.fd = listener->wake, .events = POLLIN}};
  int count = cipc_interrupt_poll(entries, 2, deadline);
  return count < 0 ? count : 0;
}

int cipc_listener_accept(cipc_listener_t *listener, cipc_connection_t **connection,
                         uint64_t maximum, cipc_deadline_t deadline) {
  *connection = NULL;
  cipc_guard_lock(&listener->guard);
  int status = listener->closed ? CIPC_ECLOSED : own_wake(listener);
  if (status < 0) {
    cipc_guard_unlock(&listener->guard);
    return status;
  }
  listener->users++;
  // The socket is open until the last user has left. Accepting and adopting do not wait, and are
  // under the guard, so that a fork finds the client with a connection or not there at all.
  while ((status = accept_client(listener, connection, maximum)) == CIPC_EAGAIN) {
    cipc_guard_unlock(&listener->guard);
    status = wait_for_client(listener, deadline);
    cipc_guard_lock(&listener->guard);
    if (status < 0) break;
  }
  listener->users--;
  release(listener);
  cipc_guard_unlock(&listener->guard);
  return status;
}

// MARK: Forks

static void fork_prepare(void) {
  (void)pthread_mutex_lock(&list_guard);
  CIPC_LIST_EACH(node, &all) { cipc_guard_lock(&object(node)->guard); }
}

static void leave(bool is_child) {
  CIPC_LIST_EACH(node, &all) {
    cipc_listener_t *listener = object(node);
    listener->is_alone = false;
    if (is_child) {
      listener->users = 0;
      leave_turn(listener);
      // What the parent's threads were to do as they leave.
      release(listener);
    }
    cipc_guard_unlock(&listener->guard);
  }
  (void)pthread_mutex_unlock(&list_guard);
}
static void fork_parent(void) { leave(false); }
static void fork_child(void) { leave(true); }
CIPC_FORK_ROOM(CIPC_FORK_RANK_LISTENERS, fork_prepare, fork_parent, fork_child)
