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

#include "base/fault.h"
#include "cipc/element.h"
#include "segment/layout.h"
#include "segment/memory.h"
#include "segment/mismatch.h"
#include "segment/pages.h"
#include "segment/segment.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define DIRECTORY "/dev/shm"
// Bytes of a name behind its slash.
#define NAME_MAXIMUM 250
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#define HUGE_FLAGS (CIPC_SEGMENT_HUGE | CIPC_SEGMENT_HUGE_IF_AVAILABLE)
#define READING_FLAGS (CIPC_SEGMENT_READ_ONLY | CIPC_SEGMENT_ANY_ACCESS)
#define DEFAULT_MODE 0600u
#define WIDEST_MODE 0644u

struct cipc_segment {
  unsigned char *mapping;
  size_t length;
  // Bytes before the payload: the header, or none; and bytes of payload.
  size_t offset;
  size_t size;
  // How much of the payload had memory when it was made.
  size_t backed;
  int descriptor;
  bool named;
  bool writable;
  cipc_segment_type_t type;
  // Of a typed one that is open: `head` is NULL otherwise.
  cipc_participants_t table;
  bool has_left;
  // Empty unless this process gave the name.
  cipc_segment_claim_t claim;
};

static const cipc_segment_options_t defaults;

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

// Bytes of a typed segment beyond its payload, and where its table begins: at a multiple of 64.
// What is left over by that lies behind the table, so that the length tells the payload's.
#define TYPED_OVERHEAD \
  (CIPC_SEGMENT_HEADER_SIZE + 64 + CIPC_PARTICIPANTS_ENTRIES * sizeof(uint64_t))
static size_t table_offset(size_t size) {
  return (CIPC_SEGMENT_HEADER_SIZE + size + 63) & ~(size_t)63;
}

// The path of a name below /dev/shm, which may have a slash before it. The kernel would take more;
// what is kept is what shm_open(3) and Python take.
static int path_of(const char *name, char *path, size_t room) {
  if (name == NULL) return CIPC_EINVAL;
  if (name[0] == '/') name++;
  if (name[0] == '\0' || strchr(name, '/') != NULL || strlen(name) > NAME_MAXIMUM ||
      strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
    return CIPC_EINVAL;
  }
  (void)snprintf(path, room, DIRECTORY "/%s", name);
  return 0;
}

static int open_unnamed(unsigned mode) {
  int descriptor = open(DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (descriptor < 0) return -errno;
  // Not through open(2), where the umask takes from it.
  if (mode != DEFAULT_MODE && fchmod(descriptor, (mode_t)mode) < 0) {
    int status = -errno;
    (void)close(descriptor);
    return status;
  }
  return descriptor;
}

static int make_descriptor(const cipc_segment_options_t *options, unsigned memfd_flags) {
  int injected = cipc_fault_at(CIPC_FAULT_SEGMENT_MEMFD);
  if (injected < 0) return injected;
  if (options->named) return open_unnamed(options->mode != 0 ? options->mode : DEFAULT_MODE);
  const char *label = options->label != NULL ? options->label : "cipc";
  memfd_flags |= MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int descriptor = memfd_create(label, memfd_flags | MFD_NOEXEC_SEAL);
  // Kernels before 6.3 do not know MFD_NOEXEC_SEAL.
  if (descriptor < 0 && errno == EINVAL) descriptor = memfd_create(label, memfd_flags);
  return descriptor < 0 ? -errno : descriptor;
}

// Gives the file memory for all of its size, so that no later access lacks it.
static int reserve(int descriptor, size_t length) {
  int status = 0;
  while (status == 0 && fallocate(descriptor, 0, 0, (off_t)length) < 0) {
    if (errno != EINTR) status = -errno;
  }
  return status;
}

static int seal(int descriptor, bool one_writer) {
  int seals = SEALS | F_SEAL_SEAL | (one_writer ? F_SEAL_FUTURE_WRITE : 0);
  int status = at(CIPC_FAULT_SEGMENT_SEAL, fcntl(descriptor, F_ADD_SEALS, seals) < 0 ? -errno : 0);
  return status == CIPC_EINVAL && one_writer ? CIPC_EOPNOTSUPP : status;
}

static int map(cipc_segment_t *segment, bool writable) {
  int status = cipc_fault_at(CIPC_FAULT_SEGMENT_MAP);
  if (status < 0) return status;
  int protection = PROT_READ | (writable ? PROT_WRITE : 0);
  void *mapping = mmap(NULL, segment->length, protection, MAP_SHARED, segment->descriptor, 0);
  if (mapping == MAP_FAILED) return -errno;
  segment->mapping = mapping;
  segment->writable = writable;
  return 0;
}

// The file's size and memory, and the mapping.
static int allocate(cipc_segment_t *segment, unsigned flags) {
  int descriptor = segment->descriptor;
  size_t length = segment->length;
  int status =
      at(CIPC_FAULT_SEGMENT_TRUNCATE, ftruncate(descriptor, (off_t)length) < 0 ? -errno : 0);
  if (status < 0) return status;
  size_t backed = segment->offset + segment->backed;
  // The table's entries beyond that are given memory when somebody enters there.
  status = at(CIPC_FAULT_SEGMENT_ALLOCATE, cipc_memory_check(backed));
  if (status < 0) return status;
  if ((flags & HUGE_FLAGS) != 0) {
    // Transparent huge pages are given by faults in an advised mapping, not by fallocate(2).
    status = map(segment, true);
    if (status < 0) return status;
    cipc_pages_advise_huge(segment->mapping, length);
    cipc_pages_populate(segment->mapping, length, true);
    return reserve(descriptor, length);
  }
  status = reserve(descriptor, backed);
  return status < 0 ? status : map(segment, true);
}

// As `allocate`, from the pool of huge pages.
static int allocate_huge(cipc_segment_t *segment) {
  int status = at(CIPC_FAULT_SEGMENT_HUGE, 0);
  if (status == 0) status = cipc_pages_round(segment->descriptor, &segment->length);
  if (status == 0 && ftruncate(segment->descriptor, (off_t)segment->length) < 0) status = -errno;
  if (status == 0) status = reserve(segment->descriptor, segment->length);
  if (status == 0) status = map(segment, true);
  // What these pages lack is not memory.
  return status == CIPC_ENOSPC || status == CIPC_ENOMEM ? CIPC_EHUGEPAGES : status;
}

// Gives back what a segment has of the system.
static void release(cipc_segment_t *segment) {
  if (segment->mapping != NULL) (void)munmap(segment->mapping, segment->length);
  if (segment->descriptor >= 0) (void)close(segment->descriptor);
  segment->mapping = NULL;
  segment->descriptor = -1;
}

static int build(cipc_segment_t *segment, size_t size, const cipc_segment_options_t *options,
                 bool huge) {
  segment->size = size;
  segment->backed = options->backed != 0 ? options->backed : size;
  segment->length = options->type != NULL ? TYPED_OVERHEAD + size : size;
  int status = segment->descriptor = make_descriptor(options, huge ? MFD_HUGETLB : 0);
  if (status < 0) return status;
  status = huge ? allocate_huge(segment) : allocate(segment, options->flags);
  if (status < 0 || options->named) return status;
  return seal(segment->descriptor, (options->flags & CIPC_SEGMENT_ONE_WRITER) != 0);
}

static void write_header(cipc_segment_t *segment) {
  const cipc_segment_type_t *type = &segment->type;
  cipc_layout_header_t header = {
      .magic = CIPC_LAYOUT_MAGIC,
      .layout = CIPC_LAYOUT_VERSION,
      .kind = type->kind,
      .kind_version = type->version,
      .mutex_size = CIPC_LAYOUT_MUTEX_SIZE,
      .mutex_alignment = CIPC_LAYOUT_MUTEX_ALIGNMENT,
      .libc = this_libc(),
      .element_size = type->element_size,
      .stride = type->stride,
      .alignment = type->alignment,
      .count = type->count,
      .fingerprint = type->fingerprint,
      .pid_namespace = cipc_participant_namespace(),
      .payload_size = segment->size,
      .backed = segment->backed,
  };
  memcpy(segment->mapping, &header, sizeof header);
}

// Enters this process in the table of a typed segment that is mapped.
static void join(cipc_segment_t *segment) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  cipc_layout_header_t *header = (cipc_layout_header_t *)(void *)segment->mapping;
  segment->table = (cipc_participants_t){
      .head = &header->table,
      .entries = (uint64_t *)(void *)(segment->mapping + table_offset(segment->size)),
      .mapping = segment->mapping,
      .length = segment->length,
      .descriptor = segment->descriptor,
      .reserved = (segment->offset + segment->backed + page - 1) / page * page,
  };
  cipc_participants_join(&segment->table);
}

static int check_options(const cipc_segment_options_t *options) {
  unsigned flags = options->flags;
  if (options->type != NULL && (flags & ~(unsigned)CIPC_SEGMENT_PREFAULT) != 0) return CIPC_EINVAL;
  if (options->type != NULL && options->type->fingerprint == CIPC_FINGERPRINT_ANY) {
    return CIPC_EINVAL;
  }
  if ((flags & READING_FLAGS) != 0) return CIPC_EINVAL;
  if (!options->named) return options->mode == 0 ? 0 : CIPC_EINVAL;
  if ((flags & CIPC_SEGMENT_ONE_WRITER) != 0) return CIPC_EINVAL;
  if ((options->mode & ~WIDEST_MODE) != 0) return CIPC_EINVAL;
  return (flags & CIPC_SEGMENT_HUGE) != 0 ? CIPC_EOPNOTSUPP : 0;
}

int cipc_segment_create(cipc_segment_t **segment, size_t size,
                        const cipc_segment_options_t *options) {
  if (options == NULL) options = &defaults;
  int status = check_options(options);
  if (status < 0) return status;
  if (size == 0 || (options->type != NULL && !elements_fit(options->type, size))) {
    return CIPC_EINVAL;
  }
  if (options->backed > size || (options->backed != 0 && options->type == NULL)) return CIPC_EINVAL;
  if (size > (size_t)PTRDIFF_MAX - CIPC_SEGMENT_HEADER_SIZE ||
      (options->type != NULL && size > (size_t)PTRDIFF_MAX - TYPED_OVERHEAD)) {
    return CIPC_EOVERFLOW;
  }
  cipc_segment_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;
  made->named = options->named != 0;
  if (options->type != NULL) {
    made->type = *options->type;
    made->offset = CIPC_SEGMENT_HEADER_SIZE;
  }
  status = build(made, size, options, !options->named && (options->flags & HUGE_FLAGS) != 0);
  if (status < 0 && !options->named && (options->flags & CIPC_SEGMENT_HUGE_IF_AVAILABLE) != 0) {
    release(made);
    status = build(made, size, options, false);
  }
  if (status < 0) {
    cipc_segment_close(made);
    return status;
  }
  if ((options->flags & CIPC_SEGMENT_PREFAULT) != 0) {
    cipc_pages_populate(made->mapping, made->offset + made->size, true);
  }
  if (options->type != NULL) {
    write_header(made);
    join(made);
  }
  *segment = made;
  return 0;
}

static int make_claim(const cipc_segment_t *segment, const char *path,
                      cipc_segment_claim_t *claim) {
  struct stat status;
  if (fstat(segment->descriptor, &status) < 0) return -errno;
  *claim = (cipc_segment_claim_t){.device = (uint64_t)status.st_dev,
                                  .inode = (uint64_t)status.st_ino,
                                  .creator = cipc_participant_current()};
  (void)snprintf(claim->name, sizeof claim->name, "%s", path + sizeof DIRECTORY - 1);
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
  cipc_segment_claim_t claim;
  status = make_claim(segment, path, &claim);
  if (status < 0) return status;
  // Commit point of a named segment. (AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH.)
  if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0) return -errno;
  segment->claim = claim;
  return 0;
}

static int compare_mutexes(const cipc_layout_header_t *header) {
  if (header->mutex_size == CIPC_LAYOUT_MUTEX_SIZE &&
      header->mutex_alignment == CIPC_LAYOUT_MUTEX_ALIGNMENT && header->libc == this_libc()) {
    return 0;
  }
  static const char *const libc[] = {"an unknown libc", "glibc", "musl"};
  char found[64], wanted[64];
  (void)snprintf(found, sizeof found, "%u bytes aligned to %u of %s", header->mutex_size,
                 header->mutex_alignment, libc[header->libc < 3 ? header->libc : 0]);
  (void)snprintf(wanted, sizeof wanted, "%zu aligned to %zu of %s", CIPC_LAYOUT_MUTEX_SIZE,
                 CIPC_LAYOUT_MUTEX_ALIGNMENT, libc[this_libc()]);
  return cipc_mismatch(CIPC_ESEGMENTMUTEX, found, wanted);
}

// Compares the private copy of a header with what is wanted; the first field that differs decides.
static int check_header(const cipc_layout_header_t *header, size_t length,
                        const cipc_segment_type_t *found, const cipc_segment_type_t *wanted) {
  if (header->magic != CIPC_LAYOUT_MAGIC) {
    return cipc_mismatch_words(CIPC_ESEGMENTMAGIC, header->magic, CIPC_LAYOUT_MAGIC);
  }
  if (header->layout != CIPC_LAYOUT_VERSION) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTVERSION, header->layout, CIPC_LAYOUT_VERSION);
  }
  if (header->ready != CIPC_LAYOUT_READY) {
    return cipc_mismatch_words(CIPC_ESEGMENTREADY, header->ready, CIPC_LAYOUT_READY);
  }
  int status = cipc_mismatch_kind(found, wanted);
  if (status == 0) status = compare_mutexes(header);
  if (status < 0) return status;
  uint64_t here = cipc_participant_namespace();
  if (header->pid_namespace != here) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTNAMESPACE, header->pid_namespace, here);
  }
  status = cipc_mismatch_element(found, wanted);
  if (status < 0) return status;
  if (header->payload_size == 0 || header->payload_size > (size_t)PTRDIFF_MAX - TYPED_OVERHEAD ||
      TYPED_OVERHEAD + header->payload_size != length) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTSIZE, length,
                                 header->payload_size + (uint64_t)TYPED_OVERHEAD);
  }
  if (wanted->count != CIPC_SEGMENT_ANY_COUNT && header->count != wanted->count) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTCOUNT, header->count, wanted->count);
  }
  if (elements_fit(found, header->payload_size)) return 0;
  return cipc_mismatch_numbers(CIPC_ESEGMENTCOUNT, header->count,
                               header->payload_size / header->stride);
}

static cipc_segment_type_t type_in(const cipc_layout_header_t *header) {
  return (cipc_segment_type_t){.kind = header->kind,
                               .version = header->kind_version,
                               .element_size = header->element_size,
                               .stride = header->stride,
                               .alignment = header->alignment,
                               .count = header->count,
                               .fingerprint = header->fingerprint};
}

// The size is the file's, which the seals (or the owner of the name) keep as it is.
static int check(cipc_segment_t *segment, const cipc_segment_type_t *wanted) {
  struct stat status;
  if (fstat(segment->descriptor, &status) < 0) return -errno;
  if (segment->named && status.st_uid != geteuid() && status.st_uid != 0) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTOWNER, status.st_uid, geteuid());
  }
  segment->offset = wanted != NULL ? CIPC_SEGMENT_HEADER_SIZE : 0;
  if (!S_ISREG(status.st_mode)) return CIPC_ESEGMENTSIZE;
  if (status.st_size <= (off_t)segment->offset) {
    char least[32];
    (void)snprintf(least, sizeof least, "at least %zu", segment->offset + 1);
    char found[32];
    (void)snprintf(found, sizeof found, "%lld", (long long)status.st_size);
    return cipc_mismatch(CIPC_ESEGMENTSIZE, found, least);
  }
  segment->size = segment->length = (size_t)status.st_size;
  if (wanted == NULL) return 0;
  cipc_layout_header_t header;
  ssize_t count = pread(segment->descriptor, &header, sizeof header, 0);
  if (count < 0) return -errno;
  if (count != (ssize_t)sizeof header) return CIPC_ESEGMENTSIZE;
  cipc_segment_type_t type = type_in(&header);
  int result = check_header(&header, segment->length, &type, wanted);
  if (result < 0) return result;
  segment->size = (size_t)header.payload_size;
  segment->backed = header.backed < segment->size ? (size_t)header.backed : segment->size;
  segment->type = type;
  return 0;
}

// Anonymous memory must be sealed. Memory with a name cannot be; it is known by where it lies, and
// must be such that its owner alone, whom `check` looks at, can have opened it for writing.
static int check_origin(int descriptor, bool *named) {
  int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals < 0) return errno == EBADF ? CIPC_EBADF : CIPC_ESEGMENTSEALS;
  *named = false;
  if ((seals & SEALS) == SEALS) return 0;
  struct stat file, directory;
  if (fstat(descriptor, &file) < 0) return -errno;
  if (stat(DIRECTORY, &directory) < 0 || file.st_dev != directory.st_dev ||
      (file.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return cipc_mismatch_words(CIPC_ESEGMENTSEALS, (unsigned)seals, SEALS);
  }
  *named = true;
  return 0;
}

// What another program named may have a size and no memory behind it.
static int reserve_rest(const cipc_segment_t *segment) {
  struct stat file;
  if (fstat(segment->descriptor, &file) < 0) return -errno;
  size_t there = (size_t)file.st_blocks * 512;
  if (there >= segment->length) return 0;
  int status = cipc_memory_check(segment->length - there);
  return status < 0 ? status : reserve(segment->descriptor, segment->length);
}

// Maps what was checked, for writing where that is wanted and permitted.
static int map_as(cipc_segment_t *segment, unsigned flags) {
  int status = CIPC_EPERM;
  if ((flags & CIPC_SEGMENT_READ_ONLY) == 0) status = map(segment, true);
  // EPERM: sealed against writing. EACCES: opened for reading.
  if ((status == CIPC_EPERM || status == -EACCES) && (flags & READING_FLAGS) != 0) {
    status = map(segment, false);
  }
  if (status < 0) return status;
  if (segment->named && segment->offset == 0 && segment->writable) {
    status = reserve_rest(segment);
    if (status < 0) return status;
  }
  if ((flags & HUGE_FLAGS) != 0) cipc_pages_advise_huge(segment->mapping, segment->length);
  if ((flags & CIPC_SEGMENT_PREFAULT) != 0) {
    cipc_pages_populate(segment->mapping, segment->offset + segment->size, segment->writable);
  }
  return 0;
}

static int attach(cipc_segment_t **segment, int descriptor, bool named,
                  const cipc_segment_options_t *options) {
  if (options->type != NULL && (options->flags & READING_FLAGS) != 0) return CIPC_EINVAL;
  cipc_segment_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;
  made->descriptor = descriptor;
  made->named = named;
  int status = check(made, options->type);
  if (status == 0) status = map_as(made, options->flags);
  if (status < 0) {
    // The descriptor stays the caller's.
    made->descriptor = -1;
    cipc_segment_close(made);
    return status;
  }
  if (options->type != NULL) join(made);
  *segment = made;
  return 0;
}

int cipc_segment_open(cipc_segment_t **segment, int descriptor,
                      const cipc_segment_options_t *options) {
  cipc_mismatch_clear();
  bool named = false;
  int status = check_origin(descriptor, &named);
  if (status < 0) return status;
  return attach(segment, descriptor, named, options != NULL ? options : &defaults);
}

// O_NOFOLLOW: /dev/shm is open to everyone, and so is what a link there points to. O_NONBLOCK: so
// are FIFOs.
static int open_path(const char *path, unsigned flags) {
  int how = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  int descriptor = -1;
  if ((flags & CIPC_SEGMENT_READ_ONLY) == 0) {
    descriptor = open(path, how | O_RDWR);
    if (descriptor >= 0 || errno != EACCES || (flags & CIPC_SEGMENT_ANY_ACCESS) == 0) {
      return descriptor < 0 ? -errno : descriptor;
    }
  }
  descriptor = open(path, how | O_RDONLY);
  return descriptor < 0 ? -errno : descriptor;
}

int cipc_segment_open_named(cipc_segment_t **segment, const char *name,
                            const cipc_segment_options_t *options) {
  cipc_mismatch_clear();
  char path[sizeof DIRECTORY + 1 + NAME_MAXIMUM];
  int status = path_of(name, path, sizeof path);
  if (status < 0) return status;
  if (options == NULL) options = &defaults;
  int descriptor = open_path(path, options->flags);
  if (descriptor < 0) return descriptor;
  status = attach(segment, descriptor, true, options);
  if (status < 0) (void)close(descriptor);
  return status;
}

// The half of `cipc_segment_open_or_create` that opens.
static int open_existing(cipc_segment_t **segment, const char *name, size_t size,
                         const cipc_segment_options_t *options) {
  cipc_segment_t *found = NULL;
  int status = cipc_segment_open_named(&found, name, options);
  if (status < 0) return status;
  size_t there = cipc_segment_size(found);
  if (there < size) {
    cipc_segment_close(found);
    return cipc_mismatch_numbers(CIPC_ESEGMENTSIZE, there, size);
  }
  *segment = found;
  return 0;
}

int cipc_segment_open_or_create(cipc_segment_t **segment, const char *name, size_t size,
                                const cipc_segment_options_t *options,
                                cipc_segment_prepare_t prepare, void *context) {
  cipc_segment_options_t with_name = options != NULL ? *options : defaults;
  with_name.named = 1;
  int status = check_options(&with_name);
  if (status < 0) return status;
  cipc_segment_t *draft = NULL;
  // Another round is needed only when others have made the name and taken it away again meanwhile.
  for (;;) {
    status = open_existing(segment, name, size, &with_name);
    if (status != CIPC_ENOENT) break;
    if (draft == NULL) {
      status = cipc_segment_create(&draft, size, &with_name);
      if (status == 0 && prepare != NULL) status = prepare(cipc_segment_address(draft), context);
      if (status < 0) break;
    }
    status = cipc_segment_publish(draft, name);
    if (status == 0) {
      *segment = draft;
      return CIPC_SEGMENT_CREATED;
    }
    if (status != CIPC_EEXIST) break;
  }
  cipc_segment_close(draft);
  return status;
}

int cipc_segment_unlink(const char *name) {
  char path[sizeof DIRECTORY + 1 + NAME_MAXIMUM];
  int status = path_of(name, path, sizeof path);
  if (status < 0) return status;
  return unlink(path) < 0 ? -errno : 0;
}

cipc_segment_claim_t cipc_segment_claim(const cipc_segment_t *segment) { return segment->claim; }

int cipc_segment_withdraw(const cipc_segment_claim_t *claim) {
  if (claim->creator == CIPC_PARTICIPANT_NOBODY || claim->creator != cipc_participant_current()) {
    return CIPC_EPERM;
  }
  char path[sizeof DIRECTORY + 1 + NAME_MAXIMUM];
  int status = path_of(claim->name, path, sizeof path);
  if (status < 0) return status;
  // Somebody may have removed the name, and somebody else given it to other memory. (No system call
  // compares and removes: that this happens between the two below is left to chance.)
  struct stat found;
  if (lstat(path, &found) < 0) return -errno;
  if ((uint64_t)found.st_dev != claim->device || (uint64_t)found.st_ino != claim->inode) {
    return CIPC_ENOENT;
  }
  return unlink(path) < 0 ? -errno : 0;
}

void *cipc_segment_address(const cipc_segment_t *segment) {
  return segment->mapping + segment->offset;
}

size_t cipc_segment_size(const cipc_segment_t *segment) {
  return segment->offset != 0 ? segment->size : segment->length;
}

int cipc_segment_is_writable(const cipc_segment_t *segment) { return segment->writable ? 1 : 0; }

int cipc_segment_descriptor(const cipc_segment_t *segment) { return segment->descriptor; }

cipc_segment_type_t cipc_segment_type(const cipc_segment_t *segment) { return segment->type; }

uint64_t cipc_segment_count(const cipc_segment_t *segment) { return segment->type.count; }

void cipc_segment_leave(cipc_segment_t *segment) {
  if (segment->table.head == NULL || segment->has_left) return;
  segment->has_left = true;
  cipc_participants_leave(&segment->table);
}

void cipc_segment_close(cipc_segment_t *segment) {
  if (segment == NULL) return;
  cipc_segment_leave(segment);
  release(segment);
  free(segment);
}

// MARK: Parts of the payload

int cipc_segment_back(const cipc_segment_t *segment, size_t offset, size_t length) {
  int status = cipc_memory_check(length);
  off_t start = (off_t)(segment->offset + offset);
  while (status == 0 &&
         fallocate(segment->descriptor, FALLOC_FL_KEEP_SIZE, start, (off_t)length) < 0) {
    if (errno != EINTR) status = -errno;
  }
  return status;
}

int cipc_segment_drop(const cipc_segment_t *segment, size_t offset, size_t length) {
  off_t start = (off_t)(segment->offset + offset);
  int how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  int status = 0;
  while (status == 0 && fallocate(segment->descriptor, how, start, (off_t)length) < 0) {
    if (errno != EINTR) status = -errno;
  }
  return status;
}

int cipc_segment_map_twice(const cipc_segment_t *segment, size_t offset, size_t length,
                           unsigned char **address) {
  unsigned char *place =
      mmap(NULL, 2 * length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return -errno;
  off_t start = (off_t)(segment->offset + offset);
  for (int i = 0; i < 2; i++) {
    if (mmap(place + (size_t)i * length, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             segment->descriptor, start) == MAP_FAILED) {
      int status = -errno;
      (void)munmap(place, 2 * length);
      return status;
    }
  }
  *address = place;
  return 0;
}

// MARK: Participants

int cipc_segment_others(cipc_segment_t *segment) {
  if (segment->table.head == NULL) return CIPC_EINVAL;
  cipc_participant_t self = cipc_participant_current();
  cipc_participants_t *table = &segment->table;
  cipc_participants_settle_lost(table);
  (void)cipc_participants_bury_dead(table);
  int others = 0;
  for (uint32_t i = 0; i < cipc_participants_high(table); i++) {
    uint64_t entry = cipc_participants_entry(table, i);
    if (entry != CIPC_PARTICIPANT_NOBODY && entry != self) others++;
  }
  return others;
}

int cipc_segment_holds(const cipc_segment_t *segment) {
  cipc_participant_t self = cipc_participant_current();
  const cipc_participants_t *table = &segment->table;
  int holds = 0;
  for (uint32_t i = 0; i < cipc_participants_high(table); i++) {
    if (cipc_participants_entry(table, i) == self) holds++;
  }
  return holds;
}

void cipc_segment_settle_lost(cipc_segment_t *segment) {
  cipc_participants_settle_lost(&segment->table);
}

int cipc_segment_offer(cipc_segment_t *segment, uint32_t *ticket) {
  if (segment->table.head == NULL) return CIPC_EINVAL;
  *ticket = cipc_participants_offer(&segment->table);
  return 0;
}

int cipc_segment_offer_to(cipc_segment_t *segment, uint32_t ticket, cipc_participant_t to) {
  if (segment->table.head == NULL) return CIPC_EINVAL;
  cipc_participants_hand_on(&segment->table, ticket, to);
  return 0;
}

int cipc_segment_offer_until(cipc_segment_t *segment, uint32_t ticket, int descriptor) {
  if (segment->table.head == NULL) return CIPC_EINVAL;
  if (segment->has_left) return CIPC_ECLOSED;
  return cipc_participants_watch_offer(&segment->table, ticket, descriptor);
}

int cipc_segment_settle(cipc_segment_t *segment, uint32_t ticket) {
  if (segment->table.head == NULL) return CIPC_EINVAL;
  cipc_participants_settle(&segment->table, ticket);
  return 0;
}

int cipc_segment_inspect(int descriptor, cipc_segment_info_t *info) {
  struct stat status;
  cipc_layout_header_t header;
  if (fstat(descriptor, &status) < 0) return -errno;
  ssize_t count = pread(descriptor, &header, sizeof header, 0);
  if (count < 0) return -errno;
  if (count != (ssize_t)sizeof header) return CIPC_ESEGMENTSIZE;
  if (header.magic != CIPC_LAYOUT_MAGIC) return CIPC_ESEGMENTMAGIC;
  if (header.layout != CIPC_LAYOUT_VERSION) return CIPC_ESEGMENTVERSION;
  if (header.payload_size == 0 || header.payload_size > (size_t)PTRDIFF_MAX - TYPED_OVERHEAD ||
      TYPED_OVERHEAD + header.payload_size != (uint64_t)status.st_size) {
    return CIPC_ESEGMENTSIZE;
  }
  *info = (cipc_segment_info_t){
      .type = type_in(&header),
      .size = (size_t)header.payload_size,
      .pid_namespace = header.pid_namespace,
      .is_ready = header.ready == CIPC_LAYOUT_READY,
      .table_epoch = header.table.epoch,
      .table_high = header.table.high < CIPC_PARTICIPANTS_ENTRIES ? header.table.high
                                                                  : CIPC_PARTICIPANTS_ENTRIES,
  };
  return 0;
}

static cipc_segment_presence_t presence_of(uint64_t entry) {
  int status = cipc_participant_check(entry & ~CIPC_PARTICIPANTS_PENDING);
  if (status == CIPC_PARTICIPANT_DEAD || status == CIPC_EINVAL) return CIPC_SEGMENT_DEAD;
  if (status < 0) return CIPC_SEGMENT_UNKNOWN;
  return (entry & CIPC_PARTICIPANTS_PENDING) != 0 ? CIPC_SEGMENT_PENDING : CIPC_SEGMENT_ATTACHED;
}

int cipc_segment_participants(int descriptor, cipc_segment_participant_t *list, size_t room) {
  cipc_segment_info_t info;
  int status = cipc_segment_inspect(descriptor, &info);
  if (status < 0) return status;
  if (info.pid_namespace != cipc_participant_namespace()) return CIPC_ESEGMENTNAMESPACE;
  int found = 0;
  for (uint32_t i = 0; i < info.table_high; i++) {
    uint64_t entry = 0;
    // Read and not mapped: looking takes no part and gives no memory to what has none.
    off_t offset = (off_t)(table_offset(info.size) + i * sizeof entry);
    if (pread(descriptor, &entry, sizeof entry, offset) != (ssize_t)sizeof entry) return -errno;
    if (entry == CIPC_PARTICIPANT_NOBODY) continue;
    if ((size_t)found++ >= room) continue;
    list[found - 1] = (cipc_segment_participant_t){.identity = entry & ~CIPC_PARTICIPANTS_PENDING,
                                                   .presence = presence_of(entry)};
  }
  return found;
}
