/* SPDX-License-Identifier: Apache-2.0 */
/// The floors: what the kernel primitive under each benchmark costs a plain C program. Each
/// function that is measured runs its operation `count` times, so that the call into it vanishes.
///
/// Failures that a floor cannot go on from print a line and exit: there is nothing to measure then.
#ifndef FLOORS_H
#define FLOORS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Nanoseconds on CLOCK_MONOTONIC.
uint64_t floor_now(void);

/// Binds the calling process to one core; with -1 to all cores that it had at first.
void floor_pin(int core);

/// Shared, sealed-size, touched memory of a memfd, as a segment is. Never unmapped.
void *floor_memory_create(size_t size);
/// Private, touched memory, beginning at a page; for `free`.
void *floor_buffer_create(size_t size);

typedef struct floor_mutex floor_mutex_t;
/// A robust, process-shared pthread mutex in shared memory. Never freed.
floor_mutex_t *floor_mutex_create(void);
/// Lock and unlock, with both results looked at.
void floor_mutex_pairs(floor_mutex_t *mutex, size_t count);

typedef struct floor_semaphore floor_semaphore_t;
/// A process-shared sem_t in shared memory. Never freed.
floor_semaphore_t *floor_semaphore_create(unsigned value);
/// sem_wait and sem_post, with both results looked at.
void floor_semaphore_pairs(floor_semaphore_t *semaphore, size_t count);

/// Loads with acquire; how many of them found the lowest bit.
size_t floor_loads(const uint32_t *word, size_t count);
typedef struct floor_rwlock floor_rwlock_t;
/// A process-shared pthread_rwlock in shared memory. Never freed.
floor_rwlock_t *floor_rwlock_create(void);
/// Read lock and unlock, with both results looked at.
void floor_rwlock_pairs(floor_rwlock_t *lock, size_t count);

/// Sequentially consistent additions of 1.
void floor_atomic_adds(uint64_t *word, size_t count);

/// Negates in place: wrapping around, the loop that a C compiler vectorises.
void floor_negate(int32_t *numbers, size_t length);
/// Negates in place and traps on INT32_MIN, as `-x` does in Swift.
void floor_negate_checked(int32_t *numbers, size_t length);

/// memcpy, not to be optimised away.
void floor_copy(void *destination, const void *source, size_t size);

/// Looks at a value, as far as a compiler can tell.
void floor_keep(const void *value);

/// A stream socketpair, both ends close-on-exec.
void floor_socketpair(int ends[2]);
/// Writes `size` bytes and reads `size` bytes back, `count` times.
void floor_round_trips(int fd, void *buffer, size_t size, size_t count);
/// The other end of `floor_round_trips`; returns at end of file.
void floor_echo(int fd, void *buffer, size_t size);
/// Writes `count` messages of `size` bytes, then reads the byte that answers each.
void floor_messages(int fd, void *buffer, size_t size, size_t count);
/// The other end of `floor_messages`; returns at end of file.
void floor_sink(int fd, void *buffer, size_t size);

/// Starts this program's own file with the arguments given (NULL at the end). `fd` is descriptor 3
/// there, unless it is negative.
pid_t floor_spawn(char *const arguments[], int fd);
/// The same with another program, which is looked for where PATH says.
pid_t floor_spawn_program(const char *program, char *const arguments[], int fd);
/// Waits for the end of a child; exits with a message if it did not end with status 0.
void floor_wait(pid_t child);

/// fork, `_exit` and waitpid.
void floor_forks(size_t count);

/// What a bare fork server is asked with: about what our own request has without the environment.
#define FLOOR_REQUEST_SIZE 512
/// A bare fork server: a request arrives, a child is forked that ends at once, its status goes
/// back. Returns at end of file.
void floor_server_serve(int fd);
/// The other end of `floor_server_serve`: asks and waits for the status.
void floor_server_starts(int fd, size_t count);

/// Private memory that has been written to. Never unmapped.
void floor_memory_touch(size_t size);
/// Opens so many files, and never closes them.
void floor_files_open(size_t count);
/// Binds the children of the calling process to the cores that it is bound to itself.
void floor_pin_children(void);

#endif
