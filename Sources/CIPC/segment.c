/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/segment.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "layout.h"
#include "memory.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define DIRECTORY "/dev/shm"
// Bytes of a name behind its slash.
#define NAME_MAXIMUM 250
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

struct cipc_segment {
  unsigned char *mapping;
  size_t length;
  // Bytes before the payload: the header, or none.
  size_t offset;
  int descriptor;
  bool named;
  cipc_segment_type_t type;
};

static int at(cipc_fault_t point, int status) {
  int injected = cipc_fault_at(point);
  (void)point;
  return injected < 0 ? injected : status;
}

static uint32_t this_libc(void) {
#if defined(__GLIBC__)
  return CIPC_LIBC_GLIBC;
#else
  return CIPC_LIBC_MUSL;
#endif
}

static bool elements_fit(const cipc_segment_type_t *type, uint64_t size) {
  uint64_t bytes = 0;
  return !__builtin_mul_overflow(type->count, type->stride, &bytes) && bytes <= size;
}

// The path of a name below /dev/shm. The kernel would take more; what is kept is what shm_open(3)
// and Python take.
static int path_of(const char *name, char *path, size_t room) {
  if (name == NULL || name[0] != '/' || name[1] == '\0' || strchr(name + 1, '/') != NULL ||
      strlen(name) > 1 + NAME_MAXIMUM || strcmp(name, "/.") == 0 || strcmp(name, "/..") == 0) {
    return CIPC_EINVAL;
  }
  (void)snprintf(path, room, DIRECTORY "%s", name);
  return 0;
}

static int make_descriptor(const cipc_segment_options_t *options) {
  int injected = cipc_fault_at(CIPC_FAULT_SEGMENT_MEMFD);
  if (injected < 0) return injected;
  int descriptor;
  if (options->named) {
    descriptor = open(DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
  } else {
    const char *label = options->label != NULL ? options->label : "cipc";
    descriptor = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    // Kernels before 6.3 do not know MFD_NOEXEC_SEAL.
    if (descriptor < 0 && errno == EINVAL) {
      descriptor = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
  }
  return descriptor < 0 ? -errno : descriptor;
}

// Gives the file its size and its memory, so that no later access lacks it.
static int allocate(int descriptor, size_t length, bool named) {
  int status =
      at(CIPC_FAULT_SEGMENT_TRUNCATE, ftruncate(descriptor, (off_t)length) < 0 ? -errno : 0);
  if (status < 0) return status;
  status = at(CIPC_FAULT_SEGMENT_ALLOCATE, cipc_memory_check(length));
  while (status == 0 && fallocate(descriptor, 0, 0, (off_t)length) < 0) {
    if (errno != EINTR) status = -errno;
  }
  if (status < 0 || named) return status;
  return at(CIPC_FAULT_SEGMENT_SEAL,
            fcntl(descriptor, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0 ? -errno : 0);
}

static int map(cipc_segment_t *segment) {
  int status = cipc_fault_at(CIPC_FAULT_SEGMENT_MAP);
  if (status < 0) return status;
  void *mapping =
      mmap(NULL, segment->length, PROT_READ | PROT_WRITE, MAP_SHARED, segment->descriptor, 0);
  if (mapping == MAP_FAILED) return -errno;
  segment->mapping = mapping;
  return 0;
}

static void write_header(cipc_segment_t *segment) {
  const cipc_segment_type_t *type = &segment->type;
  cipc_layout_header_t header = {
      .magic = CIPC_LAYOUT_MAGIC,
      .layout = CIPC_LAYOUT_VERSION,
      .kind = type->kind,
      .kind_version = type->version,
      .mutex_size = sizeof(cipc_mutex_t),
      .mutex_alignment = _Alignof(cipc_mutex_t),
      .libc = this_libc(),
      .element_size = type->element_size,
      .stride = type->stride,
      .alignment = type->alignment,
      .count = type->count,
      .fingerprint = type->fingerprint,
      .pid_namespace = cipc_participant_namespace(),
      .payload_size = segment->length - segment->offset,
  };
  memcpy(segment->mapping, &header, sizeof header);
}

int cipc_segment_create(cipc_segment_t **segment, size_t size,
                        const cipc_segment_options_t *options) {
  static const cipc_segment_options_t defaults;
  if (options == NULL) options = &defaults;
  if (size == 0 || (options->type != NULL && !elements_fit(options->type, size))) {
    return CIPC_EINVAL;
  }
  if (size > (size_t)PTRDIFF_MAX - CIPC_SEGMENT_HEADER_SIZE) return CIPC_EOVERFLOW;
  cipc_segment_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;
  made->named = options->named != 0;
  if (options->type != NULL) {
    made->type = *options->type;
    made->offset = CIPC_SEGMENT_HEADER_SIZE;
  }
  made->length = made->offset + size;
  int status = made->descriptor = make_descriptor(options);
  if (status >= 0) status = allocate(made->descriptor, made->length, made->named);
  if (status >= 0) status = map(made);
  if (status < 0) {
    cipc_segment_close(made);
    return status;
  }
  if (options->type != NULL) write_header(made);
  *segment = made;
  return 0;
}

int cipc_segment_publish(cipc_segment_t *segment, const char *name) {
  char path[sizeof DIRECTORY + 1 + NAME_MAXIMUM];
  if (segment->named != (name != NULL)) return CIPC_EINVAL;
  int status = segment->named ? path_of(name, path, sizeof path) : 0;
  if (status < 0) return status;
  status = cipc_fault_at(CIPC_FAULT_SEGMENT_READY);
  if (status < 0) return status;
  if (segment->offset != 0) {
    cipc_layout_header_t *header = (cipc_layout_header_t *)(void *)segment->mapping;
    // Commit point of an anonymous segment.
    __atomic_store_n(&header->ready, CIPC_LAYOUT_READY, __ATOMIC_RELEASE);
  }
  if (!segment->named) return 0;
  status = cipc_fault_at(CIPC_FAULT_SEGMENT_LINK);
  if (status < 0) return status;
  char self[32];
  (void)snprintf(self, sizeof self, "/proc/self/fd/%d", segment->descriptor);
  // Commit point of a named segment. (AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH.)
  return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

// Compares the private copy of a header with what is wanted; the first field that differs decides.
static int check_header(const cipc_layout_header_t *header, uint64_t payload,
                        const cipc_segment_type_t *wanted) {
  const cipc_segment_type_t found = {.stride = header->stride, .count = header->count};
  if (header->magic != CIPC_LAYOUT_MAGIC) return CIPC_ESEGMENTMAGIC;
  if (header->layout != CIPC_LAYOUT_VERSION) return CIPC_ESEGMENTVERSION;
  if (header->ready != CIPC_LAYOUT_READY) return CIPC_ESEGMENTREADY;
  if (header->kind != wanted->kind) return CIPC_ESEGMENTKIND;
  if (header->kind_version != wanted->version) return CIPC_ESEGMENTVERSION;
  if (header->mutex_size != sizeof(cipc_mutex_t) ||
      header->mutex_alignment != _Alignof(cipc_mutex_t) || header->libc != this_libc()) {
    return CIPC_ESEGMENTMUTEX;
  }
  if (header->pid_namespace != cipc_participant_namespace()) return CIPC_ESEGMENTNAMESPACE;
  if (header->element_size != wanted->element_size) return CIPC_ESEGMENTELEMENT;
  if (header->stride != wanted->stride) return CIPC_ESEGMENTSTRIDE;
  if (header->alignment != wanted->alignment) return CIPC_ESEGMENTALIGNMENT;
  if (header->fingerprint != wanted->fingerprint) return CIPC_ESEGMENTTYPE;
  if (header->payload_size != payload) return CIPC_ESEGMENTSIZE;
  if (wanted->count != CIPC_SEGMENT_ANY_COUNT && header->count != wanted->count) {
    return CIPC_ESEGMENTCOUNT;
  }
  return elements_fit(&found, payload) ? 0 : CIPC_ESEGMENTCOUNT;
}

// The size is the file's, which the seals (or the owner of the name) keep as it is.
static int check(cipc_segment_t *segment, const cipc_segment_type_t *wanted) {
  struct stat status;
  if (fstat(segment->descriptor, &status) < 0) return -errno;
  if (segment->named && status.st_uid != geteuid() && status.st_uid != 0) {
    return CIPC_ESEGMENTOWNER;
  }
  segment->offset = wanted != NULL ? CIPC_SEGMENT_HEADER_SIZE : 0;
  if (status.st_size <= (off_t)segment->offset) return CIPC_ESEGMENTSIZE;
  segment->length = (size_t)status.st_size;
  if (wanted == NULL) return 0;
  cipc_layout_header_t header;
  ssize_t count = pread(segment->descriptor, &header, sizeof header, 0);
  if (count < 0) return -errno;
  if (count != (ssize_t)sizeof header) return CIPC_ESEGMENTSIZE;
  int result = check_header(&header, segment->length - segment->offset, wanted);
  if (result < 0) return result;
  segment->type = *wanted;
  segment->type.count = header.count;
  return 0;
}

static int check_seals(int descriptor) {
  int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals < 0) return errno == EBADF ? CIPC_EBADF : CIPC_ESEGMENTSEALS;
  return (seals & SEALS) == SEALS ? 0 : CIPC_ESEGMENTSEALS;
}

static int attach(cipc_segment_t **segment, int descriptor, bool named,
                  const cipc_segment_type_t *wanted) {
  cipc_segment_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;
  made->descriptor = descriptor;
  made->named = named;
  int status = check(made, wanted);
  if (status == 0) status = map(made);
  if (status < 0) {
    free(made);
    return status;
  }
  *segment = made;
  return 0;
}

int cipc_segment_open(cipc_segment_t **segment, int descriptor,
                      const cipc_segment_options_t *options) {
  int status = check_seals(descriptor);
  if (status < 0) return status;
  return attach(segment, descriptor, false, options != NULL ? options->type : NULL);
}

int cipc_segment_open_named(cipc_segment_t **segment, const char *name,
                            const cipc_segment_options_t *options) {
  char path[sizeof DIRECTORY + 1 + NAME_MAXIMUM];
  int status = path_of(name, path, sizeof path);
  if (status < 0) return status;
  // O_NOFOLLOW: /dev/shm is open to everyone, and so is what a link there points to.
  int descriptor = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor < 0) return -errno;
  status = attach(segment, descriptor, true, options != NULL ? options->type : NULL);
  if (status < 0) (void)close(descriptor);
  return status;
}

int cipc_segment_unlink(const char *name) {
  char path[sizeof DIRECTORY + 1 + NAME_MAXIMUM];
  int status = path_of(name, path, sizeof path);
  if (status < 0) return status;
  return unlink(path) < 0 ? -errno : 0;
}

void *cipc_segment_address(const cipc_segment_t *segment) {
  return segment->mapping + segment->offset;
}

size_t cipc_segment_size(const cipc_segment_t *segment) {
  return segment->length - segment->offset;
}

int cipc_segment_descriptor(const cipc_segment_t *segment) { return segment->descriptor; }

cipc_segment_type_t cipc_segment_type(const cipc_segment_t *segment) { return segment->type; }

void cipc_segment_close(cipc_segment_t *segment) {
  if (segment == NULL) return;
  if (segment->mapping != NULL) (void)munmap(segment->mapping, segment->length);
  if (segment->descriptor >= 0) (void)close(segment->descriptor);
  free(segment);
}
