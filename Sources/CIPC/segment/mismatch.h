/* SPDX-License-Identifier: Apache-2.0 */
// Why memory that was asked for was refused: the field that differs, and both values. Kept for each
// thread, for `cipc_segment_refusal`.
#ifndef CIPC_MISMATCH_H
#define CIPC_MISMATCH_H

#include <stdint.h>

#include "cipc/segment.h"

// By whatever opens something, first.
void cipc_mismatch_clear(void);

// Each notes what was found and what was expected, and returns the status.
int cipc_mismatch(int status, const char *found, const char *wanted);
int cipc_mismatch_numbers(int status, uint64_t found, uint64_t wanted);
int cipc_mismatch_words(int status, uint64_t found, uint64_t wanted);

// Compares a private copy of what stands in memory with what is wanted. 0, or the status of the
// first field that differs.
int cipc_mismatch_kind(const cipc_segment_type_t *found, const cipc_segment_type_t *wanted);
int cipc_mismatch_element(const cipc_segment_type_t *found, const cipc_segment_type_t *wanted);

#endif
