/* SPDX-License-Identifier: Apache-2.0 */
/// The records that all streams are of: 64 bytes, all written and all read, and checked to be the
/// next ones.
#ifndef RECORDS_H
#define RECORDS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FLOOR_RECORD_WORDS 8
#define FLOOR_RECORD_SIZE (FLOOR_RECORD_WORDS * sizeof(uint64_t))

static inline void floor_record_write(uint64_t *record, uint64_t number) {
  for (unsigned i = 0; i < FLOOR_RECORD_WORDS; i++) record[i] = number + i;
}

/// Exits with a message.
void floor_record_fail(void);

static inline void floor_record_read(const uint64_t *record, uint64_t number) {
  uint64_t wrong = 0;
  for (unsigned i = 0; i < FLOOR_RECORD_WORDS; i++) wrong |= record[i] ^ (number + i);
  if (__builtin_expect(wrong != 0, 0)) floor_record_fail();
}

#ifdef __cplusplus
}
#endif

#endif
