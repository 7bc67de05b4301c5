/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <semaphore.h>

#include "fail.h"
#include "floors.h"

struct floor_semaphore {
  sem_t native;
};

floor_semaphore_t *floor_semaphore_create(unsigned value) {
  floor_semaphore_t *semaphore = floor_memory_create(sizeof *semaphore);
  if (sem_init(&semaphore->native, 1, value) < 0) fail("sem_init", errno);
  return semaphore;
}

void floor_semaphore_pairs(floor_semaphore_t *semaphore, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (sem_wait(&semaphore->native) < 0 || sem_post(&semaphore->native) < 0) {
      fail("semaphore", errno);
    }
  }
}

size_t floor_loads(const uint32_t *word, size_t count) {
  size_t set = 0;
  for (size_t i = 0; i < count; i++) set += __atomic_load_n(word, __ATOMIC_ACQUIRE) & 1;
  return set;
}
