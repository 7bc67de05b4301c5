/* SPDX-License-Identifier: Apache-2.0 */
// Opening and closing rings, and looking at them.
//
// From below: layout.h (shared bytes), hold.h (what a process has open), tiers (where records go),
// producers and consumers (a side each), reclaim (memory that is given back), leases (records that
// are taken and not done), backoff (spinning and sleeping), put and get.
#include "cipc/ring.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "cipc/descriptor.h"
#include "ring/backoff.h"
#include "ring/consumers.h"
#include "ring/leases.h"
#include "ring/producers.h"
#include "ring/tiers.h"
#include "segment/mismatch.h"
#include "segment/segment.h"
#include "wait/eventcount.h"
#include "wait/readiness.h"

#define LAYOUT_VERSION 1u

static const cipc_ring_options_t defaults;

static cipc_segment_type_t type_of(const cipc_ring_options_t *options) {
  return (cipc_segment_type_t){.kind = CIPC_KIND_RING,
                               .version = LAYOUT_VERSION,
                               .element_size = CIPC_RING_UNIT,
                               .stride = CIPC_RING_UNIT,
                               .alignment = CIPC_RING_UNIT,
                               .count = 0,
                               .fingerprint = options->fingerprint};
}

uint64_t cipc_ring_fingerprint(int form, const cipc_element_t *element) {
  if (element == NULL || element->fingerprint == CIPC_FINGERPRINT_ANY) return CIPC_FINGERPRINT_ANY;
  uint64_t fingerprint = element->fingerprint;
  uint64_t size = 0;
  switch (form) {
    case CIPC_RING_OF_ELEMENTS:
      size = element->size;
      break;
    case CIPC_RING_OF_ARRAYS:
      if (fingerprint == CIPC_FINGERPRINT_UINT8) return CIPC_FINGERPRINT_BYTES;
      size = element->stride;
      break;
    case CIPC_RING_OF_MESSAGES:
      break;
    default:
      return CIPC_FINGERPRINT_ANY;
  }
  // One step of the hash that the fingerprint is of.
  return (fingerprint ^ ((uint64_t)form + (size << 8))) * UINT64_C(0x100000001b3);
}

// MARK: Setting up

// What is derived from a configuration. False for one that no ring has.
static bool configure(cipc_ring_t *ring, unsigned flags, uint64_t capacity, uint64_t records,
                      size_t *size, size_t *backed) {
  if (records > CIPC_RING_RECORDS_MAXIMUM) return false;
  ring->tier_count = cipc_tiers_plan(flags, capacity, ring->tiers, size, backed);
  if (ring->tier_count == 0) return false;
  bool is_leased = (flags & (CIPC_RING_LEASED | CIPC_RING_TRACKED)) != 0;
  ring->flags = flags;
  ring->header =
      is_leased ? CIPC_RING_LEASED_HEADER / CIPC_RING_UNIT : CIPC_RING_HEADER / CIPC_RING_UNIT;
  ring->capacity = capacity / CIPC_RING_UNIT;
  ring->records = records != 0 ? records : CIPC_RING_RECORDS_MAXIMUM;
  uint64_t first = ring->tiers[0].units;
  ring->first_space = ring->capacity < first ? ring->capacity : first;
  uint64_t longest = (ring->capacity - ring->header) * CIPC_RING_UNIT;
  ring->longest = longest < UINT32_MAX ? (size_t)longest : UINT32_MAX;
  ring->spin = CIPC_RING_SPIN_ADAPTIVE;
  return true;
}

static void use(cipc_ring_t *ring, cipc_ring_control_t *control) {
  ring->control = control;
  bool is_leased = ring->header > 1;
  ring->low = is_leased ? &control->low : &control->head;
}

typedef struct plan {
  unsigned flags;
  uint64_t capacity;
  uint64_t records;
  size_t size;
  size_t backed;
} plan_t;

static int plan_for(const cipc_ring_options_t *options, plan_t *plan) {
  cipc_ring_t scratch;
  uint64_t standard =
      (options->flags & CIPC_RING_SPSC) != 0 ? CIPC_RING_CAPACITY_SPSC : CIPC_RING_CAPACITY;
  *plan = (plan_t){.flags = options->flags,
                   .capacity = options->capacity != 0 ? options->capacity : standard,
                   .records = options->records};
  return configure(&scratch, plan->flags, plan->capacity, plan->records, &plan->size, &plan->backed)
             ? 0
             : CIPC_EINVAL;
}

// The first contents of a ring's segment, which is all zero.
static int prepare(void *payload, void *context) {
  const plan_t *plan = context;
  cipc_ring_control_t *control = payload;
  control->flags = plan->flags;
  control->capacity = plan->capacity;
  control->records = plan->records;
  control->creator = cipc_participant_current();
  cipc_tier_t tiers[CIPC_RING_TIERS];
  size_t size, backed;
  (void)cipc_tiers_plan(plan->flags, plan->capacity, tiers, &size, &backed);
  control->backed[0] = (backed - tiers[0].offset) / CIPC_RING_UNIT;
  int status = cipc_mutex_init(&control->producers, NULL);
  return status < 0 ? status : cipc_mutex_init(&control->consumers, NULL);
}

// Copies the configuration that stands in a segment, once, and checks it against its size.
static int read_configuration(cipc_ring_t *ring, const cipc_ring_control_t *control, size_t size) {
  size_t planned, backed;
  unsigned flags = __atomic_load_n(&control->flags, __ATOMIC_RELAXED);
  uint64_t capacity = __atomic_load_n(&control->capacity, __ATOMIC_RELAXED);
  uint64_t records = __atomic_load_n(&control->records, __ATOMIC_RELAXED);
  bool is_known = configure(ring, flags, capacity, records, &planned, &backed);
  return is_known && planned == size ? 0 : CIPC_ERINGHEADER;
}

static const char *flags_name(unsigned flags) {
  if ((flags & CIPC_RING_SPSC) != 0) return "one producer and consumer";
  if ((flags & CIPC_RING_LEASED) != 0) return "leased";
  return (flags & CIPC_RING_TRACKED) != 0 ? "tracked" : "neither leased nor tracked";
}

// Takes the segment over on success.
static int adopt(cipc_ring_t **ring, cipc_segment_t *segment, unsigned flags) {
  cipc_ring_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;
  cipc_ring_control_t *control = cipc_segment_address(segment);
  size_t size = cipc_segment_size(segment);
  int status = size < sizeof *control ? CIPC_ERINGHEADER : read_configuration(made, control, size);
  if (status == 0 && made->flags != flags) {
    status = cipc_mismatch(CIPC_ERINGHEADER, flags_name(made->flags), flags_name(flags));
  }
  unsigned char *base;
  made->segment = segment;
  if (status == 0) status = cipc_tiers_map(made, 0, &base);
  if (status < 0) {
    free(made);
    return status;
  }
  use(made, control);
  *ring = made;
  return 0;
}

// MARK: Opening

int cipc_ring_create(cipc_ring_t **ring, const cipc_ring_options_t *options) {
  if (options == NULL) options = &defaults;
  plan_t plan;
  int status = plan_for(options, &plan);
  if (status < 0) return status;
  cipc_segment_type_t type = type_of(options);
  cipc_segment_options_t with = {.type = &type, .label = options->label, .backed = plan.backed};
  cipc_segment_t *segment = NULL;
  status = cipc_segment_create(&segment, plan.size, &with);
  if (status == 0) status = prepare(cipc_segment_address(segment), &plan);
  if (status == 0) status = cipc_segment_publish(segment, NULL);
  if (status == 0) status = adopt(ring, segment, plan.flags);
  if (status < 0) cipc_segment_close(segment);
  return status;
}

// Of a ring that exists, usually one that somebody else made.
static int adopt_found(cipc_ring_t **ring, cipc_segment_t *segment, unsigned flags) {
  int status = adopt(ring, segment, flags);
  if (status == 0) cipc_ring_meet(*ring, cipc_participant_current());
  return status;
}

int cipc_ring_open(cipc_ring_t **ring, int descriptor, const cipc_ring_options_t *options) {
  if (options == NULL) options = &defaults;
  cipc_segment_type_t type = type_of(options);
  cipc_segment_t *segment = NULL;
  // A duplicate, so that the caller's stays his when the ring turns out not to be one.
  int own = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return -errno;
  int status = cipc_segment_open(&segment, own, &(cipc_segment_options_t){.type = &type});
  if (status < 0) {
    cipc_descriptor_drop(own);
    return status;
  }
  status = adopt_found(ring, segment, options->flags);
  if (status < 0) {
    cipc_segment_close(segment);
    return status;
  }
  (void)close(descriptor);
  return 0;
}

int cipc_ring_open_named(cipc_ring_t **ring, const char *name, const cipc_ring_options_t *options) {
  if (options == NULL) options = &defaults;
  cipc_segment_type_t type = type_of(options);
  cipc_segment_t *segment = NULL;
  int status = cipc_segment_open_named(&segment, name, &(cipc_segment_options_t){.type = &type});
  if (status < 0) return status;
  status = adopt_found(ring, segment, options->flags);
  if (status < 0) cipc_segment_close(segment);
  return status;
}

int cipc_ring_open_or_create(cipc_ring_t **ring, const char *name,
                             const cipc_ring_options_t *options) {
  if (options == NULL) options = &defaults;
  plan_t plan;
  int status = plan_for(options, &plan);
  if (status < 0) return status;
  cipc_segment_type_t type = type_of(options);
  cipc_segment_options_t with = {.type = &type, .backed = plan.backed};
  cipc_segment_t *segment = NULL;
  int found = cipc_segment_open_or_create(&segment, name, plan.size, &with, prepare, &plan);
  // One that is there may be of another size.
  if (found == CIPC_ESEGMENTSIZE) return cipc_ring_open_named(ring, name, options);
  if (found < 0) return found;
  status = found == CIPC_SEGMENT_CREATED ? adopt(ring, segment, plan.flags)
                                         : adopt_found(ring, segment, plan.flags);
  if (status < 0) {
    cipc_segment_close(segment);
    return status;
  }
  return found;
}

int cipc_ring_offer(cipc_ring_t *ring, uint32_t *ticket) {
  if (cipc_ring_was_shut(ring)) return CIPC_ECLOSED;
  int status = cipc_segment_offer(ring->segment, ticket);
  if (status < 0) return status;
  cipc_ring_note(&ring->offering);
  __atomic_store_n(&ring->control->is_shared, 1, __ATOMIC_RELAXED);
  return 0;
}

cipc_segment_t *cipc_ring_segment(const cipc_ring_t *ring) { return ring->segment; }

void cipc_ring_set_spin(cipc_ring_t *ring, int64_t nanoseconds) {
  __atomic_store_n(&ring->spin, nanoseconds, __ATOMIC_RELAXED);
}

// MARK: Closing

// Gives up a side of an SPSC ring.
static void disclaim(cipc_participant_t *word, cipc_participant_t mine) {
  // Not if it is a forked child's copy of its parent's.
  if (mine == CIPC_PARTICIPANT_NOBODY || mine != cipc_participant_current()) return;
  // Commit point of giving it up.
  (void)__atomic_compare_exchange_n(word, &mine, CIPC_PARTICIPANT_NOBODY, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_RELAXED);
}

void cipc_ring_shut(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  // What a living process has leased goes back when it says so, or when it ends: not if somebody
  // has kept the side for so long.
  cipc_interrupt_pause();
  bool has_side =
      cipc_ring_is_leased(ring) && cipc_consumers_visit(ring, cipc_clock_deadline(1000000000)) == 0;
  cipc_interrupt_resume();
  if (has_side) cipc_leases_abandon(ring);
  // With the side: no thread leases anything in between.
  uint32_t was_shut = __atomic_exchange_n(&ring->is_shut, 1, __ATOMIC_SEQ_CST);
  if (has_side) cipc_consumers_leave(ring);
  if (was_shut != 0) return;
  int status = cipc_ring_cancel(ring);
  status = cipc_ring_restore(ring);
  (void)status;
  disclaim(&control->producer, ring->producer);
  disclaim(&control->consumer, ring->consumer);
  cipc_segment_leave(ring->segment);
  // Behind the leaving: who is woken by this counts this process no more.
  (void)__atomic_fetch_add(&control->departures, 1, __ATOMIC_SEQ_CST);
  cipc_eventcount_wake(&control->items, INT_MAX);
  cipc_eventcount_wake(&control->space, INT_MAX);
  cipc_eventcount_wake(&control->done, INT_MAX);
}

void cipc_ring_close(cipc_ring_t *ring) {
  if (ring == NULL) return;
  cipc_ring_shut(ring);
  cipc_tiers_unmap(ring);
  cipc_segment_close(ring->segment);
  free(ring->leases);
  free(ring);
}

// MARK: Looking

uint64_t cipc_ring_capacity(const cipc_ring_t *ring) { return ring->capacity * CIPC_RING_UNIT; }

uint64_t cipc_ring_records(const cipc_ring_t *ring) {
  return ring->records == CIPC_RING_RECORDS_MAXIMUM ? 0 : ring->records;
}

size_t cipc_ring_record_maximum(const cipc_ring_t *ring) { return ring->longest; }

// 0, or CIPC_ERINGINDEX: the words make no sense, perhaps since they moved between two looks.
static int measure(const cipc_ring_t *ring, cipc_ring_fill_t *fill) {
  const cipc_ring_control_t *control = ring->control;
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_ACQUIRE);
  cipc_index_t head = __atomic_load_n(&control->head, __ATOMIC_ACQUIRE);
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_ACQUIRE);
  uint64_t returned = __atomic_load_n(&control->returned, __ATOMIC_RELAXED);
  cipc_tiers_extent_t extent;
  int status = cipc_tiers_measure(ring, low, tail, &extent);
  if (status < 0) return status;
  uint64_t unfinished = cipc_index_records(low, tail);
  uint64_t records = cipc_index_records(head, tail);
  if (cipc_ring_is_leased(ring)) records += returned;
  *fill = (cipc_ring_fill_t){.records = records < unfinished ? records : unfinished,
                             .unfinished = unfinished,
                             .bytes = extent.units * CIPC_RING_UNIT};
  return 0;
}

cipc_ring_fill_t cipc_ring_fill(const cipc_ring_t *ring) {
  cipc_ring_fill_t fill = {0};
  // The tiers may move under the look; they seldom do.
  for (int i = 0; i < 8 && measure(ring, &fill) < 0; i++) {
  }
  return fill;
}

int cipc_ring_inspect(int descriptor, cipc_ring_info_t *info) {
  cipc_segment_info_t segment;
  int status = cipc_segment_inspect(descriptor, &segment);
  if (status < 0) return status;
  if (segment.type.kind != CIPC_KIND_RING) return CIPC_ESEGMENTKIND;
  cipc_ring_control_t copy;
  ssize_t count = pread(descriptor, &copy, sizeof copy, CIPC_SEGMENT_HEADER_SIZE);
  if (count < 0) return -errno;
  if (count != (ssize_t)sizeof copy) return CIPC_ERINGHEADER;
  cipc_ring_t ring;
  memset(&ring, 0, sizeof ring);
  status = read_configuration(&ring, &copy, segment.size);
  if (status < 0) return status;
  use(&ring, &copy);
  *info = (cipc_ring_info_t){.flags = ring.flags,
                             .is_finished = (copy.tail & CIPC_INDEX_FINISHED) != 0,
                             .capacity = cipc_ring_capacity(&ring),
                             .capacity_records = cipc_ring_records(&ring)};
  return measure(&ring, &info->fill);
}

// MARK: Readiness

// Whether there is something to be had, without having it.
static int look_for_records(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  (void)request;
  int status = cipc_consumers_enter(ring, limit);
  if (status < 0) return status;
  cipc_ring_control_t *control = ring->control;
  cipc_index_t index = __atomic_load_n(&control->head, __ATOMIC_RELAXED), next;
  size_t length;
  status =
      cipc_tiers_has(ring, index) ? cipc_tiers_find(ring, &index, &length, &next) : CIPC_ERINGINDEX;
  if ((status == CIPC_EAGAIN || status == CIPC_EFINISHED) && cipc_ring_is_leased(ring)) {
    status = cipc_leases_look(ring, index, status);
  }
  cipc_consumers_leave(ring);
  return status;
}

static int records_step(const cipc_readiness_subject_t *subject, cipc_wait_t *wait) {
  cipc_ring_t *ring = subject->object;
  return cipc_backoff_step(ring, CIPC_RING_ITEMS, look_for_records, NULL,
                           cipc_backoff_is_time(ring), wait);
}

static int look_for_space(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  const size_t *length = request;
  int status = cipc_producers_enter(ring, limit);
  if (status < 0) return status;
  cipc_index_t tail = __atomic_load_n(&ring->control->tail, __ATOMIC_RELAXED), place;
  status = (tail & CIPC_INDEX_FINISHED) != 0
               ? CIPC_EFINISHED
               : cipc_tiers_place(ring, tail, cipc_ring_units(ring, *length), &place);
  cipc_producers_leave(ring);
  return status;
}

static int space_step(const cipc_readiness_subject_t *subject, cipc_wait_t *wait) {
  cipc_ring_t *ring = subject->object;
  size_t length = subject->parameter;
  if (length > ring->longest) return CIPC_ECAPACITY;
  return cipc_backoff_step(ring, CIPC_RING_SPACE, look_for_space, &length,
                           cipc_backoff_is_time(ring), wait);
}

int cipc_ring_readiness_open(cipc_readiness_t **readiness, cipc_ring_t *ring, int for_space,
                             size_t length) {
  return cipc_readiness_open(
      readiness,
      &(cipc_readiness_subject_t){
          .object = ring, .parameter = length, .step = for_space ? space_step : records_step});
}
