/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "clock.h"

/// How long to try for the lock of a directory, in nanoseconds: others hold it for microseconds,
/// and who holds it for other reasons is not waited for.
#define LOCK_PATIENCE INT64_C(1000000000)

struct cipc_listener {
  // Set when made, never changed.
  cipc_address_t address;
  unsigned made_in;  ///< `forks` when it was made
  int directory;     ///< of the path, however the working directory changes; -1 without a path
  char name[CIPC_ADDRESS_PATH + 1];  ///< of the file in it
  dev_t device;
  ino_t file;

  pthread_mutex_t guard;  ///< for all below; never held while waiting
  int fd;                 ///< -1 once the last one out of a closed listener has closed it
  int wake;               ///< eventfd that says "closed"
  int kept;               ///< eventfd that says "raised", or -1 until somebody watches
  unsigned wake_fork;     ///< `forks` when these were made
  bool closed;            ///< written under guard, also read without it
  bool raised;
  unsigned users;  ///< threads inside
};

static unsigned forks;
static pthread_once_t forks_once = PTHREAD_ONCE_INIT;
static void count_fork(void) { forks++; }
static void watch_forks(void) { (void)pthread_atfork(NULL, NULL, count_fork); }

// MARK: Paths

/// Opens the directory of a path and tells the name in it.
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

/// Takes the turn among listeners that open a path in this directory: held by the description, so
/// it goes with a killed process. False where it is not to be had.
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

/// Whether a path leads to a socket that nobody has bound any more. A listening stream socket takes
/// no connection of a datagram socket, but the kernel looks for it first: EPROTOTYPE means that
/// there is one, also before it listens, and ECONNREFUSED that there is none.
static bool is_stale(const cipc_address_t *address, int directory, const char *name) {
  struct stat status;
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT;
  if (!S_ISSOCK(status.st_mode)) return false;
  int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return false;
  bool is_refused = connect(probe, (const struct sockaddr *)(const void *)address->storage.bytes,
                            address->length) < 0 &&
                    errno == ECONNREFUSED;
  (void)close(probe);
  return is_refused;
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
  bool locked = lock_directory(listener->directory);
  status = bind_to(fd, address);
  if (status == CIPC_EADDRINUSE && locked && is_stale(address, listener->directory, name)) {
    // Nobody who takes the lock binds between the proof and this; the name is gone for a moment,
    // and for good when we are killed here.
    if (unlinkat(listener->directory, name, 0) < 0 && errno != ENOENT) {
      status = -errno;
    } else {
      status = bind_to(fd, address);
    }
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
  if (locked) (void)flock(listener->directory, LOCK_UN);
  return status;
}

/// Removes the path unless it is somebody else's by now. While the socket is still open, so that
/// nobody finds it stale between the look and the removal.
static void unlink_path(const cipc_listener_t *listener) {
  if (listener->directory < 0 || listener->file == 0 || listener->made_in != forks) return;
  bool locked = lock_directory(listener->directory);
  struct stat found;
  if (fstatat(listener->directory, listener->name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
      found.st_dev == listener->device && found.st_ino == listener->file) {
    (void)unlinkat(listener->directory, listener->name, 0);
  }
  if (locked) (void)flock(listener->directory, LOCK_UN);
}

// MARK: Making and ending

/// With the guard: the eventfds are this process's own afterwards.
static int own_wake(cipc_listener_t *listener) {
  if (listener->wake_fork != forks) {
    if (listener->wake >= 0) (void)close(listener->wake);
    if (listener->kept >= 0) (void)close(listener->kept);
    listener->wake = listener->kept = -1;
    listener->wake_fork = forks;
  }
  if (listener->wake < 0) listener->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return listener->wake < 0 ? -errno : 0;
}

int cipc_listener_open(cipc_listener_t **opened, const cipc_address_t *address,
                       const cipc_listener_options_t *options) {
  *opened = NULL;
  int kind = cipc_address_kind(address);
  if (kind == 0 || address->length > sizeof address->storage) return CIPC_EINVAL;
  (void)pthread_once(&forks_once, watch_forks);
  cipc_listener_t *listener = calloc(1, sizeof *listener);
  if (listener == NULL) return CIPC_ENOMEM;
  listener->address = *address;
  listener->directory = listener->wake = listener->kept = listener->fd = -1;
  listener->made_in = listener->wake_fork = forks;
  int error = pthread_mutex_init(&listener->guard, NULL);
  if (error != 0) {
    free(listener);
    return -error;
  }
  int fd = -1;
  int status = cipc_address_socket(address, &fd);
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

/// With the guard: closes the socket once nobody is inside.
static void release(cipc_listener_t *listener) {
  if (!listener->closed || listener->users > 0 || listener->fd < 0) return;
  (void)close(listener->fd);
  listener->fd = -1;
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
  (void)pthread_mutex_lock(&listener->guard);
  if (!listener->closed) {
    unlink_path(listener);
    __atomic_store_n(&listener->closed, true, __ATOMIC_RELEASE);
    // The parent's, since a fork.
    if (listener->wake_fork == forks) set_level(listener->wake, true);
  }
  release(listener);
  (void)pthread_mutex_unlock(&listener->guard);
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
  (void)pthread_mutex_destroy(&listener->guard);
  free(listener);
}

void cipc_listener_address(const cipc_listener_t *listener, cipc_address_t *address) {
  *address = listener->address;
}

void cipc_listener_raise(cipc_listener_t *listener, int is_raised) {
  (void)pthread_mutex_lock(&listener->guard);
  if (listener->raised != (is_raised != 0)) {
    listener->raised = is_raised != 0;
    if (listener->wake_fork == forks) set_level(listener->kept, listener->raised);
  }
  (void)pthread_mutex_unlock(&listener->guard);
}

int cipc_listener_watch(cipc_listener_t *listener, int descriptors[3]) {
  descriptors[0] = descriptors[1] = descriptors[2] = -1;
  (void)pthread_mutex_lock(&listener->guard);
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
  (void)pthread_mutex_unlock(&listener->guard);
  return status;
}

// MARK: Accepting

/// Errors of the client that was about to be accepted, and not of this process (accept(2)).
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

static int accept_one(const cipc_listener_t *listener, int *fd) {
  for (;;) {
    *fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    if (*fd >= 0) return 0;
    if (!is_of_the_client(errno)) return -errno;
  }
}

int cipc_listener_accept(cipc_listener_t *listener, cipc_connection_t **connection,
                         uint64_t maximum, cipc_deadline_t deadline) {
  *connection = NULL;
  (void)pthread_mutex_lock(&listener->guard);
  int status = listener->closed ? CIPC_ECLOSED : own_wake(listener);
  if (status < 0) {
    (void)pthread_mutex_unlock(&listener->guard);
    return status;
  }
  listener->users++;
  (void)pthread_mutex_unlock(&listener->guard);

  // Open until the last user has left.
  int fd = -1;
  while ((status = accept_one(listener, &fd)) == CIPC_EAGAIN) {
    if (cipc_listener_closed(listener)) {
      status = CIPC_ECLOSED;
    } else if (deadline <= CIPC_IMMEDIATELY ||
               (deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= deadline)) {
      status = CIPC_ETIMEDOUT;
    } else {
      struct pollfd entries[2] = {{.fd = listener->fd, .events = POLLIN},
                                  {.fd = listener->wake, .events = POLLIN}};
      if (poll(entries, 2, cipc_clock_poll_timeout(deadline)) >= 0 || errno == EINTR) continue;
      status = -errno;
    }
    break;
  }
  if (status == 0) {
    cipc_address_no_delay(&listener->address, fd);
    status = cipc_connection_adopt(connection, fd, 0, maximum);
    if (status < 0) (void)close(fd);
  }

  (void)pthread_mutex_lock(&listener->guard);
  listener->users--;
  release(listener);
  (void)pthread_mutex_unlock(&listener->guard);
  return status;
}

int cipc_connection_credentials(cipc_connection_t *connection, cipc_credentials_t *credentials) {
  memset(credentials, 0, sizeof *credentials);
  int fd;
  int status = cipc_connection_descriptor(connection, &fd);
  if (status < 0) return status;
  struct ucred found;
  socklen_t size = sizeof found;
  int domain = 0;
  socklen_t domain_size = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) < 0 || domain != AF_UNIX) {
    status = CIPC_EOPNOTSUPP;
  } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &found, &size) < 0) {
    status = -errno;
  } else {
    credentials->process = found.pid;
    credentials->user = found.uid;
    credentials->group = found.gid;
  }
  (void)close(fd);
  return status;
}

int cipc_connection_peer_address(cipc_connection_t *connection, cipc_address_t *address) {
  memset(address, 0, sizeof *address);
  int fd;
  int status = cipc_connection_descriptor(connection, &fd);
  if (status < 0) return status;
  socklen_t size = sizeof address->storage;
  if (getpeername(fd, (struct sockaddr *)(void *)address->storage.bytes, &size) < 0) {
    status = errno == ENOTSOCK ? CIPC_EOPNOTSUPP : -errno;
  } else {
    address->length = (uint32_t)size;
    if (cipc_address_kind(address) == 0) status = CIPC_EOPNOTSUPP;
  }
  (void)close(fd);
  return status;
}
