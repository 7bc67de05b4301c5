/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/foreign.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cipc.h"

// Every structure of the public headers; Tests/Python/foreign_test.py compares.
// clang-format off
#define TYPES(X) \
  X(cipc_address_t) \
  X(cipc_array_t) \
  X(cipc_barrier_arrival_t) \
  X(cipc_barrier_slot_t) \
  X(cipc_barrier_t) \
  X(cipc_bytes_t) \
  X(cipc_cell_t) \
  X(cipc_condition_slot_t) \
  X(cipc_condition_t) \
  X(cipc_condition_wait_t) \
  X(cipc_connection_state_t) \
  X(cipc_credentials_t) \
  X(cipc_element_t) \
  X(cipc_event_t) \
  X(cipc_image_location_t) \
  X(cipc_journal_area_t) \
  X(cipc_journal_t) \
  X(cipc_listener_options_t) \
  X(cipc_mutex_options_t) \
  X(cipc_mutex_t) \
  X(cipc_participant_kept_t) \
  X(cipc_process_limit_t) \
  X(cipc_process_options_t) \
  X(cipc_process_status_t) \
  X(cipc_process_stream_t) \
  X(cipc_region_entry_t) \
  X(cipc_region_object_t) \
  X(cipc_region_t) \
  X(cipc_ring_bytes_t) \
  X(cipc_ring_fill_t) \
  X(cipc_ring_info_t) \
  X(cipc_ring_options_t) \
  X(cipc_ring_record_t) \
  X(cipc_rwlock_t) \
  X(cipc_segment_claim_t) \
  X(cipc_segment_info_t) \
  X(cipc_segment_options_t) \
  X(cipc_segment_participant_t) \
  X(cipc_segment_type_t) \
  X(cipc_semaphore_t) \
  X(cipc_service_socket_t) \
  X(cipc_trace_place_t) \
  X(cipc_wait_t) \
  X(cipc_poller_interest_t)
// clang-format on

static const struct type {
  const char *name;
  uint32_t size;
  uint32_t alignment;
} types[] = {
#define TYPE(name) {#name, sizeof(name), _Alignof(name)},
    TYPES(TYPE)
#undef TYPE
};

#define COUNT (sizeof types / sizeof types[0])

static const struct type *find(const char *name) {
  for (size_t i = 0; name != NULL && i < COUNT; i++) {
    if (strcmp(types[i].name, name) == 0) return &types[i];
  }
  return NULL;
}

size_t cipc_type_size(const char *name) {
  const struct type *found = find(name);
  return found != NULL ? found->size : 0;
}

size_t cipc_type_alignment(const char *name) {
  const struct type *found = find(name);
  return found != NULL ? found->alignment : 0;
}

const char *cipc_type_name(size_t index) { return index < COUNT ? types[index].name : NULL; }

void cipc_memory_free(void *memory) { free(memory); }
