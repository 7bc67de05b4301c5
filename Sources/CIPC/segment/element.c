/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/element.h"

#include <string.h>

#define ALIGNMENT_MAXIMUM 4096u

static const struct {
  const char *name;
  cipc_element_t element;
} listed[] = {
#define LISTED(NAME, text, bytes, boundary) \
  {text, {bytes, bytes, boundary, CIPC_FINGERPRINT_##NAME}},
    CIPC_ELEMENT_LIST(LISTED)
#undef LISTED
};

#define COUNT (sizeof listed / sizeof listed[0])

uint64_t cipc_fingerprint_of(const char *name) {
  if (name == NULL) return 0;
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (; *name != '\0'; name++) hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
  return hash;
}

const cipc_element_t *cipc_element(const char *name) {
  for (size_t i = 0; name != NULL && i < COUNT; i++) {
    if (strcmp(listed[i].name, name) == 0) return &listed[i].element;
  }
  return NULL;
}

int cipc_element_init(cipc_element_t *element, const char *name, size_t size, size_t alignment) {
  if (name == NULL || name[0] == '\0' || size == 0 || size > SIZE_MAX - ALIGNMENT_MAXIMUM ||
      alignment == 0 || alignment > ALIGNMENT_MAXIMUM || (alignment & (alignment - 1)) != 0) {
    return CIPC_EINVAL;
  }
  const cipc_element_t *known = cipc_element(name);
  if (known != NULL && (known->size != size || known->alignment != alignment)) return CIPC_EINVAL;
  *element = (cipc_element_t){.size = size,
                              .stride = (size + alignment - 1) & ~(uint64_t)(alignment - 1),
                              .alignment = alignment,
                              .fingerprint = cipc_fingerprint_of(name)};
  return 0;
}

const char *cipc_element_name(uint64_t fingerprint) {
  if (fingerprint == CIPC_FINGERPRINT_BYTES) return "bytes";
  if (fingerprint == CIPC_FINGERPRINT_TEXT) return "text";
  for (size_t i = 0; i < COUNT; i++) {
    if (listed[i].element.fingerprint == fingerprint) return listed[i].name;
  }
  return NULL;
}
