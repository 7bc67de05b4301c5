/* SPDX-License-Identifier: Apache-2.0 */
/// Child processes: start one, wait for it, signal it, and take its status once.
///
/// A child is started by *spawn*: the program's own file is executed again, and
/// the child is diverted before the program's `main` does its work. It inherits
/// the arguments, the environment, the directory and the standard streams, and
/// no other descriptor than its end of a connection and those it was handed.
///
/// A C program that starts children of itself calls `cipc_process_bootstrap`
/// first in its `main`; a child never returns from that call:
///
///     static int worker(int connection) { ... return 0; }
///
///     int main(int argc, char **argv) {
///       if (cipc_process_bootstrap(argc, argv, NULL) < 0) return 1;
///       cipc_process_t *child;
///       int connection;
///       if (cipc_process_spawn(&child, &connection, worker, NULL) < 0) return 1;
///       ...
///     }
///
/// (A Swift program need not: a hook in front of its `main` makes the call.)
///
/// What a child begins with, whichever thread started it and whatever that
/// thread had set:
///
/// - signals: none blocked. Every signal has its default action, SIGPIPE and
///   SIGCHLD too, but for those of a terminal (SIGHUP, SIGINT, SIGQUIT, SIGTSTP,
///   SIGTTIN, SIGTTOU), which stay ignored where the parent ignores them, so
///   that `nohup` and background jobs mean what they say for children as well.
/// - descriptors: 0, 1 and 2 are the parent's (/dev/null for one that is closed
///   there), CIPC_PROCESS_CONNECTION is its end of the connection, then come
///   those handed to it. All others are closed, close-on-exec or not.
/// - its kernel name (`ps -o comm`) is the name in the options, or else the
///   program's.
///
/// Caveats. A parent that calls `wait(-1)`, or ignores SIGCHLD, takes the status away: it is then
/// CIPC_PROCESS_UNKNOWN unless the kernel can still tell. Changing the environment while another
/// thread starts a child is a race in C as it is with `posix_spawn`.
#ifndef CIPC_PROCESS_H
#define CIPC_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "clock.h"
#include "participant.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// A child that was started. Made by `cipc_process_spawn`, freed by
/// `cipc_process_release`. Several threads may use one at the same time.
typedef struct cipc_process cipc_process_t;

/// What a child runs instead of `main`. It owns the connection; what it returns
/// is the exit code of the process, which ends as by `exit`.
typedef int (*cipc_process_entry_t)(int connection);

/// The number of the connection's descriptor in a child.
#define CIPC_PROCESS_CONNECTION 3
/// The exit code of a child that was started but could not be given its entry:
/// the program was replaced by another version, or the entry is in a library
/// that only the parent had loaded.
#define CIPC_PROCESS_NO_ENTRY 125

typedef enum cipc_process_end {
  /// Not ended yet.
  CIPC_PROCESS_RUNNING = 0,
  /// Ended by `exit` or by a return from its entry; the value is the exit code.
  CIPC_PROCESS_EXITED = 1,
  /// Killed; the value is the signal's number.
  CIPC_PROCESS_SIGNALLED = 2,
  /// Ended, and another part of the program took the status; the value is 0.
  CIPC_PROCESS_UNKNOWN = 3
} cipc_process_end_t;

typedef struct cipc_process_status {
  cipc_process_end_t end;
  int value;
} cipc_process_status_t;

/// Where a standard stream of a child comes from.
typedef enum cipc_process_stream_kind {
  /// The parent's; /dev/null where that is closed.
  CIPC_PROCESS_INHERIT = 0,
  /// /dev/null.
  CIPC_PROCESS_NULL = 1,
  /// A descriptor of the parent's, such as one end of a pipe. It stays open there.
  CIPC_PROCESS_DESCRIPTOR = 2
} cipc_process_stream_kind_t;

typedef struct cipc_process_stream {
  cipc_process_stream_kind_t kind;
  int descriptor;
} cipc_process_stream_t;

/// A resource limit as setrlimit(2) has it: RLIMIT_NOFILE and so on.
typedef struct cipc_process_limit {
  int resource;
  uint64_t soft, hard;
} cipc_process_limit_t;

/// How to start a child. Set everything to zero, then fill in what is wanted. The call borrows all
/// of it.
typedef struct cipc_process_options {
  /// What the kernel calls the child, cut to 15 bytes; NULL for the program's name.
  const char *name;
  /// The program to execute; NULL for this program's own file, also when that
  /// was replaced or removed on disk.
  const char *executable;
  /// The arguments, with a NULL at the end; NULL for this program's.
  char *const *arguments;
  /// The environment, with a NULL at the end; NULL for this program's.
  char *const *environment;
  /// Descriptors handed to the child. There they have the numbers
  /// CIPC_PROCESS_CONNECTION + 1, + 2, ... in this order; here they stay open.
  const int *descriptors;
  size_t descriptor_count;
  /// Standard input, output and error.
  cipc_process_stream_t streams[3];
  /// The child's working directory; NULL for this process's.
  const char *directory;
  /// Limits that differ from this process's. The child's entry begins under them. The child sets
  /// them itself, as it does the next two, and the call waits until it has; a setting that is not
  /// permitted, such as a hard limit above this process's without a privilege, is an error of the
  /// start. An `executable` has them set from here, while it begins to run.
  const cipc_process_limit_t *limits;
  size_t limit_count;
  /// The processors that it may run on, as sched_setaffinity(2) takes them; NULL for this
  /// process's.
  const void *affinity;
  size_t affinity_size;
  /// Its priority, from -20 to 19, the least important; NULL for this process's.
  const int *nice;
  /// Not 0: the kernel kills the child when this process dies for any reason, SIGKILL included, or
  /// executes another program. That holds once the start has returned, also for a child that is
  /// stopped. A child that had not been let go on by then ends as soon as it runs.
  int is_daemon;
  /// Not 0: the child leads a process group of its own, which a Ctrl-C on the terminal misses.
  int new_group;
  /// When the start gives up with CIPC_ETIMEDOUT; NULL for never. The child, if there is one by
  /// then, is killed. The time that the kernel takes to begin executing a file (posix_spawn) is not
  /// counted, since it cannot be interrupted.
  const cipc_deadline_t *deadline;
} cipc_process_options_t;

/// Starts a child that runs `entry`, a function of this program or of a library
/// that it is linked with; NULL for the default entry that was given to
/// `cipc_process_bootstrap`.
///
/// `*process` is the caller's, to be released. `*connection` is the caller's to
/// close: one end of a stream socketpair, close-on-exec, whose other end is the
/// child's. With `connection` NULL the child finds its end closed.
///
/// Blocks until the child has begun to execute its file, as posix_spawn does. May be
/// called from any thread.
///
/// Returns CIPC_OK; CIPC_EINVAL for NULL `process`, a NULL entry without a default, or more than
/// 250 descriptors; CIPC_ENOENT when no image of this program holds the entry; CIPC_ENOBOOTSTRAP
/// when `cipc_process_bootstrap` was not called in this program (the child would run the program
/// again) and no other program is named; CIPC_EBADF for a descriptor that is not open; CIPC_EMFILE,
/// CIPC_ENFILE, CIPC_ENOMEM, CIPC_EAGAIN and the errors of execve, pidfd_open, setrlimit,
/// sched_setaffinity and setpriority; CIPC_ETIMEDOUT where the options have a deadline. No child is
/// left behind when it fails.
CIPC_API CIPC_CHECKED int cipc_process_spawn(cipc_process_t **process, int *connection,
                                             cipc_process_entry_t entry,
                                             const cipc_process_options_t *options);

/// Starts a child that is a copy of this process, as fork(2) does, and goes on in both: CIPC_OK
/// here, CIPC_PROCESS_IN_CHILD in the child, which has its end of the connection in `*connection`
/// (with NULL it is closed there) and NULL in `*process`.
///
/// stdout and stderr are flushed before. The child should leave by `cipc_process_leave`: `exit`
/// runs what its parent has registered with atexit. Its memory, signal handlers and descriptors are
/// copies of the parent's; only the fork server's and the daemons' are closed.
///
/// Of the options, `executable`, `arguments` and `descriptors` must not be given. Needs no
/// bootstrap.
///
/// Returns CIPC_ETHREADS when this process has more than one thread: whatever lock another thread
/// holds at that moment stays locked in the child for ever. (A thread that was joined just now is
/// waited for, up to 10 ms.) CIPC_EINVAL, and otherwise as `cipc_process_spawn`.
CIPC_API CIPC_CHECKED int cipc_process_fork(cipc_process_t **process, int *connection,
                                            const cipc_process_options_t *options);

/// Starts a child as `cipc_process_spawn` does, but forked from a fork server: a process of this
/// program that was spawned by the first such call, has one thread, and has run nothing. That takes
/// a tenth of the time, however much memory and however many descriptors this process has.
///
/// The child has this process's environment, directory, umask, limits, standard streams and ignored
/// signals of the moment of the call, and the calling thread's processors and priority. Its parent,
/// for the kernel, is the server; its status comes here all the same. The server takes no signals
/// of the terminal, and ends when this process ends, for whatever reason. When it is killed,
/// running children go on, and the next call starts another server; how they ended is then
/// CIPC_PROCESS_UNKNOWN where the kernel cannot tell (Linux 6.15 can). A forked child of this
/// process has a server of its own.
///
/// A server that may use more than one processor has the child of the next call ready, asleep. That
/// child ends with its server, for whatever reason; when it is killed or stopped, another one takes
/// its place.
///
/// A server that is found stopped, at two looks 200 ms apart, while a start waits for it is killed
/// and replaced like a dead one.
///
/// The server binds the functions of its libraries when it begins, as with LD_BIND_NOW, and dlopen
/// does so in its children, RTLD_LAZY or not. Where that ends it, since a library lacks a function
/// that is never called, the same call starts a server that binds lazily.
///
/// Of the options, `executable` and `arguments` must not be given: CIPC_EINVAL. Otherwise as with
/// `cipc_process_spawn`; CIPC_EPEERCLOSED when the server was killed twice over one call;
/// CIPC_EBOOTSTRAP when a new server does not begin, since the library that has this code was
/// replaced on disk by another version.
CIPC_API CIPC_CHECKED int cipc_process_fork_server(cipc_process_t **process, int *connection,
                                                   cipc_process_entry_t entry,
                                                   const cipc_process_options_t *options);

/// Makes a pipe for a standard stream of a child: `ends[0]` reads, `ends[1]` writes; close-on-exec,
/// the caller's. Returns CIPC_OK; CIPC_EMFILE, CIPC_ENFILE.
CIPC_API CIPC_CHECKED int cipc_process_pipe(int ends[2]);

/// Ends this process as a forked child should: flushes stdout and stderr, and leaves by _exit, so
/// that no exit handler of its parent runs.
CIPC_API void cipc_process_leave(int code) __attribute__((noreturn));

/// Writes out what this process has printed to stdout and stderr. Blocks as printing does; where
/// there is nothing to write it takes some nanoseconds. Any thread. What cannot be written stays.
CIPC_API void cipc_process_flush(void);

/// The same, and for all other streams of stdio too while this process has one thread (with glibc):
/// beside other threads it would wait for one that sits in a read.
CIPC_API void cipc_process_flush_all(void);

/// The participant that started this process by this library: the process that called
/// `cipc_process_spawn` or its kin, also where the fork server is the parent. 0 in other processes.
CIPC_API cipc_participant_t cipc_process_starter(void);

/// In a child: runs its entry and exits. Elsewhere: remembers the arguments and
/// the default entry for `cipc_process_spawn`, and returns.
///
/// A process is a child when its environment says so, with a descriptor that is
/// a unix socket made by its parent, under the same user, with the greeting of
/// this library in it; a set-user-id program never is. The variable is taken
/// out of the environment, for everything that the child executes in turn. A child
/// whose parent died in the middle of the start exits at once; one whose parent
/// died after it runs its entry. `default_entry` may be NULL.
///
/// Call it first in `main`, before any thread is started. A later call, from any thread, replaces
/// the default entry where it gives one.
///
/// Returns CIPC_OK, and CIPC_EINVAL for NULL `argv`.
CIPC_API CIPC_CHECKED int cipc_process_bootstrap(int argc, char **argv,
                                                 cipc_process_entry_t default_entry);

/// 1 in a child that `cipc_process_spawn` started, also while its entry runs; 0 elsewhere. The
/// first call, which `cipc_process_bootstrap` makes unless another caller did, takes the variable
/// out of the environment.
CIPC_API int cipc_process_is_child(void);

/// Waits until the child has ended, and says how. The status stays with the
/// process: every later call says the same. The child is reaped.
///
/// Returns CIPC_OK; CIPC_ETIMEDOUT when it is still running at the deadline
/// (`status` then says CIPC_PROCESS_RUNNING), with CIPC_IMMEDIATELY at once;
/// CIPC_EINVAL for NULL arguments.
CIPC_API CIPC_CHECKED int cipc_process_wait(cipc_process_t *process, cipc_deadline_t deadline,
                                            cipc_process_status_t *status);

/// Sends a signal to the child, never to another process that got its number
/// afterwards. Does not block.
///
/// Returns CIPC_OK; CIPC_ESRCH when the child has ended; CIPC_EINVAL for a number that is not a
/// signal's; CIPC_EPERM when the child changed its user.
CIPC_API CIPC_CHECKED int cipc_process_signal(cipc_process_t *process, int signal);

/// The child's number. It names another process once the child was reaped.
CIPC_API pid_t cipc_process_pid(const cipc_process_t *process);

/// A descriptor that is readable once the child has ended, borrowed: open until the process is
/// released. Where it is readable and `cipc_process_wait` says that the child still runs, the fork
/// server has died: ask for the descriptor again.
CIPC_API int cipc_process_descriptor(const cipc_process_t *process);

/// A duplicate of the child's pidfd, close-on-exec, the caller's to close: readable from the
/// moment at which the child has ended, for ever. `cipc_process_wait` may then wait a little
/// for the status of a child of the fork server.
///
/// Returns the descriptor; CIPC_EINVAL for NULL; CIPC_EMFILE.
CIPC_API CIPC_CHECKED int cipc_process_pidfd(const cipc_process_t *process);

/// Called once, when a watched child has ended and was reaped.
typedef void (*cipc_process_callback_t)(void *context);

/// Has the child reaped as soon as it has ended, whether or not a caller waits for it, and then
/// calls back: on the poller's thread (cipc/poller.h), where the callback must be short; at once,
/// in this call, when the child has ended already.
///
/// The poller's thread is started for it where the process has other threads already. A process
/// with one thread is left with one, so that it can still fork: there the child is reaped, and the
/// callback made, by a later start or release that finds it ended, unless the waiter thread is
/// started before. A forked child of this process is called back by a later start or release of its
/// own.
///
/// The process is released in the callback or after it, not before. Does not block.
///
/// Returns CIPC_OK; CIPC_EBUSY where the child is watched already; CIPC_EINVAL for NULL.
CIPC_API CIPC_CHECKED int cipc_process_watch(cipc_process_t *process,
                                             cipc_process_callback_t callback, void *context);

/// Gives the process up. A child that is still running goes on, and is reaped as a watched one is:
/// as soon as it has ended where the process has more than one thread, and otherwise when a later
/// start or release finds it ended. With NULL all children that have ended are reaped. Does not
/// block.
CIPC_API void cipc_process_release(cipc_process_t *process);

CIPC_END_DECLS

#endif
