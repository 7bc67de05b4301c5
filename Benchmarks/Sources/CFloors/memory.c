/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail.h"
#include "floors.h"

struct floor_mutex {
  pthread_mutex_t native;
};

struct floor_rwlock {
  pthread_rwlock_t native;
};

void *floor_memory_create(size_t size) {
  int fd = memfd_create("floor", MFD_CLOEXEC);
  if (fd < 0) fail("memfd_create", errno);
  if (ftruncate(fd, (off_t)size) < 0) fail("ftruncate", errno);
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) fail("mmap", errno);
  (void)close(fd);
  memset(memory, 0, size);
  return memory;
}

void *floor_buffer_create(size_t size) {
  void *buffer = NULL;
  int error = posix_memalign(&buffer, 4096, size);
  if (error != 0) fail("posix_memalign", error);
  memset(buffer, 1, size);
  return buffer;
}

floor_mutex_t *floor_mutex_create(void) {
  floor_mutex_t *mutex = floor_memory_create(sizeof *mutex);
  pthread_mutexattr_t attributes;
  int error = pthread_mutexattr_init(&attributes);
  if (error == 0) error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  if (error == 0) error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  if (error == 0) error = pthread_mutex_init(&mutex->native, &attributes);
  if (error != 0) fail("pthread_mutex_init", error);
  return mutex;
}

void floor_mutex_pairs(floor_mutex_t *mutex, size_t count) {
  for (size_t i = 0; i < count; i++) {
    int error = pthread_mutex_lock(&mutex->native);
    if (error == 0) error = pthread_mutex_unlock(&mutex->native);
    if (error != 0) fail("mutex", error);
  }
}

floor_rwlock_t *floor_rwlock_create(void) {
  floor_rwlock_t *lock = floor_memory_create(sizeof *lock);
  pthread_rwlockattr_t attributes;
  int error = pthread_rwlockattr_init(&attributes);
  if (error == 0) error = pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  if (error == 0) error = pthread_rwlock_init(&lock->native, &attributes);
  if (error != 0) fail("pthread_rwlock_init", error);
  return lock;
}

void floor_rwlock_pairs(floor_rwlock_t *lock, size_t count) {
  for (size_t i = 0; i < count; i++) {
    int error = pthread_rwlock_rdlock(&lock->native);
    if (error == 0) error = pthread_rwlock_unlock(&lock->native);
    if (error != 0) fail("rwlock", error);
  }
}

void floor_atomic_adds(uint64_t *word, size_t count) {
  for (size_t i = 0; i < count; i++) (void)__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
}

void floor_negate(int32_t *numbers, size_t length) {
  for (size_t i = 0; i < length; i++) numbers[i] = (int32_t)(0 - (uint32_t)numbers[i]);
}

void floor_negate_checked(int32_t *numbers, size_t length) {
  for (size_t i = 0; i < length; i++) {
    int32_t negated;
    // Into a variable, so that nothing is stored before the trap.
    if (__builtin_sub_overflow(0, numbers[i], &negated)) __builtin_trap();
    numbers[i] = negated;
  }
}

void floor_copy(void *destination, const void *source, size_t size) {
  memcpy(destination, source, size);
  __asm__ volatile("" : : "r"(destination) : "memory");
}

void floor_keep(const void *value) { __asm__ volatile("" : : "r"(value) : "memory"); }
