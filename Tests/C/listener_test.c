/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "check.h"
#include "child.h"
#include "descriptors.h"

static char folder[] = "/tmp/cipc-listener-XXXXXX";

/// A path that no other test has.
static cipc_address_t path_address(char path[64]) {
  static int number;
  cipc_address_t address;
  int length = snprintf(path, 64, "%s/%d", folder, number++);
  CHECK_EQUAL(cipc_address_path(&address, path, (size_t)length), 0);
  return address;
}

static cipc_listener_t *listening(const cipc_address_t *address) {
  cipc_listener_t *listener;
  CHECK_EQUAL(cipc_listener_open(&listener, address, NULL), 0);
  return listener;
}

static int open_status(const cipc_address_t *address) {
  cipc_listener_t *listener;
  int status = cipc_listener_open(&listener, address, NULL);
  CHECK((status == 0) == (listener != NULL));
  cipc_listener_free(listener);
  return status;
}

static int connect_status(const cipc_address_t *address) {
  int fd;
  int status = cipc_address_connect(address, &fd, cipc_clock_deadline(CHILD_PATIENCE));
  CHECK((status == 0) == (fd >= 0));
  if (fd >= 0) CHECK(close(fd) == 0);
  return status;
}

static bool is_there(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0;
}

/// A message from a client to the listener and back.
static void converse(cipc_listener_t *listener) {
  cipc_address_t address;
  cipc_listener_address(listener, &address);
  int fd;
  CHECK_EQUAL(cipc_address_connect(&address, &fd, cipc_clock_deadline(CHILD_PATIENCE)), 0);
  CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
  cipc_connection_t *client, *server;
  CHECK_EQUAL(cipc_connection_adopt(&client, fd, 0, 0), 0);
  CHECK_EQUAL(cipc_listener_accept(listener, &server, 1000, cipc_clock_deadline(CHILD_PATIENCE)),
              0);
  CHECK_EQUAL(cipc_connection_maximum(server), 1000);
  cipc_connection_t *ends[2] = {client, server};
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_connection_send(ends[i], "hello", 5, NULL, 0, CIPC_NO_DEADLINE), 0);
    char text[8];
    size_t length = 0;
    CHECK_EQUAL(cipc_connection_receive_into(ends[1 - i], text, sizeof text, &length, NULL, NULL,
                                             CIPC_NO_DEADLINE),
                0);
    CHECK(length == 5 && memcmp(text, "hello", 5) == 0);
  }
  for (int i = 0; i < 2 && cipc_address_kind(&address) >= 4; i++) {
    int copy, no_delay = 0;
    socklen_t size = sizeof no_delay;
    CHECK_EQUAL(cipc_connection_descriptor(ends[i], &copy), 0);
    CHECK(getsockopt(copy, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size) == 0);
    CHECK_EQUAL(no_delay, 1);
    CHECK(close(copy) == 0);
  }
  cipc_credentials_t credentials;
  int expected = cipc_address_kind(&address) < 4 ? 0 : CIPC_EOPNOTSUPP;
  CHECK_EQUAL(cipc_connection_credentials(server, &credentials), expected);
  if (expected == 0) {
    CHECK_EQUAL(credentials.process, getpid());
    CHECK_EQUAL(credentials.user, geteuid());
    CHECK_EQUAL(credentials.group, getegid());
  } else {
    // No descriptors over TCP.
    CHECK_EQUAL(cipc_connection_send(client, "x", 1, (int[]){1}, 1, 0), CIPC_EOPNOTSUPP);
    CHECK_EQUAL(cipc_connection_send_handles(client, (int[]){1}, 1, 0), CIPC_EOPNOTSUPP);
  }
  cipc_address_t peer;
  CHECK_EQUAL(cipc_connection_peer_address(client, &peer), 0);
  char found[CIPC_ADDRESS_TEXT], wanted[CIPC_ADDRESS_TEXT];
  uint16_t found_port, wanted_port;
  CHECK(cipc_address_text(&peer, found, &found_port) ==
        cipc_address_text(&address, wanted, &wanted_port));
  CHECK(strcmp(found, wanted) == 0 && found_port == wanted_port);
  CHECK_EQUAL(cipc_connection_peer_address(server, &peer), expected == 0 ? CIPC_EOPNOTSUPP : 0);
  cipc_connection_free(client);
  cipc_connection_free(server);
}

static void paths(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  CHECK_EQUAL(connect_status(&address), CIPC_ENOENT);
  mode_t before = umask(0);
  cipc_listener_t *listener = listening(&address);
  struct stat made;
  CHECK(lstat(path, &made) == 0 && S_ISSOCK(made.st_mode));
  CHECK_EQUAL(made.st_mode & 0777, 0600);
  converse(listener);
  CHECK_EQUAL(open_status(&address), CIPC_EADDRINUSE);
  cipc_listener_close(listener);
  cipc_listener_close(listener);
  CHECK(!is_there(path));
  CHECK_EQUAL(connect_status(&address), CIPC_ENOENT);
  cipc_connection_t *none;
  CHECK_EQUAL(cipc_listener_accept(listener, &none, 0, CIPC_NO_DEADLINE), CIPC_ECLOSED);
  cipc_listener_free(listener);
  cipc_listener_options_t options = {.mode = 0620};
  CHECK_EQUAL(cipc_listener_open(&listener, &address, &options), 0);
  CHECK(lstat(path, &made) == 0);
  CHECK_EQUAL(made.st_mode & 0777, 0620);
  cipc_listener_free(listener);
  umask(before);
}

static void abstract_names(void) {
  cipc_address_t address;
  char name[32];
  int length = snprintf(name, sizeof name, "cipc %d%cx", getpid(), 0);
  CHECK_EQUAL(cipc_address_abstract(&address, name, (size_t)length), 0);
  CHECK_EQUAL(cipc_address_kind(&address), 2);
  char text[CIPC_ADDRESS_TEXT];
  CHECK_EQUAL(cipc_address_text(&address, text, NULL), length);
  CHECK(memcmp(text, name, (size_t)length) == 0);
  CHECK_EQUAL(connect_status(&address), CIPC_ECONNREFUSED);
  cipc_listener_t *listener = listening(&address);
  converse(listener);
  CHECK_EQUAL(open_status(&address), CIPC_EADDRINUSE);
  cipc_listener_free(listener);
  CHECK_EQUAL(connect_status(&address), CIPC_ECONNREFUSED);
}

static void over_tcp(const char *host, int kind) {
  cipc_address_t address;
  size_t count;
  CHECK_EQUAL(cipc_address_numeric(&address, 1, &count, host, 0), 0);
  CHECK_EQUAL(count, 1);
  CHECK_EQUAL(cipc_address_kind(&address), kind);
  cipc_listener_t *listener;
  int status = cipc_listener_open(&listener, &address, NULL);
  if (status == -EAFNOSUPPORT || status == CIPC_EADDRNOTAVAIL) {
    check_skip("no such protocol on this machine");
    return;
  }
  CHECK_EQUAL(status, 0);
  converse(listener);
  char text[CIPC_ADDRESS_TEXT];
  uint16_t port = 0;
  cipc_listener_address(listener, &address);
  CHECK(cipc_address_text(&address, text, &port) > 0);
  CHECK(strcmp(text, host) == 0 && port > 0);
  CHECK_EQUAL(open_status(&address), CIPC_EADDRINUSE);
  cipc_listener_close(listener);
  CHECK_EQUAL(connect_status(&address), CIPC_ECONNREFUSED);
  // At once, although connections of before are in TIME_WAIT.
  CHECK_EQUAL(open_status(&address), 0);
  cipc_listener_free(listener);
}

static void tcp_over_ipv4(void) { over_tcp("127.0.0.1", 4); }
static void tcp_over_ipv6(void) { over_tcp("::1", 6); }

static void both_protocols_at_once(void) {
  cipc_address_t address;
  size_t count;
  CHECK_EQUAL(cipc_address_numeric(&address, 1, &count, "::", 0), 0);
  cipc_listener_t *listener;
  int status = cipc_listener_open(&listener, &address, NULL);
  if (status == -EAFNOSUPPORT) {
    check_skip("no IPv6 on this machine");
    return;
  }
  CHECK_EQUAL(status, 0);
  uint16_t port = 0;
  char text[CIPC_ADDRESS_TEXT];
  cipc_listener_address(listener, &address);
  CHECK(cipc_address_text(&address, text, &port) > 0);
  cipc_address_t four;
  CHECK_EQUAL(cipc_address_numeric(&four, 1, &count, "127.0.0.1", port), 0);
  CHECK_EQUAL(connect_status(&four), 0);
  cipc_listener_free(listener);
}

/// A name goes to the resolver, which knows this one everywhere.
static void names_of_hosts(void) {
  cipc_address_t found[4];
  size_t count = 0;
  char name[256];
  CHECK_EQUAL(cipc_address_resolve(found, 4, &count, "no-such-host.invalid", 1), CIPC_EHOST);
  CHECK_EQUAL(count, 0);
  CHECK(gethostname(name, sizeof name) == 0);
  if (cipc_address_resolve(found, 4, &count, name, 80) != 0) {
    check_skip("this machine does not know its own name");
    return;
  }
  CHECK(count >= 1 && cipc_address_kind(&found[0]) >= 4);
}

static void addresses_that_are_none(void) {
  cipc_address_t address, several[2];
  char text[200];
  memset(text, 'x', sizeof text);
  CHECK_EQUAL(cipc_address_path(&address, text, 107), 0);
  CHECK_EQUAL(cipc_address_path(&address, text, 108), CIPC_EADDRESSLONG);
  CHECK_EQUAL(cipc_address_path(&address, text, 0), CIPC_EINVAL);
  CHECK_EQUAL(cipc_address_path(&address, "a\0b", 3), CIPC_EINVAL);
  CHECK_EQUAL(cipc_address_abstract(&address, text, 107), 0);
  CHECK_EQUAL(cipc_address_abstract(&address, text, 108), CIPC_EADDRESSLONG);
  CHECK_EQUAL(cipc_address_abstract(&address, text, 0), CIPC_EINVAL);
  size_t count;
  CHECK_EQUAL(cipc_address_numeric(several, 2, &count, "localhost", 80), 0);
  CHECK_EQUAL(count, 2);
  CHECK_EQUAL(cipc_address_kind(&several[0]), 4);
  CHECK_EQUAL(cipc_address_kind(&several[1]), 6);
  for (const char *const *name = (const char *const[]){"", "127.0.0.256", "::1::", "fe80::1%",
                                                       "fe80::1%no-such-device", "a name", NULL};
       *name != NULL; name++) {
    CHECK_EQUAL(cipc_address_numeric(several, 2, &count, *name, 80), CIPC_EHOST);
  }
  CHECK_EQUAL(cipc_address_numeric(several, 0, &count, "::1", 80), CIPC_EINVAL);
  CHECK_EQUAL(cipc_address_numeric(several, 2, &count, "fe80::1%1", 80), 0);
  uint16_t port;
  char shown[CIPC_ADDRESS_TEXT];
  CHECK_EQUAL(cipc_address_text(&several[0], shown, &port), 9);
  CHECK(strcmp(shown, "fe80::1%1") == 0 && port == 80);
  cipc_address_t none = {.length = 0};
  cipc_listener_t *listener;
  CHECK_EQUAL(cipc_address_kind(&none), 0);
  CHECK_EQUAL(cipc_listener_open(&listener, &none, NULL), CIPC_EINVAL);
  // Not of this machine (TEST-NET-1).
  CHECK_EQUAL(cipc_address_numeric(several, 2, &count, "192.0.2.1", 0), 0);
  CHECK_EQUAL(open_status(&several[0]), CIPC_EADDRNOTAVAIL);
  // No such directory; and a file that is no socket.
  CHECK_EQUAL(cipc_address_path(&address, "/no/such/directory", 18), 0);
  CHECK_EQUAL(open_status(&address), CIPC_ENOENT);
  char path[64];
  address = path_address(path);
  int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  CHECK(file >= 0 && close(file) == 0);
  CHECK_EQUAL(open_status(&address), CIPC_EADDRINUSE);
  CHECK(is_there(path));
  CHECK_EQUAL(connect_status(&address), CIPC_ECONNREFUSED);
}

struct killed {
  cipc_address_t address;
  uint32_t gate;
  int bound_only;
};

static void listen_and_hang(void *argument) {
  struct killed *shared = argument;
  if (shared->bound_only) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)(void *)shared->address.storage.bytes,
               shared->address.length) == 0);
  } else {
    CHECK(listening(&shared->address) != NULL);
  }
  gate_set(&shared->gate, 1);
  child_hang();
}

static void a_killed_listeners_path_is_taken_over(void) {
  for (int bound_only = 0; bound_only < 2; bound_only++) {
    struct killed *shared = child_shared(sizeof *shared);
    char path[64];
    shared->address = path_address(path);
    shared->bound_only = bound_only;
    pid_t child = child_start(listen_and_hang, shared);
    gate_wait(&shared->gate, 1);
    // Also before it listens, where a client is refused: the name is taken.
    CHECK_EQUAL(open_status(&shared->address), CIPC_EADDRINUSE);
    if (bound_only) CHECK_EQUAL(connect_status(&shared->address), CIPC_ECONNREFUSED);
    child_kill(child);
    CHECK(is_there(path));
    CHECK_EQUAL(connect_status(&shared->address), CIPC_ECONNREFUSED);
    cipc_listener_t *listener = listening(&shared->address);
    converse(listener);
    cipc_listener_free(listener);
    CHECK(!is_there(path));
  }
}

/// Asking whether a path is stale must not be a client of the listener there.
static void asking_does_not_disturb(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  cipc_listener_t *listener = listening(&address);
  for (int i = 0; i < 10; i++) CHECK_EQUAL(open_status(&address), CIPC_EADDRINUSE);
  cipc_connection_t *none;
  CHECK_EQUAL(cipc_listener_accept(listener, &none, 0, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  cipc_listener_free(listener);
}

static void the_socket_of_another_program_stays(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  cipc_listener_t *old = listening(&address);
  // As a program does that unlinks without asking.
  CHECK(unlink(path) == 0);
  cipc_listener_t *new = listening(&address);
  cipc_listener_free(old);
  CHECK(is_there(path));
  converse(new);
  cipc_listener_free(new);
  CHECK(!is_there(path));
}

static void a_path_is_the_same_after_a_change_of_directory(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  CHECK(chdir(folder) == 0);
  CHECK_EQUAL(cipc_address_path(&address, "relative", 8), 0);
  cipc_listener_t *listener = listening(&address);
  converse(listener);
  CHECK(chdir("/") == 0);
  cipc_listener_free(listener);
  (void)snprintf(path, sizeof path, "%s/relative", folder);
  CHECK(!is_there(path));
}

static void close_in_child(void *argument) {
  cipc_listener_t *listener = argument;
  cipc_listener_free(listener);
}

static void a_forked_child_closes_its_copy_alone(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  cipc_listener_t *listener = listening(&address);
  CHECK_EQUAL(child_join(child_start(close_in_child, listener)), 0);
  CHECK(is_there(path));
  int watched[3];
  CHECK_EQUAL(cipc_listener_watch(listener, watched), 0);
  struct pollfd entry = {.fd = watched[1], .events = POLLIN};
  CHECK_EQUAL(poll(&entry, 1, 0), 0);
  converse(listener);
  cipc_listener_free(listener);
}

static void accept_in_child(void *argument) { converse(argument); }

static void a_forked_child_accepts(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  cipc_listener_t *listener = listening(&address);
  CHECK_EQUAL(child_join(child_start(accept_in_child, listener)), 0);
  converse(listener);
  cipc_listener_free(listener);
}

#define RACERS 8

struct race {
  cipc_address_t address;
  uint32_t ready, go, winners, losers;
};

static void take_over(void *argument) {
  struct race *race = argument;
  __atomic_add_fetch(&race->ready, 1, __ATOMIC_SEQ_CST);
  gate_wait(&race->go, 1);
  cipc_listener_t *listener;
  int status = cipc_listener_open(&listener, &race->address, NULL);
  CHECK(status == 0 || status == CIPC_EADDRINUSE);
  uint32_t *counter = status == 0 ? &race->winners : &race->losers;
  gate_set(counter, __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST));
  child_hang();
}

/// Of many that find the same stale path, one gets it.
static void race_for_a_path(int rounds) {
  for (int round = 0; round < rounds; round++) {
    struct race *race = child_shared(sizeof *race);
    char path[64];
    race->address = path_address(path);
    int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(stale, (struct sockaddr *)(void *)race->address.storage.bytes,
               race->address.length) == 0);
    CHECK(close(stale) == 0);
    pid_t children[RACERS];
    for (int i = 0; i < RACERS; i++) children[i] = child_start(take_over, race);
    while (__atomic_load_n(&race->ready, __ATOMIC_SEQ_CST) < RACERS) (void)sched_yield();
    gate_set(&race->go, 1);
    gate_wait(&race->losers, RACERS - 1);
    gate_wait(&race->winners, 1);
    CHECK_EQUAL(race->winners, 1);
    CHECK_EQUAL(connect_status(&race->address), 0);
    for (int i = 0; i < RACERS; i++) child_kill(children[i]);
    CHECK(unlink(path) == 0);
  }
}

static void one_takes_a_stale_path_over(void) { race_for_a_path(20); }

static void make_stale(const cipc_address_t *address) {
  int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(bind(stale, (const struct sockaddr *)(const void *)address->storage.bytes,
             address->length) == 0);
  CHECK(close(stale) == 0);
}

/// Any user can lock a directory that all may read, for as long as it likes: a stale path is taken
/// over all the same, and opening and closing wait for nobody.
static void a_locked_directory_is_no_obstacle(void) {
  int directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(directory >= 0 && flock(directory, LOCK_EX) == 0);
  for (int is_stale = 0; is_stale < 2; is_stale++) {
    char path[64];
    cipc_address_t address = path_address(path);
    if (is_stale) make_stale(&address);
    cipc_deadline_t before = cipc_clock_now();
    cipc_listener_t *listener = listening(&address);
    converse(listener);
    CHECK_EQUAL(open_status(&address), CIPC_EADDRINUSE);
    cipc_listener_free(listener);
    // The lock used to be waited for, for a second each time.
    CHECK(cipc_clock_now() - before < INT64_C(900000000));
    CHECK(!is_there(path));
  }
  CHECK(close(directory) == 0);
}

/// Without the directory's lock the turn keeps them apart.
static void one_takes_a_stale_path_over_without_the_lock(void) {
  int directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(directory >= 0 && flock(directory, LOCK_EX) == 0);
  race_for_a_path(60);
  CHECK(close(directory) == 0);
}

struct holder {
  char name[64];
  uid_t user;
  uint32_t held;
};

/// Holds the turn of taking paths over in the folder, until it is killed.
static void hold_turn(void *argument) {
  struct holder *holder = argument;
  CHECK(holder->user == geteuid() || setuid(holder->user) == 0);
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  size_t length = strlen(holder->name);
  memcpy(name.sun_path + 1, holder->name, length);
  int turn = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(bind(turn, (struct sockaddr *)(void *)&name,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) == 0);
  CHECK(listen(turn, 64) == 0);
  gate_set(&holder->held, 1);
  child_hang();
}

static pid_t holder_start(struct holder *holder, uid_t user) {
  struct stat status;
  CHECK(stat(folder, &status) == 0);
  (void)snprintf(holder->name, sizeof holder->name, "cipc-take-over-%llx-%llx-%lx",
                 (unsigned long long)status.st_dev, (unsigned long long)status.st_ino,
                 (unsigned long)geteuid());
  holder->user = user;
  holder->held = 0;
  pid_t child = child_start(hold_turn, holder);
  gate_wait(&holder->held, 1);
  return child;
}

static int64_t time_of_taking_over(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  make_stale(&address);
  cipc_deadline_t before = cipc_clock_now();
  cipc_listener_t *listener = listening(&address);
  int64_t time = cipc_clock_now() - before;
  converse(listener);
  cipc_listener_free(listener);
  CHECK(!is_there(path));
  return time;
}

/// The turn is another user's socket: no listener waits for it.
static void a_stranger_with_the_turn_is_not_waited_for(void) {
  if (geteuid() != 0) {
    check_skip("only root can be two users");
    return;
  }
  struct holder *holder = child_shared(sizeof *holder);
  pid_t stranger = holder_start(holder, 65534);
  // The shortest of up to five: a busy machine is slow now and then, and a listener that waits for
  // the stranger is slow each time.
  int64_t least = INT64_MAX;
  for (int i = 0; i < 5 && least >= INT64_C(900000000); i++) {
    int64_t took = time_of_taking_over();
    if (took < least) least = took;
  }
  CHECK(least < INT64_C(900000000));
  child_kill(stranger);
}

/// A process of this user that holds the turn and does not go on is waited for, but not for ever.
static void a_holder_of_the_turn_is_waited_for_a_second(void) {
  struct holder *holder = child_shared(sizeof *holder);
  pid_t child = holder_start(holder, geteuid());
  CHECK(time_of_taking_over() >= INT64_C(900000000));
  child_kill(child);
}

struct taking {
  cipc_address_t address;
  uint32_t taken;
};

static void take_path(void *argument) {
  struct taking *taking = argument;
  cipc_listener_t *listener;
  CHECK_EQUAL(cipc_listener_open(&listener, &taking->address, NULL), 0);
  gate_set(&taking->taken, 1);
  child_hang();
}

/// The turn goes with its holder: many wait, each is killed as soon as it has a path.
static void the_turn_of_a_killed_process_is_free(void) {
  struct holder *holder = child_shared(sizeof *holder);
  pid_t first = holder_start(holder, geteuid());
  struct taking *taking = child_shared(sizeof *taking * RACERS);
  pid_t takers[RACERS];
  for (int i = 0; i < RACERS; i++) {
    char path[64];
    taking[i].address = path_address(path);
    make_stale(&taking[i].address);
    takers[i] = child_start(take_path, &taking[i]);
  }
  child_kill(first);
  for (int i = 0; i < RACERS; i++) {
    gate_wait(&taking[i].taken, 1);
    child_kill(takers[i]);
  }
}

static void *accept_blocking(void *argument) {
  cipc_connection_t *connection;
  int status =
      cipc_listener_accept(argument, &connection, 0, cipc_clock_deadline(2 * CHILD_PATIENCE));
  cipc_connection_free(connection);
  return (void *)(intptr_t)status;
}

/// Until another thread of this process is inside a system call.
static void wait_for_sleeper(void) {
  for (;;) {
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    int sleepers = 0;
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
      char name[300], text[64] = "";
      if (entry->d_name[0] == '.') continue;
      (void)snprintf(name, sizeof name, "/proc/self/task/%s/syscall", entry->d_name);
      int file = open(name, O_RDONLY | O_CLOEXEC);
      if (file < 0) continue;
      ssize_t length = read(file, text, sizeof text - 1);
      CHECK(close(file) == 0);
      if (length > 0 && strncmp(text, "running", 7) != 0 && atoi(entry->d_name) != getpid()) {
        sleepers++;
      }
    }
    CHECK(closedir(tasks) == 0);
    if (sleepers > 0) return;
    (void)sched_yield();
  }
}

static void closing_wakes_who_accepts(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  cipc_listener_t *listener = listening(&address);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, accept_blocking, listener) == 0);
  wait_for_sleeper();
  cipc_listener_close(listener);
  void *result;
  CHECK(pthread_join(thread, &result) == 0);
  CHECK_EQUAL((intptr_t)result, CIPC_ECLOSED);
  CHECK_EQUAL(cipc_listener_closed(listener), 1);
  CHECK_EQUAL(cipc_listener_watch(listener, (int[3]){0}), CIPC_ECLOSED);
  cipc_listener_free(listener);
}

static void deadlines(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  cipc_listener_options_t options = {.backlog = 1};
  cipc_listener_t *listener;
  CHECK_EQUAL(cipc_listener_open(&listener, &address, &options), 0);
  cipc_connection_t *connection;
  CHECK_EQUAL(cipc_listener_accept(listener, &connection, 0, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_listener_accept(listener, &connection, 0, cipc_clock_deadline(1000000)),
              CIPC_ETIMEDOUT);
  // The kernel lets one more than the backlog wait; the next one is told by the deadline.
  int waiting[2], more = -1;
  for (int i = 0; i < 2; i++) CHECK_EQUAL(cipc_address_connect(&address, &waiting[i], 0), 0);
  CHECK_EQUAL(cipc_address_connect(&address, &more, 0), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_address_connect(&address, &more, cipc_clock_deadline(20000000)), CIPC_ETIMEDOUT);
  CHECK_EQUAL(more, -1);
  CHECK_EQUAL(cipc_listener_accept(listener, &connection, 0, CIPC_IMMEDIATELY), 0);
  cipc_connection_free(connection);
  CHECK_EQUAL(cipc_address_connect(&address, &more, cipc_clock_deadline(CHILD_PATIENCE)), 0);
  for (int i = 0; i < 2; i++) CHECK(close(waiting[i]) == 0);
  CHECK(close(more) == 0);
  cipc_listener_free(listener);
}

static void watching(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  cipc_listener_t *listener = listening(&address);
  int watched[3];
  CHECK_EQUAL(cipc_listener_watch(listener, watched), 0);
  struct pollfd entries[3];
  for (int i = 0; i < 3; i++) entries[i] = (struct pollfd){.fd = watched[i], .events = POLLIN};
  CHECK_EQUAL(poll(entries, 3, 0), 0);
  cipc_listener_raise(listener, 1);
  cipc_listener_raise(listener, 1);
  CHECK_EQUAL(poll(entries, 3, 0), 1);
  CHECK(entries[2].revents & POLLIN);
  cipc_listener_raise(listener, 0);
  CHECK_EQUAL(poll(entries, 3, 0), 0);
  int fd;
  CHECK_EQUAL(cipc_address_connect(&address, &fd, 0), 0);
  CHECK_EQUAL(poll(entries, 3, 0), 1);
  CHECK(entries[0].revents & POLLIN);
  CHECK(close(fd) == 0);
  cipc_listener_close(listener);
  entries[0].fd = -1;
  CHECK_EQUAL(poll(entries, 3, 0), 1);
  CHECK(entries[1].revents & POLLIN);
  cipc_listener_free(listener);
}

/// Out of descriptors: an error each time that is asked for, and the client is served afterwards.
static void no_descriptors_left(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  cipc_listener_t *listener = listening(&address);
  int watched[3];
  CHECK_EQUAL(cipc_listener_watch(listener, watched), 0);
  int fd, known_fd;
  cipc_connection_t *known;
  CHECK_EQUAL(cipc_address_connect(&address, &known_fd, 0), 0);
  CHECK_EQUAL(cipc_listener_accept(listener, &known, 0, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_address_connect(&address, &fd, 0), 0);
  struct rlimit limit, none;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  int lowest = dup(0);
  CHECK(lowest >= 0 && close(lowest) == 0);
  none.rlim_cur = (rlim_t)lowest;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  // The credentials are available all the same, since they decide which clients are admitted.
  cipc_credentials_t credentials;
  cipc_address_t from;
  CHECK_EQUAL(cipc_connection_credentials(known, &credentials), 0);
  CHECK(credentials.process == getpid() && credentials.user == geteuid());
  CHECK_EQUAL(cipc_connection_peer_address(known, &from), CIPC_EOPNOTSUPP);
  cipc_connection_t *connection;
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_listener_accept(listener, &connection, 0, CIPC_NO_DEADLINE), CIPC_EMFILE);
    CHECK(connection == NULL);
  }
  int another;
  CHECK_EQUAL(cipc_address_connect(&address, &another, 0), CIPC_EMFILE);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK_EQUAL(cipc_listener_accept(listener, &connection, 0, CIPC_IMMEDIATELY), 0);
  cipc_connection_free(connection);
  cipc_connection_free(known);
  CHECK(close(fd) == 0 && close(known_fd) == 0);
  cipc_listener_free(listener);
}

/// A socket of another type has the path.
static void another_type_of_socket(void) {
  char path[64];
  cipc_address_t address = path_address(path);
  int other = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  CHECK(bind(other, (struct sockaddr *)(void *)address.storage.bytes, address.length) == 0);
  CHECK_EQUAL(open_status(&address), CIPC_EADDRINUSE);
  CHECK_EQUAL(connect_status(&address), -EPROTOTYPE);
  CHECK(close(other) == 0);
  CHECK_EQUAL(open_status(&address), 0);
}

int main(void) {
  CHECK(mkdtemp(folder) != NULL);
  int before = open_descriptors();
  TEST(paths);
  TEST(abstract_names);
  TEST(tcp_over_ipv4);
  TEST(tcp_over_ipv6);
  TEST(both_protocols_at_once);
  TEST(names_of_hosts);
  TEST(addresses_that_are_none);
  TEST(a_killed_listeners_path_is_taken_over);
  TEST(asking_does_not_disturb);
  TEST(the_socket_of_another_program_stays);
  TEST(a_path_is_the_same_after_a_change_of_directory);
  TEST(a_forked_child_closes_its_copy_alone);
  TEST(a_forked_child_accepts);
  TEST(one_takes_a_stale_path_over);
  TEST(a_locked_directory_is_no_obstacle);
  TEST(one_takes_a_stale_path_over_without_the_lock);
  TEST(a_stranger_with_the_turn_is_not_waited_for);
  TEST(a_holder_of_the_turn_is_waited_for_a_second);
  TEST(the_turn_of_a_killed_process_is_free);
  TEST(closing_wakes_who_accepts);
  TEST(deadlines);
  TEST(watching);
  TEST(no_descriptors_left);
  TEST(another_type_of_socket);
  CHECK_EQUAL(open_descriptors(), before);
  char command[64];
  (void)snprintf(command, sizeof command, "rm -r %s", folder);
  CHECK_EQUAL(system(command), 0);
  return check_finish();
}
