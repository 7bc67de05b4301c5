/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/mismatch.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cipc/element.h"

#define VALUE_SIZE 96

static __thread struct {
  int status;
  char text[3 * VALUE_SIZE];
} refused;

void cipc_mismatch_clear(void) { refused.status = 0; }

int cipc_mismatch(int status, const char *found, const char *wanted) {
  // The message of a status is the field, a colon and what that means.
  const char *message = cipc_status_message(status);
  const char *colon = strstr(message, ": ");
  int field = colon != NULL ? (int)(colon - message) : (int)strlen(message);
  (void)snprintf(refused.text, sizeof refused.text, "%.*s: %s instead of %s%s%s", field, message,
                 found, wanted, colon != NULL ? "; " : "", colon != NULL ? colon + 2 : "");
  refused.status = status;
  return status;
}

int cipc_mismatch_numbers(int status, uint64_t found, uint64_t wanted) {
  char values[2][VALUE_SIZE];
  (void)snprintf(values[0], VALUE_SIZE, "%" PRIu64, found);
  (void)snprintf(values[1], VALUE_SIZE, "%" PRIu64, wanted);
  return cipc_mismatch(status, values[0], values[1]);
}

int cipc_mismatch_words(int status, uint64_t found, uint64_t wanted) {
  char values[2][VALUE_SIZE];
  (void)snprintf(values[0], VALUE_SIZE, "0x%" PRIx64, found);
  (void)snprintf(values[1], VALUE_SIZE, "0x%" PRIx64, wanted);
  return cipc_mismatch(status, values[0], values[1]);
}

const char *cipc_segment_refusal(int status) {
  return status != 0 && refused.status == status ? refused.text : cipc_status_message(status);
}

static const char *kind_name(uint32_t kind, char *number) {
  switch (kind) {
    case CIPC_KIND_MUTEX:
      return "mutex";
    case CIPC_KIND_VALUE:
      return "value";
    case CIPC_KIND_ATOMIC:
      return "atomic";
    case CIPC_KIND_ARRAY:
      return "array";
    case CIPC_KIND_STRING:
      return "string";
    case CIPC_KIND_SEMAPHORE:
      return "semaphore";
    case CIPC_KIND_EVENT:
      return "event";
    case CIPC_KIND_CONDITION:
      return "condition";
    case CIPC_KIND_BARRIER:
      return "barrier";
    case CIPC_KIND_RWLOCK:
      return "reader-writer lock";
    case CIPC_KIND_BYTES:
      return "bytes";
    case CIPC_KIND_REGION:
      return "region";
    case CIPC_KIND_RING:
      return "ring";
    default:
      (void)snprintf(number, VALUE_SIZE, "%" PRIu32, kind);
      return number;
  }
}

int cipc_mismatch_kind(const cipc_segment_type_t *found, const cipc_segment_type_t *wanted) {
  if (found->kind != wanted->kind) {
    char numbers[2][VALUE_SIZE];
    return cipc_mismatch(CIPC_ESEGMENTKIND, kind_name(found->kind, numbers[0]),
                         kind_name(wanted->kind, numbers[1]));
  }
  if (found->version != wanted->version) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTVERSION, found->version, wanted->version);
  }
  return 0;
}

// Of the kinds that say with it which of two they are, the fingerprint is 1 or 2.
static const char *fingerprint_name(const cipc_segment_type_t *type, char *number) {
  if (type->kind == CIPC_KIND_MUTEX && type->fingerprint - 1 < 2) {
    return type->fingerprint == 1 ? "plain" : "recursive";
  }
  if (type->kind == CIPC_KIND_SEMAPHORE && type->fingerprint - 1 < 2) {
    return type->fingerprint == 1 ? "owned" : "unowned";
  }
  const char *name = cipc_element_name(type->fingerprint);
  if (name != NULL) return name;
  (void)snprintf(number, VALUE_SIZE, "0x%016" PRIx64, type->fingerprint);
  return number;
}

static int compare_fingerprints(const cipc_segment_type_t *found,
                                const cipc_segment_type_t *wanted) {
  if (wanted->fingerprint == CIPC_FINGERPRINT_ANY || found->fingerprint == wanted->fingerprint) {
    return 0;
  }
  char numbers[2][VALUE_SIZE];
  return cipc_mismatch(CIPC_ESEGMENTTYPE, fingerprint_name(found, numbers[0]),
                       fingerprint_name(wanted, numbers[1]));
}

int cipc_mismatch_element(const cipc_segment_type_t *found, const cipc_segment_type_t *wanted) {
  bool any_size = wanted->fingerprint == CIPC_FINGERPRINT_ANY && wanted->element_size == 0;
  if (!any_size && found->element_size != wanted->element_size) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTELEMENT, found->element_size, wanted->element_size);
  }
  if (!any_size && found->stride != wanted->stride) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTSTRIDE, found->stride, wanted->stride);
  }
  if (!any_size && found->alignment != wanted->alignment) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTALIGNMENT, found->alignment, wanted->alignment);
  }
  return compare_fingerprints(found, wanted);
}
