/* SPDX-License-Identifier: Apache-2.0 */
// This program is its own service manager: it makes sockets, executes itself with them as systemd
// does, and is told that the service is ready.
#include "cipc/service.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "child.h"
#include "cipc/listener.h"
#include "descriptors.h"

static char folder[] = "/tmp/cipc-service-XXXXXX";

static cipc_address_t path_address(char path[64]) {
  static int number;
  cipc_address_t address;
  int length = snprintf(path, 64, "%s/%d", folder, number++);
  CHECK_EQUAL(cipc_address_path(&address, path, (size_t)length), 0);
  return address;
}

static cipc_address_t abstract_address(char name[64]) {
  static int number;
  cipc_address_t address;
  int length = snprintf(name, 64, "cipc-service-%d-%d", (int)getpid(), number++);
  CHECK_EQUAL(cipc_address_abstract(&address, name, (size_t)length), 0);
  return address;
}

static int bound(int type, const cipc_address_t *address) {
  struct sockaddr_storage storage;
  memcpy(&storage, address->storage.bytes, sizeof address->storage);
  int fd = socket(storage.ss_family, type, 0);
  CHECK(fd >= 0);
  CHECK(bind(fd, (struct sockaddr *)&storage, address->length) == 0);
  return fd;
}

/// As the manager makes it: blocking, and not close-on-exec.
static int listening(const cipc_address_t *address) {
  int fd = bound(SOCK_STREAM, address);
  CHECK(listen(fd, 8) == 0);
  return fd;
}

// MARK: The service

/// Answers each client by its message and the name of the socket; ends when it is told to.
static int serve(size_t wanted) {
  cipc_service_socket_t sockets[4];
  size_t count = 0;
  CHECK_EQUAL(cipc_service_sockets(NULL, 0, &count), 0);
  CHECK_EQUAL(count, wanted);
  CHECK_EQUAL(cipc_service_sockets(sockets, 4, &count), 0);
  CHECK_EQUAL(count, wanted);
  CHECK_EQUAL(cipc_service_notify("STATUS=begins", 13, CIPC_NO_DEADLINE), 0);
  cipc_listener_t *listeners[4];
  for (size_t i = 0; i < count; i++) {
    CHECK(fcntl(sockets[i].descriptor, F_GETFD) == FD_CLOEXEC);
    CHECK_EQUAL(cipc_listener_adopt(&listeners[i], sockets[i].descriptor), 0);
  }
  CHECK_EQUAL(cipc_service_notify("READY=1", 7, CIPC_NO_DEADLINE), 0);
  for (size_t i = 0; i < count; i++) {
    cipc_connection_t *client;
    CHECK_EQUAL(cipc_listener_accept(listeners[i], &client, 0, CIPC_NO_DEADLINE), 0);
    uint8_t *bytes;
    size_t length;
    CHECK_EQUAL(cipc_connection_receive(client, &bytes, &length, NULL, NULL, CIPC_NO_DEADLINE), 0);
    free(bytes);
    const char *name = sockets[i].name;
    CHECK_EQUAL(cipc_connection_send(client, name, strlen(name), NULL, 0, CIPC_NO_DEADLINE), 0);
    cipc_connection_free(client);
  }
  CHECK_EQUAL(cipc_service_notify("STOPPING=1", 10, CIPC_NO_DEADLINE), 0);
  for (size_t i = 0; i < count; i++) cipc_listener_free(listeners[i]);
  return 0;
}

static void move_to(int fd, int number) {
  CHECK(fd == number ? fcntl(fd, F_SETFD, 0) == 0 : dup2(fd, number) == number);
}

typedef struct service {
  const int *sockets;
  int count;
  const char *names, *notify;
} service_t;

static void execute(void *context) {
  const service_t *service = context;
  char number[16];
  int high[4];
  for (int i = 0; i < service->count; i++) high[i] = fcntl(service->sockets[i], F_DUPFD, 100);
  for (int i = 0; i < service->count; i++) move_to(high[i], CIPC_SERVICE_FIRST + i);
  for (int i = 0; i < service->count; i++) (void)close(high[i]);
  (void)snprintf(number, sizeof number, "%d", (int)getpid());
  CHECK(setenv("LISTEN_PID", number, 1) == 0);
  (void)snprintf(number, sizeof number, "%d", service->count);
  CHECK(setenv("LISTEN_FDS", number, 1) == 0);
  if (service->names != NULL) CHECK(setenv("LISTEN_FDNAMES", service->names, 1) == 0);
  CHECK(setenv("NOTIFY_SOCKET", service->notify, 1) == 0);
  (void)execl("/proc/self/exe", "service_test", "serve", number, NULL);
  _exit(99);
}

static void expect_note(int fd, const char *text) {
  char note[64];
  struct pollfd entry = {fd, POLLIN, 0};
  CHECK_EQUAL(poll(&entry, 1, (int)(CHILD_PATIENCE / 1000000)), 1);
  ssize_t size = recv(fd, note, sizeof note, 0);
  CHECK(size == (ssize_t)strlen(text) && memcmp(note, text, (size_t)size) == 0);
}

static void expect_name(const cipc_address_t *address, const char *name) {
  int fd;
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  CHECK_EQUAL(cipc_address_connect(address, &fd, deadline), 0);
  cipc_connection_t *connection;
  CHECK_EQUAL(cipc_connection_adopt(&connection, fd, 0, 0), 0);
  CHECK_EQUAL(cipc_connection_send(connection, "who", 3, NULL, 0, deadline), 0);
  uint8_t *bytes;
  size_t length;
  CHECK_EQUAL(cipc_connection_receive(connection, &bytes, &length, NULL, NULL, deadline), 0);
  CHECK(length == strlen(name) && memcmp(bytes, name, length) == 0);
  free(bytes);
  cipc_connection_free(connection);
}

static void a_service_has_its_sockets_and_tells_its_manager(void) {
  for (int is_abstract = 0; is_abstract < 2; is_abstract++) {
    char path[64], name[64], notes[65];
    cipc_address_t addresses[3] = {path_address(path), abstract_address(name)};
    size_t count;
    CHECK_EQUAL(cipc_address_numeric(&addresses[2], 1, &count, "127.0.0.1", 0), 0);
    int sockets[3];
    for (int i = 0; i < 3; i++) sockets[i] = listening(&addresses[i]);
    socklen_t size = sizeof addresses[2].storage;
    CHECK(getsockname(sockets[2], (struct sockaddr *)(void *)addresses[2].storage.bytes, &size) ==
          0);
    cipc_address_t address = is_abstract ? abstract_address(notes + 1) : path_address(notes);
    if (is_abstract) notes[0] = '@';
    int manager = bound(SOCK_DGRAM, &address);
    service_t service = {sockets, 3, is_abstract ? "first::third unit" : NULL, notes};
    pid_t child = child_start(execute, &service);
    expect_note(manager, "STATUS=begins");
    expect_note(manager, "READY=1");
    expect_name(&addresses[0], is_abstract ? "first" : "unknown");
    expect_name(&addresses[1], is_abstract ? "" : "unknown");
    expect_name(&addresses[2], is_abstract ? "third unit" : "unknown");
    expect_note(manager, "STOPPING=1");
    CHECK_EQUAL(child_join(child), 0);
    // They are the manager's: a second service has them again, and the path is still there.
    child = child_start(execute, &service);
    expect_note(manager, "STATUS=begins");
    expect_note(manager, "READY=1");
    child_kill(child);
    struct stat file;
    CHECK(stat(path, &file) == 0);
    for (int i = 0; i < 3; i++) (void)close(sockets[i]);
    (void)close(manager);
  }
}

// MARK: What does not make sense

static void set(const char *pid, const char *count, const char *names) {
  char own[16];
  (void)snprintf(own, sizeof own, "%d", (int)getpid());
  CHECK(setenv("LISTEN_PID", strcmp(pid, "own") == 0 ? own : pid, 1) == 0);
  CHECK(setenv("LISTEN_FDS", count, 1) == 0);
  CHECK(names == NULL ? unsetenv("LISTEN_FDNAMES") == 0 : setenv("LISTEN_FDNAMES", names, 1) == 0);
}

static int sockets_status(size_t *count) {
  cipc_service_socket_t sockets[2];
  return cipc_service_sockets(sockets, 2, count);
}

static void in_a_program_with_odd_variables(void *context) {
  (void)context;
  size_t count = 9;
  CHECK(unsetenv("LISTEN_PID") == 0 && unsetenv("LISTEN_FDS") == 0);
  CHECK_EQUAL(sockets_status(&count), 0);
  CHECK_EQUAL(count, 0);
  // Exactly 3 and 4 are open from there on.
  int pipes[2];
  for (int fd = 3; fd < 64; fd++) (void)close(fd);
  CHECK(pipe(pipes) == 0);
  CHECK(pipes[0] == 3 && pipes[1] == 4);
  set("own", "2", NULL);
  CHECK_EQUAL(sockets_status(&count), 0);
  CHECK_EQUAL(count, 2);
  CHECK_EQUAL(cipc_service_sockets(NULL, 0, &count), 0);
  CHECK_EQUAL(count, 2);
  static char long_name[CIPC_SERVICE_NAME + 4];
  memset(long_name, 'x', CIPC_SERVICE_NAME + 1);
  memcpy(long_name + CIPC_SERVICE_NAME + 1, ":a", 3);
  static const struct {
    const char *pid, *count, *names;
    int status;
  } cases[] = {
      {"1", "2", NULL, 0},
      {"own", "0", NULL, 0},
      {"own", "0", "", 0},
      {"own", "3", NULL, CIPC_EBADF},
      {"own", "2147483644", NULL, CIPC_EBADF},
      {"own", "2147483645", NULL, CIPC_EINVAL},
      {"own", "2147483647", NULL, CIPC_EINVAL},
      {"own", "2147483648", NULL, CIPC_EINVAL},
      {"own", "18446744073709551617", NULL, CIPC_EINVAL},
      {"own", "99999999999999999999999999999999999999999999", NULL, CIPC_EINVAL},
      {"own", "-1", NULL, CIPC_EINVAL},
      {"own", "+2", NULL, CIPC_EINVAL},
      {"own", " 2", NULL, CIPC_EINVAL},
      {"own", "2 ", NULL, CIPC_EINVAL},
      {"own", "0x2", NULL, CIPC_EINVAL},
      {"own", "", NULL, CIPC_EINVAL},
      {"", "2", NULL, CIPC_EINVAL},
      {"99999999999999999999", "2", NULL, CIPC_EINVAL},
      {"own", "2", "", CIPC_EINVAL},
      {"own", "2", "a", CIPC_EINVAL},
      {"own", "2", "a:b:c", CIPC_EINVAL},
      {"own", "2", "a:b:", CIPC_EINVAL},
      {"own", "2", long_name, CIPC_EINVAL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    set(cases[i].pid, cases[i].count, cases[i].names);
    CHECK_EQUAL(sockets_status(&count), cases[i].status);
    CHECK_EQUAL(count, 0);
  }
  cipc_service_socket_t sockets[2];
  set("own", "2", "a:");
  CHECK_EQUAL(cipc_service_sockets(sockets, 1, &count), 0);
  CHECK(count == 2 && strcmp(sockets[0].name, "a") == 0 && sockets[0].descriptor == 3);
  CHECK_EQUAL(cipc_service_sockets(sockets, 2, &count), 0);
  CHECK(strcmp(sockets[1].name, "") == 0 && sockets[1].descriptor == 4);
  long_name[CIPC_SERVICE_NAME] = ':';
  long_name[CIPC_SERVICE_NAME + 1] = 0;
  set("own", "2", long_name);
  CHECK_EQUAL(cipc_service_sockets(sockets, 2, &count), 0);
  CHECK_EQUAL(strlen(sockets[0].name), CIPC_SERVICE_NAME);
  // Not those of a fork.
  pid_t child = fork();
  if (child == 0) _exit(sockets_status(&count) == 0 && count == 0 ? 0 : 1);
  CHECK_EQUAL(child_join(child), 0);
}

static void variables_that_make_no_sense_are_errors(void) {
  CHECK_EQUAL(child_join(child_start(in_a_program_with_odd_variables, NULL)), 0);
}

static int notify_status(const char *name, cipc_deadline_t deadline) {
  CHECK(name == NULL ? unsetenv("NOTIFY_SOCKET") == 0 : setenv("NOTIFY_SOCKET", name, 1) == 0);
  return cipc_service_notify("READY=1", 7, deadline);
}

static void a_manager_that_is_not_there_is_an_error(void) {
  int before = open_descriptors();
  char path[64], text[128];
  CHECK_EQUAL(notify_status(NULL, CIPC_NO_DEADLINE), CIPC_ENOENT);
  CHECK_EQUAL(notify_status("", CIPC_NO_DEADLINE), CIPC_ENOENT);
  CHECK_EQUAL(notify_status("relative", CIPC_NO_DEADLINE), CIPC_EINVAL);
  CHECK_EQUAL(notify_status("vsock:2:1", CIPC_NO_DEADLINE), CIPC_EINVAL);
  CHECK_EQUAL(notify_status("@", CIPC_NO_DEADLINE), CIPC_EINVAL);
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  text[0] = '/';
  CHECK_EQUAL(notify_status(text, CIPC_NO_DEADLINE), CIPC_EADDRESSLONG);
  text[0] = '@';
  CHECK_EQUAL(notify_status(text, CIPC_NO_DEADLINE), CIPC_EADDRESSLONG);
  CHECK_EQUAL(notify_status("@cipc-nobody", CIPC_NO_DEADLINE), CIPC_ECONNREFUSED);
  cipc_address_t address = path_address(path);
  CHECK_EQUAL(notify_status(path, CIPC_NO_DEADLINE), CIPC_ECONNREFUSED);
  // A stream socket takes no packets.
  int stream = listening(&address);
  CHECK_EQUAL(notify_status(path, CIPC_NO_DEADLINE), -EPROTOTYPE);
  (void)close(stream);
  CHECK_EQUAL(cipc_service_notify("", 0, CIPC_NO_DEADLINE), CIPC_EINVAL);
  CHECK_EQUAL(cipc_service_notify(NULL, 1, CIPC_NO_DEADLINE), CIPC_EINVAL);
  // One that reads nothing.
  address = path_address(path);
  int manager = bound(SOCK_DGRAM, &address);
  int status, sent = 0;
  while ((status = notify_status(path, CIPC_IMMEDIATELY)) == 0) sent++;
  CHECK(sent > 0);
  CHECK_EQUAL(status, CIPC_ETIMEDOUT);
  CHECK_EQUAL(notify_status(path, cipc_clock_deadline(1000000)), CIPC_ETIMEDOUT);
  for (int i = 0; i < sent; i++) expect_note(manager, "READY=1");
  static char large[1 << 24];
  CHECK_EQUAL(cipc_service_notify(large, sizeof large, CIPC_NO_DEADLINE), CIPC_EMSGSIZE);
  (void)close(manager);
  CHECK_EQUAL(open_descriptors(), before);
}

static int adopt_status(int fd) {
  cipc_listener_t *listener;
  int status = cipc_listener_adopt(&listener, fd);
  CHECK((status == 0) == (listener != NULL));
  cipc_listener_free(listener);
  return status;
}

static void only_a_stream_socket_that_listens_is_adopted(void) {
  int before = open_descriptors();
  char path[64];
  cipc_address_t address = path_address(path);
  CHECK_EQUAL(adopt_status(-1), CIPC_EBADF);
  CHECK_EQUAL(adopt_status(999), CIPC_EBADF);
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK_EQUAL(adopt_status(ends[0]), CIPC_EOPNOTSUPP);
  (void)close(ends[0]);
  (void)close(ends[1]);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  CHECK_EQUAL(adopt_status(ends[0]), CIPC_EINVAL);
  (void)close(ends[0]);
  (void)close(ends[1]);
  int fd = bound(SOCK_DGRAM, &address);
  CHECK_EQUAL(adopt_status(fd), CIPC_EOPNOTSUPP);
  (void)close(fd);
  address = path_address(path);
  fd = bound(SOCK_SEQPACKET, &address);
  CHECK(listen(fd, 1) == 0);
  CHECK_EQUAL(adopt_status(fd), CIPC_EOPNOTSUPP);
  (void)close(fd);
  address = path_address(path);
  fd = bound(SOCK_STREAM, &address);
  CHECK_EQUAL(adopt_status(fd), CIPC_EINVAL);
  // Nothing was changed where it failed.
  CHECK(fcntl(fd, F_GETFD) == 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
  CHECK(listen(fd, 1) == 0);
  // Closing the one that adopted it leaves it to others that have it, with its path.
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  cipc_listener_t *listener;
  CHECK_EQUAL(cipc_listener_adopt(&listener, fd), 0);
  CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
  cipc_address_t found;
  cipc_listener_address(listener, &found);
  char text[CIPC_ADDRESS_TEXT];
  CHECK(cipc_address_text(&found, text, NULL) > 0 && strcmp(text, path) == 0);
  cipc_connection_t *client;
  CHECK_EQUAL(cipc_listener_accept(listener, &client, 0, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  cipc_listener_free(listener);
  CHECK(fcntl(fd, F_GETFD) < 0);
  int connected;
  CHECK_EQUAL(cipc_address_connect(&address, &connected, CIPC_NO_DEADLINE), 0);
  (void)close(connected);
  CHECK_EQUAL(cipc_listener_adopt(&listener, copy), 0);
  CHECK_EQUAL(cipc_listener_accept(listener, &client, 0, CIPC_NO_DEADLINE), 0);
  cipc_connection_free(client);
  cipc_listener_free(listener);
  CHECK_EQUAL(open_descriptors(), before);
}

int main(int argc, char **argv) {
  if (argc > 2 && strcmp(argv[1], "serve") == 0) return serve((size_t)atoi(argv[2]));
  CHECK(mkdtemp(folder) != NULL);
  TEST(a_service_has_its_sockets_and_tells_its_manager);
  TEST(variables_that_make_no_sense_are_errors);
  TEST(a_manager_that_is_not_there_is_an_error);
  TEST(only_a_stream_socket_that_listens_is_adopted);
  char command[64];
  (void)snprintf(command, sizeof command, "rm -r %s", folder);
  CHECK(system(command) == 0);
  return check_finish();
}
