/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/segment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fault.h"
#include "child.h"
#include "segment/layout.h"

#define SECOND INT64_C(1000000000)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static const cipc_segment_type_t points = {.kind = CIPC_KIND_ARRAY,
                                           .version = 3,
                                           .element_size = 12,
                                           .stride = 16,
                                           .alignment = 4,
                                           .count = 10,
                                           .fingerprint = 0xfeedfacecafebeef};
#define POINTS_SIZE 160
// What a typed segment has beyond its payload: header, participant table, and room to align that.
#define OVERHEAD (CIPC_SEGMENT_HEADER_SIZE + 64 + 1024 * 8)
#define POINTS_LENGTH (POINTS_SIZE + OVERHEAD)

static const cipc_segment_options_t of_points = {.type = &points};
static const cipc_segment_options_t with_name = {.named = 1};
static const cipc_segment_options_t points_with_name = {.type = &points, .named = 1};

// A name of this process's own; tests that use it unlink it.
static const char *name_of_test(void) {
  static char name[64];
  (void)snprintf(name, sizeof name, "/cipc-segment-test-%d", (int)getpid());
  return name;
}

static int exists(const char *name) {
  char path[300];
  struct stat status;
  (void)snprintf(path, sizeof path, "/dev/shm%s", name);
  return lstat(path, &status) == 0;
}

static int mappings(void) {
  FILE *file = fopen("/proc/self/maps", "re");
  CHECK(file != NULL);
  char line[512];
  int count = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    if (strstr(line, "memfd:") != NULL || strstr(line, "/dev/shm") != NULL) count++;
  }
  (void)fclose(file);
  return count;
}

static cipc_segment_t *create(size_t size, const cipc_segment_options_t *options) {
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(cipc_segment_create(&segment, size, options), 0);
  CHECK(segment != NULL);
  return segment;
}

static cipc_segment_t *create_points(void) {
  cipc_segment_t *segment = create(POINTS_SIZE, &of_points);
  CHECK_EQUAL(cipc_segment_publish(segment, NULL), 0);
  return segment;
}

// The status of opening a descriptor, which is closed whatever came out.
static int status_of_opening(int descriptor, const cipc_segment_options_t *options) {
  int before = child_descriptors();
  cipc_segment_t *segment = NULL;
  int status = cipc_segment_open(&segment, descriptor, options);
  if (status < 0) {
    CHECK(segment == NULL);
    CHECK_EQUAL(child_descriptors(), before);
    if (status != CIPC_EBADF) CHECK(close(descriptor) == 0);
  } else {
    cipc_segment_close(segment);
    CHECK_EQUAL(child_descriptors(), before - 1);
  }
  return status;
}

// A memfd made by hand, as a hostile peer makes them.
static int hand_made(const void *bytes, size_t length, off_t size, int seals) {
  int descriptor = memfd_create("hand-made", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  CHECK(descriptor >= 0);
  CHECK(ftruncate(descriptor, size) == 0);
  CHECK(pwrite(descriptor, bytes, length, 0) == (ssize_t)length);
  CHECK(seals == 0 || fcntl(descriptor, F_ADD_SEALS, seals) == 0);
  return descriptor;
}

static cipc_layout_header_t good_header(void) {
  cipc_segment_t *segment = create_points();
  cipc_layout_header_t header;
  CHECK(pread(cipc_segment_descriptor(segment), &header, sizeof header, 0) == sizeof header);
  cipc_segment_close(segment);
  return header;
}

static int status_of_header(const cipc_layout_header_t *header,
                            const cipc_segment_options_t *options) {
  off_t size = POINTS_LENGTH;
  return status_of_opening(hand_made(header, sizeof *header, size, SEALS), options);
}

static void plain_memory_is_zero_and_of_the_size_asked_for(void) {
  const size_t lengths[] = {1, 63, 4096, 4097, 3 << 20};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    cipc_segment_t *segment = create(lengths[i], NULL);
    unsigned char *bytes = cipc_segment_address(segment);
    CHECK(cipc_segment_size(segment) == lengths[i]);
    CHECK((uintptr_t)bytes % 64 == 0);
    for (size_t at = 0; at < lengths[i]; at++) CHECK(bytes[at] == 0);
    CHECK_EQUAL(cipc_segment_type(segment).kind, 0);
    cipc_segment_close(segment);
  }
}

static void typed_memory_lies_behind_the_header(void) {
  cipc_segment_t *segment = create_points();
  CHECK(cipc_segment_size(segment) == POINTS_SIZE);
  CHECK((uintptr_t)cipc_segment_address(segment) % 64 == 0);
  cipc_segment_type_t type = cipc_segment_type(segment);
  CHECK(memcmp(&type, &points, sizeof type) == 0);
  struct stat status;
  CHECK(fstat(cipc_segment_descriptor(segment), &status) == 0);
  CHECK_EQUAL(status.st_size, POINTS_LENGTH);
  cipc_segment_close(segment);
}

static void anonymous_memory_cannot_be_resized(void) {
  cipc_segment_t *segment = create(4096, NULL);
  int descriptor = cipc_segment_descriptor(segment);
  CHECK(ftruncate(descriptor, 1) == -1 && errno == EPERM);
  CHECK(ftruncate(descriptor, 8192) == -1 && errno == EPERM);
  // Nor can a peer add a seal that takes the others' write access away.
  CHECK(fcntl(descriptor, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == -1 && errno == EPERM);
  cipc_segment_close(segment);
}

static void all_memory_is_there_from_the_start(void) {
  cipc_segment_t *segment = create(1 << 20, NULL);
  struct stat status;
  CHECK(fstat(cipc_segment_descriptor(segment), &status) == 0);
  CHECK(status.st_blocks * 512 >= 1 << 20);
  cipc_segment_close(segment);
}

static void descriptors_are_close_on_exec(void) {
  cipc_segment_t *anonymous = create(1, NULL);
  cipc_segment_t *named = create(1, &with_name);
  CHECK_EQUAL(cipc_segment_publish(named, name_of_test()), 0);
  cipc_segment_t *opened = NULL;
  CHECK_EQUAL(cipc_segment_open_named(&opened, name_of_test(), NULL), 0);
  CHECK_EQUAL(cipc_segment_unlink(name_of_test()), 0);
  cipc_segment_t *all[] = {anonymous, named, opened};
  for (size_t i = 0; i < 3; i++) {
    CHECK(fcntl(cipc_segment_descriptor(all[i]), F_GETFD) & FD_CLOEXEC);
    cipc_segment_close(all[i]);
  }
}

static void write_a_word(void *address) { *(uint64_t *)address = 42; }

static void what_one_process_writes_another_reads(void) {
  cipc_segment_t *segment = create(8, NULL);
  CHECK_EQUAL(child_join(child_start(write_a_word, cipc_segment_address(segment))), 0);
  cipc_segment_t *second = NULL;
  int descriptor = fcntl(cipc_segment_descriptor(segment), F_DUPFD_CLOEXEC, 0);
  CHECK_EQUAL(cipc_segment_open(&second, descriptor, NULL), 0);
  CHECK_EQUAL(cipc_segment_descriptor(second), descriptor);
  CHECK(cipc_segment_address(second) != cipc_segment_address(segment));
  CHECK(*(uint64_t *)cipc_segment_address(second) == 42);
  cipc_segment_close(segment);
  // The memory lives with its last user.
  CHECK(*(uint64_t *)cipc_segment_address(second) == 42);
  cipc_segment_close(second);
}

static void closing_gives_everything_back(void) {
  int descriptors = child_descriptors();
  int maps = mappings();
  for (int i = 0; i < 10; i++) {
    cipc_segment_close(create_points());
    cipc_segment_close(create(1, &with_name));
  }
  cipc_segment_close(NULL);
  CHECK_EQUAL(child_descriptors(), descriptors);
  CHECK_EQUAL(mappings(), maps);
}

static void sizes_that_make_no_sense_are_refused(void) {
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(cipc_segment_create(&segment, 0, NULL), CIPC_EINVAL);
  CHECK_EQUAL(cipc_segment_create(&segment, 0, &of_points), CIPC_EINVAL);
  CHECK_EQUAL(cipc_segment_create(&segment, POINTS_SIZE - 1, &of_points), CIPC_EINVAL);
  cipc_segment_type_t many = points;
  many.count = UINT64_MAX / 16 + 1;
  cipc_segment_options_t options = {.type = &many};
  CHECK_EQUAL(cipc_segment_create(&segment, POINTS_SIZE, &options), CIPC_EINVAL);
  CHECK(segment == NULL);
}

static void memory_that_is_not_there_is_an_error_at_once(void) {
  int descriptors = child_descriptors();
  const size_t beyond[] = {SIZE_MAX, SIZE_MAX / 2 + 1, (size_t)PTRDIFF_MAX};
  const size_t huge[] = {(size_t)PTRDIFF_MAX - CIPC_SEGMENT_HEADER_SIZE, (size_t)1 << 62,
                         (size_t)1 << 47, (size_t)1 << 44};
  cipc_deadline_t before = cipc_clock_now();
  cipc_segment_t *segment = NULL;
  for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
    CHECK_EQUAL(cipc_segment_create(&segment, beyond[i], NULL), CIPC_EOVERFLOW);
  }
  for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
    CHECK_EQUAL(cipc_segment_create(&segment, huge[i], NULL), CIPC_ENOMEM);
    int status = cipc_segment_create(&segment, huge[i], &with_name);
    CHECK(status == CIPC_ENOMEM || status == CIPC_ENOSPC);
  }
  CHECK(cipc_clock_now() - before < 5 * SECOND);
  CHECK(segment == NULL);
  CHECK_EQUAL(child_descriptors(), descriptors);
}

// One field after the other; opened as what it was made as.
static void a_header_with_a_wrong_field_names_the_field(void) {
#define FIELD(field, status) \
  { offsetof(cipc_layout_header_t, field), sizeof((cipc_layout_header_t *)NULL)->field, status }
  static const struct {
    size_t offset;
    size_t size;
    int status;
  } fields[] = {
      FIELD(magic, CIPC_ESEGMENTMAGIC),
      FIELD(layout, CIPC_ESEGMENTVERSION),
      FIELD(kind, CIPC_ESEGMENTKIND),
      FIELD(kind_version, CIPC_ESEGMENTVERSION),
      FIELD(mutex_size, CIPC_ESEGMENTMUTEX),
      FIELD(mutex_alignment, CIPC_ESEGMENTMUTEX),
      FIELD(libc, CIPC_ESEGMENTMUTEX),
      FIELD(element_size, CIPC_ESEGMENTELEMENT),
      FIELD(stride, CIPC_ESEGMENTSTRIDE),
      FIELD(alignment, CIPC_ESEGMENTALIGNMENT),
      FIELD(count, CIPC_ESEGMENTCOUNT),
      FIELD(fingerprint, CIPC_ESEGMENTTYPE),
      FIELD(pid_namespace, CIPC_ESEGMENTNAMESPACE),
      FIELD(payload_size, CIPC_ESEGMENTSIZE),
      FIELD(ready, CIPC_ESEGMENTREADY),
  };
#undef FIELD
  const cipc_layout_header_t good = good_header();
  CHECK_EQUAL(status_of_header(&good, &of_points), 0);
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    // Each bit of it: nothing compares a part of a field.
    for (size_t bit = 0; bit < fields[i].size * 8; bit++) {
      cipc_layout_header_t bad = good;
      unsigned char *bytes = (unsigned char *)&bad + fields[i].offset;
      bytes[bit / 8] = (unsigned char)(bytes[bit / 8] ^ (1u << (bit % 8)));
      CHECK_EQUAL(status_of_header(&bad, &of_points), fields[i].status);
    }
  }
}

static void a_type_with_a_wrong_field_names_the_field(void) {
  const cipc_layout_header_t good = good_header();
  cipc_segment_type_t wrong = points;
  const cipc_segment_options_t options = {.type = &wrong};
#define EXPECT(field, value, status) \
  wrong = points; \
  wrong.field = (value); \
  CHECK_EQUAL(status_of_header(&good, &options), status)
  EXPECT(kind, CIPC_KIND_VALUE, CIPC_ESEGMENTKIND);
  EXPECT(version, 4, CIPC_ESEGMENTVERSION);
  EXPECT(element_size, 8, CIPC_ESEGMENTELEMENT);
  EXPECT(stride, 12, CIPC_ESEGMENTSTRIDE);
  EXPECT(alignment, 8, CIPC_ESEGMENTALIGNMENT);
  EXPECT(count, 9, CIPC_ESEGMENTCOUNT);
  EXPECT(fingerprint, 0, CIPC_ESEGMENTTYPE);
  EXPECT(count, CIPC_SEGMENT_ANY_COUNT, 0);
#undef EXPECT
}

static void a_count_beyond_the_memory_is_refused(void) {
  cipc_segment_type_t any = points;
  any.count = CIPC_SEGMENT_ANY_COUNT;
  const cipc_segment_options_t options = {.type = &any};
  cipc_layout_header_t header = good_header();
  const uint64_t counts[] = {11, UINT64_MAX / 16, UINT64_MAX / 16 + 1, UINT64_MAX - 1, UINT64_MAX};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    header.count = counts[i];
    CHECK_EQUAL(status_of_header(&header, &options), CIPC_ESEGMENTCOUNT);
  }
  const uint64_t fitting[] = {0, 1, 10};
  for (size_t i = 0; i < sizeof fitting / sizeof fitting[0]; i++) {
    header.count = fitting[i];
    CHECK_EQUAL(status_of_header(&header, &options), 0);
  }
}

static void the_count_found_is_the_one_told(void) {
  cipc_segment_type_t any = points;
  any.count = CIPC_SEGMENT_ANY_COUNT;
  const cipc_segment_options_t options = {.type = &any};
  cipc_segment_t *segment = create_points();
  cipc_segment_t *opened = NULL;
  int descriptor = fcntl(cipc_segment_descriptor(segment), F_DUPFD_CLOEXEC, 0);
  CHECK_EQUAL(cipc_segment_open(&opened, descriptor, &options), 0);
  CHECK(cipc_segment_type(opened).count == 10);
  // What was checked stays, whatever a peer writes afterwards.
  cipc_layout_header_t *header =
      (cipc_layout_header_t *)(void *)((char *)cipc_segment_address(segment) -
                                       CIPC_SEGMENT_HEADER_SIZE);
  header->count = 1000;
  CHECK(cipc_segment_type(opened).count == 10);
  CHECK(cipc_segment_size(opened) == POINTS_SIZE);
  cipc_segment_close(opened);
  cipc_segment_close(segment);
}

static void a_segment_that_is_not_published_is_not_ready(void) {
  cipc_segment_t *segment = create(POINTS_SIZE, &of_points);
  int descriptor = fcntl(cipc_segment_descriptor(segment), F_DUPFD_CLOEXEC, 0);
  CHECK_EQUAL(status_of_opening(descriptor, &of_points), CIPC_ESEGMENTREADY);
  cipc_segment_close(segment);
}

static void plain_bytes_are_no_typed_segment(void) {
  cipc_segment_t *segment = create(4096, NULL);
  int descriptor = fcntl(cipc_segment_descriptor(segment), F_DUPFD_CLOEXEC, 0);
  CHECK_EQUAL(status_of_opening(descriptor, &of_points), CIPC_ESEGMENTMAGIC);
  cipc_segment_close(segment);
}

static void memory_that_may_shrink_or_grow_is_refused(void) {
  const cipc_layout_header_t header = good_header();
  const int seals[] = {0, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL};
  off_t size = POINTS_LENGTH;
  for (size_t i = 0; i < sizeof seals / sizeof seals[0]; i++) {
    int descriptor = hand_made(&header, sizeof header, size, seals[i]);
    CHECK_EQUAL(status_of_opening(descriptor, &of_points), CIPC_ESEGMENTSEALS);
    descriptor = hand_made(&header, sizeof header, size, seals[i]);
    CHECK_EQUAL(status_of_opening(descriptor, NULL), CIPC_ESEGMENTSEALS);
  }
}

static void memory_that_cannot_be_written_is_refused(void) {
  const cipc_layout_header_t header = good_header();
  off_t size = POINTS_LENGTH;
  int sealed = hand_made(&header, sizeof header, size, SEALS | F_SEAL_WRITE);
  CHECK_EQUAL(status_of_opening(sealed, &of_points), CIPC_EPERM);
  int writable = hand_made(&header, sizeof header, size, SEALS);
  char path[32];
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", writable);
  int readable = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(readable >= 0);
  CHECK(close(writable) == 0);
  CHECK_EQUAL(status_of_opening(readable, &of_points), -EACCES);
}

static void memory_that_is_too_short_is_refused(void) {
  const cipc_layout_header_t header = good_header();
  const off_t lengths[] = {0, 1, 64, 127, 128};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    int descriptor = hand_made(&header, (size_t)lengths[i], lengths[i], SEALS);
    CHECK_EQUAL(status_of_opening(descriptor, &of_points), CIPC_ESEGMENTSIZE);
  }
  CHECK_EQUAL(status_of_opening(hand_made("", 0, 0, SEALS), NULL), CIPC_ESEGMENTSIZE);
  CHECK_EQUAL(status_of_opening(hand_made("x", 1, 1, SEALS), NULL), 0);
  // A byte less and a byte more than the header says.
  const off_t size = POINTS_LENGTH;
  for (off_t by = -1; by <= 1; by += 2) {
    int descriptor = hand_made(&header, sizeof header, size + by, SEALS);
    CHECK_EQUAL(status_of_opening(descriptor, &of_points), CIPC_ESEGMENTSIZE);
  }
}

static void memory_larger_than_the_address_space_is_an_error(void) {
  cipc_layout_header_t header = good_header();
  const off_t size = INT64_C(1) << 62;
  header.payload_size = (uint64_t)size - OVERHEAD;
  CHECK_EQUAL(status_of_opening(hand_made(&header, sizeof header, size, SEALS), &of_points),
              CIPC_ENOMEM);
}

static void other_descriptors_are_refused(void) {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  CHECK_EQUAL(status_of_opening(ends[0], NULL), CIPC_ESEGMENTSEALS);
  CHECK_EQUAL(status_of_opening(ends[1], &of_points), CIPC_ESEGMENTSEALS);
  int file = open("/dev/null", O_RDWR | O_CLOEXEC);
  CHECK_EQUAL(status_of_opening(file, NULL), CIPC_ESEGMENTSEALS);
  CHECK_EQUAL(status_of_opening(-1, NULL), CIPC_EBADF);
  CHECK_EQUAL(status_of_opening(1 << 20, NULL), CIPC_EBADF);
}

static void any_header_is_an_error_or_fits(void) {
  uint64_t bits = 88172645463325252u;
  const cipc_layout_header_t good = good_header();
  cipc_segment_type_t any = points;
  any.count = CIPC_SEGMENT_ANY_COUNT;
  const cipc_segment_options_t options = {.type = &any};
  for (int i = 0; i < 500; i++) {
    cipc_layout_header_t header = good;
    unsigned char *bytes = (unsigned char *)&header;
    for (int flips = 0; flips < 3; flips++) {
      bits ^= bits << 13;
      bits ^= bits >> 7;
      bits ^= bits << 17;
      bytes[bits % sizeof header] = (unsigned char)(bits >> 32);
    }
    (void)status_of_header(&header, &options);
  }
}

static void names_appear_with_the_contents_behind_them(void) {
  const char *name = name_of_test();
  cipc_segment_t *segment = create(POINTS_SIZE, &points_with_name);
  CHECK(!exists(name));
  memcpy(cipc_segment_address(segment), "contents", 9);
  CHECK_EQUAL(cipc_segment_publish(segment, name), 0);
  CHECK(exists(name));
  cipc_segment_t *opened = NULL;
  CHECK_EQUAL(cipc_segment_open_named(&opened, name, &of_points), 0);
  CHECK(strcmp(cipc_segment_address(opened), "contents") == 0);
  // Closing takes no name away, not even the creator's.
  cipc_segment_close(opened);
  cipc_segment_close(segment);
  CHECK(exists(name));
  CHECK_EQUAL(cipc_segment_unlink(name), 0);
  CHECK(!exists(name));
  CHECK_EQUAL(cipc_segment_unlink(name), CIPC_ENOENT);
  CHECK_EQUAL(cipc_segment_open_named(&opened, name, &of_points), CIPC_ENOENT);
}

static void names_belong_to_their_user_alone(void) {
  const char *name = name_of_test();
  char path[128];
  (void)snprintf(path, sizeof path, "/dev/shm%s", name);
  mode_t mask = umask(0);
  cipc_segment_t *segment = create(1, &with_name);
  CHECK_EQUAL(cipc_segment_publish(segment, name), 0);
  (void)umask(mask);
  struct stat status;
  CHECK(stat(path, &status) == 0);
  CHECK_EQUAL(status.st_mode & 07777, 0600);
  cipc_segment_close(segment);
  CHECK_EQUAL(cipc_segment_unlink(name), 0);
}

static void memory_without_its_name_lives_on(void) {
  const char *name = name_of_test();
  cipc_segment_t *segment = create(8, &with_name);
  CHECK_EQUAL(cipc_segment_publish(segment, name), 0);
  cipc_segment_t *opened = NULL;
  CHECK_EQUAL(cipc_segment_open_named(&opened, name, NULL), 0);
  CHECK_EQUAL(cipc_segment_unlink(name), 0);
  *(uint64_t *)cipc_segment_address(segment) = 7;
  CHECK(*(uint64_t *)cipc_segment_address(opened) == 7);
  cipc_segment_close(segment);
  cipc_segment_close(opened);
}

static void names_are_checked(void) {
  char longest[300] = "/";
  memset(longest + 1, 'n', 250);
  char too_long[300] = "/";
  memset(too_long + 1, 'n', 251);
  const char *const bad[] = {"",     "/",   ".",   "/.",     "..",         "/..", "a/b",
                             "/a/b", "//a", "/a/", too_long, too_long + 1, NULL};
  int descriptors = child_descriptors();
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    cipc_segment_t *segment = create(1, &with_name);
    CHECK_EQUAL(cipc_segment_publish(segment, bad[i]), CIPC_EINVAL);
    cipc_segment_close(segment);
    segment = NULL;
    CHECK_EQUAL(cipc_segment_open_named(&segment, bad[i], NULL), CIPC_EINVAL);
    CHECK_EQUAL(cipc_segment_unlink(bad[i]), CIPC_EINVAL);
    CHECK(segment == NULL);
  }
  const char *const good[] = {longest, "/...", "/.cipc test \n\xff"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    cipc_segment_t *segment = create(1, &with_name);
    CHECK_EQUAL(cipc_segment_publish(segment, good[i]), 0);
    cipc_segment_close(segment);
    CHECK_EQUAL(cipc_segment_open_named(&segment, good[i], NULL), 0);
    cipc_segment_close(segment);
    CHECK_EQUAL(cipc_segment_unlink(good[i]), 0);
  }
  CHECK_EQUAL(child_descriptors(), descriptors);
}

static void a_slash_before_a_name_does_not_count(void) {
  const char *name = name_of_test();
  CHECK_EQUAL(name[0], '/');
  for (int with = 0; with < 2; with++) {
    const char *given = with ? name : name + 1;
    const char *other = with ? name + 1 : name;
    cipc_segment_t *segment = create(1, &with_name);
    CHECK_EQUAL(cipc_segment_publish(segment, given), 0);
    cipc_segment_t *again = create(1, &with_name);
    CHECK_EQUAL(cipc_segment_publish(again, other), CIPC_EEXIST);
    cipc_segment_close(again);
    CHECK_EQUAL(cipc_segment_open_named(&again, other, NULL), 0);
    cipc_segment_close(again);
    cipc_segment_claim_t claim = cipc_segment_claim(segment);
    CHECK(strcmp(claim.name, name) == 0);
    cipc_segment_close(segment);
    CHECK_EQUAL(cipc_segment_withdraw(&claim), 0);
    CHECK_EQUAL(cipc_segment_unlink(other), CIPC_ENOENT);
  }
  // A second one does, wherever it is.
  cipc_segment_t *segment = create(1, &with_name);
  CHECK_EQUAL(cipc_segment_publish(segment, "//cipc-name"), CIPC_EINVAL);
  CHECK_EQUAL(cipc_segment_publish(segment, "cipc-name/"), CIPC_EINVAL);
  // A combining mark, which Swift would take for one character with the slash.
  CHECK_EQUAL(cipc_segment_publish(segment, "/\xcc\x81-cipc-name"), 0);
  CHECK_EQUAL(cipc_segment_unlink("\xcc\x81-cipc-name"), 0);
  cipc_segment_close(segment);
}

static void an_anonymous_segment_takes_no_name(void) {
  cipc_segment_t *segment = create(1, NULL);
  CHECK_EQUAL(cipc_segment_publish(segment, name_of_test()), CIPC_EINVAL);
  CHECK(!exists(name_of_test()));
  CHECK_EQUAL(cipc_segment_publish(segment, NULL), 0);
  cipc_segment_close(segment);
}

static void a_name_that_is_taken_stays_its_owners(void) {
  const char *name = name_of_test();
  cipc_segment_t *first = create(4, &with_name);
  memcpy(cipc_segment_address(first), "one", 4);
  CHECK_EQUAL(cipc_segment_publish(first, name), 0);
  cipc_segment_t *second = create(4, &with_name);
  CHECK_EQUAL(cipc_segment_publish(second, name), CIPC_EEXIST);
  cipc_segment_close(second);
  CHECK_EQUAL(cipc_segment_open_named(&second, name, NULL), 0);
  CHECK(strcmp(cipc_segment_address(second), "one") == 0);
  cipc_segment_close(second);
  cipc_segment_close(first);
  CHECK_EQUAL(cipc_segment_unlink(name), 0);
}

// A link in a directory that all users may write to is not followed; a file that is not memory is
// refused.
static void other_files_with_the_name_are_refused(void) {
  const char *name = name_of_test();
  char path[128];
  (void)snprintf(path, sizeof path, "/dev/shm%s", name);
  cipc_segment_t *segment = NULL;
  CHECK(symlink("/dev/zero", path) == 0);
  CHECK_EQUAL(cipc_segment_open_named(&segment, name, NULL), -ELOOP);
  CHECK(unlink(path) == 0);
  CHECK(mkfifo(path, 0600) == 0);
  CHECK_EQUAL(cipc_segment_open_named(&segment, name, NULL), CIPC_ESEGMENTSIZE);
  CHECK(unlink(path) == 0);
  CHECK(mkdir(path, 0700) == 0);
  CHECK_EQUAL(cipc_segment_open_named(&segment, name, NULL), -EISDIR);
  CHECK(rmdir(path) == 0);
  CHECK(segment == NULL);
}

static void a_name_of_another_user_is_refused(void) {
  const char *name = name_of_test();
  char path[128];
  (void)snprintf(path, sizeof path, "/dev/shm%s", name);
  cipc_segment_t *segment = create(1, &with_name);
  CHECK_EQUAL(cipc_segment_publish(segment, name), 0);
  int given_away = chown(path, 12345, (gid_t)-1);
  if (given_away == 0) {
    cipc_segment_t *opened = NULL;
    CHECK_EQUAL(cipc_segment_open_named(&opened, name, NULL), CIPC_ESEGMENTOWNER);
    CHECK(opened == NULL);
  } else {
    check_skip("only root can give a file to another user");
  }
  CHECK(unlink(path) == 0);
  cipc_segment_close(segment);
}

// In a child: the new namespace is for its children.
static void open_in_another_namespace(void *argument) {
  int descriptor = *(int *)argument;
  if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) _exit(77);
  pid_t inside = fork();
  CHECK(inside >= 0);
  if (inside == 0) {
    CHECK_EQUAL(getpid(), 1);
    CHECK_EQUAL(status_of_opening(descriptor, &of_points), CIPC_ESEGMENTNAMESPACE);
    _exit(0);
  }
  CHECK_EQUAL(child_join(inside), 0);
}

static void another_pid_namespace_is_refused(void) {
  cipc_segment_t *segment = create_points();
  int descriptor = cipc_segment_descriptor(segment);
  int result = child_join(child_start(open_in_another_namespace, &descriptor));
  if (result == 77) {
    check_skip("this machine allows no new pid namespace");
  } else {
    CHECK_EQUAL(result, 0);
  }
  cipc_segment_close(segment);
}

static void a_failure_at_any_point_leaves_nothing(void) {
  const cipc_fault_t points_of_creation[] = {CIPC_FAULT_SEGMENT_MEMFD, CIPC_FAULT_SEGMENT_TRUNCATE,
                                             CIPC_FAULT_SEGMENT_ALLOCATE, CIPC_FAULT_SEGMENT_SEAL,
                                             CIPC_FAULT_SEGMENT_MAP};
  const cipc_segment_options_t *const options[] = {NULL, &of_points, &with_name, &points_with_name};
  int descriptors = child_descriptors();
  int maps = mappings();
  for (size_t i = 0; i < sizeof points_of_creation / sizeof points_of_creation[0]; i++) {
    for (size_t j = 0; j < 4; j++) {
      // Named memory is not sealed.
      if (points_of_creation[i] == CIPC_FAULT_SEGMENT_SEAL && j >= 2) continue;
      cipc_segment_t *segment = NULL;
      cipc_fault_arm(points_of_creation[i], -EIO);
      CHECK_EQUAL(cipc_segment_create(&segment, POINTS_SIZE, options[j]), -EIO);
      cipc_fault_arm(CIPC_FAULT_NONE, 0);
      CHECK(segment == NULL);
      CHECK_EQUAL(child_descriptors(), descriptors);
      CHECK_EQUAL(mappings(), maps);
    }
  }
}

static void a_failure_to_map_leaves_the_descriptor_to_the_caller(void) {
  const char *name = name_of_test();
  cipc_segment_t *segment = create_points();
  int descriptor = fcntl(cipc_segment_descriptor(segment), F_DUPFD_CLOEXEC, 0);
  cipc_fault_arm(CIPC_FAULT_SEGMENT_MAP, CIPC_ENOMEM);
  CHECK_EQUAL(status_of_opening(descriptor, &of_points), CIPC_ENOMEM);
  cipc_fault_arm(CIPC_FAULT_NONE, 0);
  cipc_segment_close(segment);

  segment = create(1, &with_name);
  CHECK_EQUAL(cipc_segment_publish(segment, name), 0);
  int descriptors = child_descriptors();
  cipc_segment_t *opened = NULL;
  cipc_fault_arm(CIPC_FAULT_SEGMENT_MAP, CIPC_ENOMEM);
  CHECK_EQUAL(cipc_segment_open_named(&opened, name, NULL), CIPC_ENOMEM);
  cipc_fault_arm(CIPC_FAULT_NONE, 0);
  CHECK_EQUAL(child_descriptors(), descriptors);
  cipc_segment_close(segment);
  CHECK_EQUAL(cipc_segment_unlink(name), 0);
}

static void a_failure_to_publish_leaves_no_name(void) {
  const cipc_fault_t points_of_publishing[] = {CIPC_FAULT_SEGMENT_READY, CIPC_FAULT_SEGMENT_LINK};
  int descriptors = child_descriptors();
  for (size_t i = 0; i < 2; i++) {
    cipc_segment_t *segment = create(POINTS_SIZE, &points_with_name);
    cipc_fault_arm(points_of_publishing[i], CIPC_ENOSPC);
    CHECK_EQUAL(cipc_segment_publish(segment, name_of_test()), CIPC_ENOSPC);
    cipc_fault_arm(CIPC_FAULT_NONE, 0);
    CHECK(!exists(name_of_test()));
    // Nothing was changed: it can be tried again.
    CHECK_EQUAL(cipc_segment_publish(segment, name_of_test()), 0);
    cipc_segment_close(segment);
    CHECK_EQUAL(cipc_segment_unlink(name_of_test()), 0);
  }
  CHECK_EQUAL(child_descriptors(), descriptors);
}

typedef struct lethal {
  cipc_fault_t point;
  const char *name;
} lethal_t;

static void publish_and_die(void *argument) {
  const lethal_t *lethal = argument;
  cipc_segment_t *segment = create(POINTS_SIZE, &points_with_name);
  cipc_fault_arm(lethal->point, CIPC_FAULT_KILL);
  CHECK_EQUAL(cipc_segment_publish(segment, lethal->name), 0);
}

static void a_creator_killed_before_the_name_leaves_none(void) {
  const char *name = name_of_test();
  const cipc_fault_t points_of_publishing[] = {CIPC_FAULT_SEGMENT_READY, CIPC_FAULT_SEGMENT_LINK};
  for (size_t i = 0; i < 2; i++) {
    lethal_t lethal = {points_of_publishing[i], name};
    CHECK_EQUAL(child_join(child_start(publish_and_die, &lethal)), -SIGKILL);
    CHECK(!exists(name));
    cipc_segment_t *segment = create(POINTS_SIZE, &points_with_name);
    CHECK_EQUAL(cipc_segment_publish(segment, name), 0);
    cipc_segment_close(segment);
    CHECK_EQUAL(cipc_segment_unlink(name), 0);
  }
}

#define ROUNDS 300

typedef struct race {
  uint32_t round;
  uint32_t done[2];
  int created[2];
} race_t;

typedef struct contestant {
  race_t *race;
  const char *name;
  int number;
} contestant_t;

// Each round: both create; exactly one gets the name; both open and see the same creator.
static void contest(void *argument) {
  const contestant_t *contestant = argument;
  race_t *race = contestant->race;
  int me = contestant->number;
  for (uint32_t round = 1; round <= ROUNDS; round++) {
    gate_wait(&race->round, round);
    cipc_segment_t *segment = create(POINTS_SIZE, &points_with_name);
    *(int *)cipc_segment_address(segment) = me + 1;
    int status = cipc_segment_publish(segment, contestant->name);
    CHECK(status == 0 || status == CIPC_EEXIST);
    race->created[me] += status == 0;
    cipc_segment_t *opened = NULL;
    CHECK_EQUAL(cipc_segment_open_named(&opened, contestant->name, &of_points), 0);
    int winner = *(int *)cipc_segment_address(opened);
    CHECK(status == 0 ? winner == me + 1 : winner == 2 - me);
    cipc_segment_close(opened);
    cipc_segment_close(segment);
    gate_set(&race->done[me], round);
  }
}

static void one_of_two_creators_gets_the_name(void) {
  race_t *race = child_shared(sizeof *race);
  const char *name = name_of_test();
  pid_t children[2];
  for (int i = 0; i < 2; i++) {
    contestant_t contestant = {race, name, i};
    children[i] = child_start(contest, &contestant);
  }
  for (uint32_t round = 1; round <= ROUNDS; round++) {
    gate_set(&race->round, round);
    for (int i = 0; i < 2; i++) gate_wait(&race->done[i], round);
    CHECK_EQUAL(cipc_segment_unlink(name), 0);
  }
  for (int i = 0; i < 2; i++) CHECK_EQUAL(child_join(children[i]), 0);
  CHECK_EQUAL(race->created[0] + race->created[1], ROUNDS);
}

int main(void) {
  TEST(plain_memory_is_zero_and_of_the_size_asked_for);
  TEST(typed_memory_lies_behind_the_header);
  TEST(anonymous_memory_cannot_be_resized);
  TEST(all_memory_is_there_from_the_start);
  TEST(descriptors_are_close_on_exec);
  TEST(what_one_process_writes_another_reads);
  TEST(closing_gives_everything_back);
  TEST(sizes_that_make_no_sense_are_refused);
  TEST(memory_that_is_not_there_is_an_error_at_once);
  TEST(a_header_with_a_wrong_field_names_the_field);
  TEST(a_type_with_a_wrong_field_names_the_field);
  TEST(a_count_beyond_the_memory_is_refused);
  TEST(the_count_found_is_the_one_told);
  TEST(a_segment_that_is_not_published_is_not_ready);
  TEST(plain_bytes_are_no_typed_segment);
  TEST(memory_that_may_shrink_or_grow_is_refused);
  TEST(memory_that_cannot_be_written_is_refused);
  TEST(memory_that_is_too_short_is_refused);
  TEST(memory_larger_than_the_address_space_is_an_error);
  TEST(other_descriptors_are_refused);
  TEST(any_header_is_an_error_or_fits);
  TEST(names_appear_with_the_contents_behind_them);
  TEST(names_belong_to_their_user_alone);
  TEST(memory_without_its_name_lives_on);
  TEST(names_are_checked);
  TEST(a_slash_before_a_name_does_not_count);
  TEST(an_anonymous_segment_takes_no_name);
  TEST(a_name_that_is_taken_stays_its_owners);
  TEST(other_files_with_the_name_are_refused);
  TEST(a_name_of_another_user_is_refused);
  TEST(another_pid_namespace_is_refused);
  TEST(a_failure_at_any_point_leaves_nothing);
  TEST(a_failure_to_map_leaves_the_descriptor_to_the_caller);
  TEST(a_failure_to_publish_leaves_no_name);
  TEST(a_creator_killed_before_the_name_leaves_none);
  TEST(one_of_two_creators_gets_the_name);
  return check_finish();
}
