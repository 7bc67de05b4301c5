/* SPDX-License-Identifier: Apache-2.0 */
// Segments by name (open-or-create, withdrawal), read-only access that holds against every attempt,
// and the options of plain memory.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/fault.h"
#include "child.h"
#include "cipc/segment.h"
#include "segment/pages.h"

#define CONTESTANTS 20
#define PAGE 4096

static const cipc_segment_type_t words = {.kind = CIPC_KIND_USER,
                                          .version = 1,
                                          .element_size = 8,
                                          .stride = 8,
                                          .alignment = 8,
                                          .count = 64,
                                          .fingerprint = 1};
#define WORDS_SIZE 512

static const cipc_segment_options_t of_words = {.type = &words};
static const cipc_segment_options_t with_name = {.named = 1};
static const cipc_segment_options_t to_read = {.flags = CIPC_SEGMENT_READ_ONLY};
static const cipc_segment_options_t any_access = {.flags = CIPC_SEGMENT_ANY_ACCESS};
static const cipc_segment_options_t one_writer = {.flags = CIPC_SEGMENT_ONE_WRITER};

static const char *name_of_test(void) {
  static char name[64];
  (void)snprintf(name, sizeof name, "/cipc-memory-test-%d", (int)getpid());
  return name;
}

static const char *path_of_test(void) {
  static char path[80];
  (void)snprintf(path, sizeof path, "/dev/shm%s", name_of_test());
  return path;
}

static int exists(void) {
  struct stat status;
  return lstat(path_of_test(), &status) == 0;
}

static cipc_segment_t *create(size_t size, const cipc_segment_options_t *options) {
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(cipc_segment_create(&segment, size, options), 0);
  return segment;
}

static cipc_segment_t *create_named(size_t size) {
  cipc_segment_t *segment = create(size, &with_name);
  CHECK_EQUAL(cipc_segment_publish(segment, name_of_test()), 0);
  return segment;
}

static cipc_segment_t *open_named(const cipc_segment_options_t *options) {
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(cipc_segment_open_named(&segment, name_of_test(), options), 0);
  return segment;
}

static int status_of_opening(const cipc_segment_options_t *options) {
  cipc_segment_t *segment = NULL;
  int descriptors = child_descriptors();
  int status = cipc_segment_open_named(&segment, name_of_test(), options);
  cipc_segment_close(segment);
  CHECK_EQUAL(child_descriptors(), descriptors);
  return status;
}

static int fill(void *payload, void *context) {
  uint64_t *word = payload;
  for (int i = 0; i < WORDS_SIZE / 8; i++) word[i] = *(const uint64_t *)context;
  return 0;
}

static int open_or_create(cipc_segment_t **segment, uint64_t value) {
  return cipc_segment_open_or_create(segment, name_of_test(), WORDS_SIZE, &of_words, fill, &value);
}

static void withdraw(const cipc_segment_t *segment) {
  const cipc_segment_claim_t claim = cipc_segment_claim(segment);
  CHECK_EQUAL(cipc_segment_withdraw(&claim), 0);
  CHECK(!exists());
}

static void the_first_creates_and_the_next_opens(void) {
  cipc_segment_t *first = NULL;
  cipc_segment_t *second = NULL;
  CHECK_EQUAL(open_or_create(&first, 11), CIPC_SEGMENT_CREATED);
  CHECK_EQUAL(open_or_create(&second, 22), 0);
  CHECK(*(uint64_t *)cipc_segment_address(second) == 11);
  *(uint64_t *)cipc_segment_address(second) = 33;
  CHECK(*(uint64_t *)cipc_segment_address(first) == 33);
  cipc_segment_close(second);
  withdraw(first);
  cipc_segment_close(first);
}

static int refuse(void *payload, void *context) {
  (void)payload;
  (void)context;
  return CIPC_ECAPACITY;
}

static void what_prepare_refuses_is_not_made(void) {
  int descriptors = child_descriptors();
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(
      cipc_segment_open_or_create(&segment, name_of_test(), WORDS_SIZE, &of_words, refuse, NULL),
      CIPC_ECAPACITY);
  CHECK(segment == NULL && !exists());
  CHECK_EQUAL(child_descriptors(), descriptors);
}

static void what_is_there_must_be_what_is_wanted(void) {
  int descriptors = child_descriptors();
  cipc_segment_t *made = create_named(100);
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(open_or_create(&segment, 1), CIPC_ESEGMENTSIZE);
  CHECK_EQUAL(cipc_segment_open_or_create(&segment, name_of_test(), 101, NULL, NULL, NULL),
              CIPC_ESEGMENTSIZE);
  CHECK_EQUAL(cipc_segment_open_or_create(&segment, name_of_test(), 99, NULL, NULL, NULL), 0);
  CHECK_EQUAL(cipc_segment_size(segment), 100);
  cipc_segment_close(segment);
  withdraw(made);
  cipc_segment_close(made);
  CHECK_EQUAL(symlink("/dev/zero", path_of_test()), 0);
  CHECK_EQUAL(open_or_create(&segment, 1), -ELOOP);
  CHECK_EQUAL(unlink(path_of_test()), 0);
  // Not even one that leads nowhere, or the name of what it led to would be ours.
  CHECK_EQUAL(symlink("/dev/shm/cipc-nothing", path_of_test()), 0);
  CHECK_EQUAL(open_or_create(&segment, 1), -ELOOP);
  CHECK_EQUAL(unlink(path_of_test()), 0);
  CHECK_EQUAL(cipc_segment_open_or_create(&segment, "b/d", 1, NULL, NULL, NULL), CIPC_EINVAL);
  CHECK_EQUAL(cipc_segment_open_or_create(&segment, "/ok", 0, NULL, NULL, NULL), CIPC_EINVAL);
  CHECK_EQUAL(child_descriptors(), descriptors);
}

static void a_file_of_another_user_is_refused(void) {
  cipc_segment_t *made = NULL;
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(open_or_create(&made, 1), CIPC_SEGMENT_CREATED);
  if (chown(path_of_test(), 12345, (gid_t)-1) == 0) {
    CHECK_EQUAL(open_or_create(&segment, 1), CIPC_ESEGMENTOWNER);
    CHECK_EQUAL(status_of_opening(&any_access), CIPC_ESEGMENTOWNER);
    // And as a descriptor.
    int descriptor = fcntl(cipc_segment_descriptor(made), F_DUPFD_CLOEXEC, 0);
    CHECK_EQUAL(cipc_segment_open(&segment, descriptor, &of_words), CIPC_ESEGMENTOWNER);
    CHECK_EQUAL(close(descriptor), 0);
  } else {
    check_skip("only root can give a file to another user");
  }
  withdraw(made);
  cipc_segment_close(made);
}

typedef struct race {
  uint32_t round;
  uint32_t done[CONTESTANTS];
  uint64_t created[CONTESTANTS];
  uint64_t found[CONTESTANTS];
} race_t;

typedef struct contestant {
  race_t *race;
  const char *name;
  uint64_t number;
} contestant_t;

#define ROUNDS 50

static void contest(void *argument) {
  const contestant_t *contestant = argument;
  race_t *race = contestant->race;
  uint64_t me = contestant->number;
  for (uint32_t round = 1; round <= ROUNDS; round++) {
    uint64_t value = me + 1;
    gate_wait(&race->round, round);
    cipc_segment_t *segment = NULL;
    int status = cipc_segment_open_or_create(&segment, contestant->name, WORDS_SIZE, &of_words,
                                             fill, &value);
    CHECK(status == 0 || status == CIPC_SEGMENT_CREATED);
    race->created[me] = status == CIPC_SEGMENT_CREATED;
    const uint64_t *word = cipc_segment_address(segment);
    race->found[me] = word[0];
    for (int i = 0; i < WORDS_SIZE / 8; i++) CHECK(word[i] == word[0]);
    cipc_segment_close(segment);
    gate_set(&race->done[me], round);
  }
}

static void one_of_twenty_creates(void) {
  race_t *race = child_shared(sizeof *race);
  pid_t children[CONTESTANTS];
  for (uint64_t i = 0; i < CONTESTANTS; i++) {
    contestant_t contestant = {race, name_of_test(), i};
    children[i] = child_start(contest, &contestant);
  }
  for (uint32_t round = 1; round <= ROUNDS; round++) {
    gate_set(&race->round, round);
    uint64_t creators = 0;
    uint64_t winner = 0;
    for (uint64_t i = 0; i < CONTESTANTS; i++) {
      gate_wait(&race->done[i], round);
      creators += race->created[i];
      if (race->created[i]) winner = i + 1;
    }
    CHECK_EQUAL(creators, 1);
    for (int i = 0; i < CONTESTANTS; i++) CHECK(race->found[i] == winner);
    CHECK_EQUAL(cipc_segment_unlink(name_of_test()), 0);
  }
  for (int i = 0; i < CONTESTANTS; i++) CHECK_EQUAL(child_join(children[i]), 0);
}

typedef struct churn {
  uint32_t stop;
  uint64_t created;
  uint64_t opened;
} churn_t;

typedef struct churner {
  churn_t *churn;
  const char *name;
} churner_t;

static void create_and_withdraw(void *argument) {
  const churner_t *churner = argument;
  churn_t *churn = churner->churn;
  for (uint64_t value = 1; value <= 2000; value++) {
    cipc_segment_t *segment = NULL;
    int status =
        cipc_segment_open_or_create(&segment, churner->name, WORDS_SIZE, &of_words, fill, &value);
    CHECK(status == 0 || status == CIPC_SEGMENT_CREATED);
    const uint64_t *word = cipc_segment_address(segment);
    for (int i = 0; i < WORDS_SIZE / 8; i++) CHECK(word[i] == word[0] && word[i] != 0);
    const cipc_segment_claim_t claim = cipc_segment_claim(segment);
    if (status == CIPC_SEGMENT_CREATED) {
      // No other process takes the name from its creator.
      CHECK_EQUAL(cipc_segment_withdraw(&claim), 0);
      (void)__atomic_add_fetch(&churn->created, 1, __ATOMIC_RELAXED);
    } else {
      CHECK_EQUAL(cipc_segment_withdraw(&claim), CIPC_EPERM);
      (void)__atomic_add_fetch(&churn->opened, 1, __ATOMIC_RELAXED);
    }
    cipc_segment_close(segment);
  }
}

static void names_that_come_and_go_are_whole_or_absent(void) {
  churn_t *churn = child_shared(sizeof *churn);
  churner_t churner = {churn, name_of_test()};
  pid_t children[4];
  for (int i = 0; i < 4; i++) children[i] = child_start(create_and_withdraw, &churner);
  for (int i = 0; i < 4; i++) CHECK_EQUAL(child_join(children[i]), 0);
  CHECK_EQUAL(churn->created + churn->opened, 8000);
  CHECK(churn->created > 0);
  CHECK(!exists());
}

typedef struct doomed {
  const char *name;
  cipc_fault_t point;
} doomed_t;

static void create_and_die(void *argument) {
  const doomed_t *doomed = argument;
  uint64_t value = 5;
  cipc_segment_t *segment = NULL;
  cipc_fault_arm(doomed->point, CIPC_FAULT_KILL);
  CHECK_EQUAL(
      cipc_segment_open_or_create(&segment, doomed->name, WORDS_SIZE, &of_words, fill, &value),
      CIPC_SEGMENT_CREATED);
}

static void a_killed_creator_leaves_nothing_and_the_next_creates(void) {
  const cipc_fault_t points[] = {CIPC_FAULT_SEGMENT_MEMFD,    CIPC_FAULT_SEGMENT_TRUNCATE,
                                 CIPC_FAULT_SEGMENT_ALLOCATE, CIPC_FAULT_SEGMENT_MAP,
                                 CIPC_FAULT_SEGMENT_READY,    CIPC_FAULT_SEGMENT_LINK};
  for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
    doomed_t doomed = {name_of_test(), points[i]};
    CHECK_EQUAL(child_join(child_start(create_and_die, &doomed)), -SIGKILL);
    CHECK(!exists());
    cipc_segment_t *segment = NULL;
    CHECK_EQUAL(open_or_create(&segment, 1), CIPC_SEGMENT_CREATED);
    withdraw(segment);
    cipc_segment_close(segment);
  }
}

static void withdraw_in_child(void *argument) {
  CHECK_EQUAL(cipc_segment_withdraw(argument), CIPC_EPERM);
}

static void the_creator_alone_withdraws(void) {
  cipc_segment_t *made = create(8, &with_name);
  cipc_segment_claim_t claim = cipc_segment_claim(made);
  CHECK(claim.name[0] == '\0');
  CHECK_EQUAL(cipc_segment_withdraw(&claim), CIPC_EPERM);
  CHECK_EQUAL(cipc_segment_publish(made, name_of_test()), 0);
  claim = cipc_segment_claim(made);
  CHECK(strcmp(claim.name, name_of_test()) == 0);
  cipc_segment_t *opened = open_named(NULL);
  const cipc_segment_claim_t none = cipc_segment_claim(opened);
  CHECK(none.name[0] == '\0');
  CHECK_EQUAL(cipc_segment_withdraw(&none), CIPC_EPERM);
  // A forked child has the handle; it did not create.
  CHECK_EQUAL(child_join(child_start(withdraw_in_child, &claim)), 0);
  CHECK(exists());
  cipc_segment_close(opened);
  cipc_segment_close(made);
  // The claim outlives the handle.
  CHECK_EQUAL(cipc_segment_withdraw(&claim), 0);
  CHECK_EQUAL(cipc_segment_withdraw(&claim), CIPC_ENOENT);
}

static void a_name_that_is_another_s_by_now_stays(void) {
  cipc_segment_t *first = create_named(8);
  CHECK_EQUAL(cipc_segment_unlink(name_of_test()), 0);
  cipc_segment_t *second = create_named(8);
  const cipc_segment_claim_t claim = cipc_segment_claim(first);
  CHECK_EQUAL(cipc_segment_withdraw(&claim), CIPC_ENOENT);
  CHECK(exists());
  withdraw(second);
  cipc_segment_close(first);
  cipc_segment_close(second);
}

static void a_failed_publication_claims_nothing(void) {
  cipc_segment_t *first = create_named(8);
  cipc_segment_t *second = create(8, &with_name);
  CHECK_EQUAL(cipc_segment_publish(second, name_of_test()), CIPC_EEXIST);
  const cipc_segment_claim_t claim = cipc_segment_claim(second);
  CHECK_EQUAL(cipc_segment_withdraw(&claim), CIPC_EPERM);
  withdraw(first);
  cipc_segment_close(first);
  cipc_segment_close(second);
}

static void named_memory_travels_as_a_descriptor(void) {
  cipc_segment_t *made = NULL;
  CHECK_EQUAL(open_or_create(&made, 7), CIPC_SEGMENT_CREATED);
  // Also when the name is gone.
  for (int i = 0; i < 2; i++) {
    cipc_segment_t *opened = NULL;
    int descriptor = fcntl(cipc_segment_descriptor(made), F_DUPFD_CLOEXEC, 0);
    CHECK_EQUAL(cipc_segment_open(&opened, descriptor, &of_words), 0);
    CHECK(*(uint64_t *)cipc_segment_address(opened) == 7);
    const cipc_segment_claim_t claim = cipc_segment_claim(opened);
    CHECK_EQUAL(cipc_segment_withdraw(&claim), CIPC_EPERM);
    cipc_segment_close(opened);
    if (i == 0) withdraw(made);
  }
  cipc_segment_close(made);
}

// A process that may write there may also take the memory away under us.
static void a_file_that_others_may_write_is_refused(void) {
  cipc_segment_t *made = create_named(8);
  int descriptor = cipc_segment_descriptor(made);
  const mode_t refused[] = {0620, 0602, 0666};
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    CHECK_EQUAL(fchmod(descriptor, refused[i]), 0);
    cipc_segment_t *opened = NULL;
    CHECK_EQUAL(cipc_segment_open(&opened, descriptor, NULL), CIPC_ESEGMENTSEALS);
  }
  withdraw(made);
  cipc_segment_close(made);
  // Nor is a file elsewhere memory.
  FILE *file = tmpfile();
  CHECK(file != NULL && fputc('x', file) == 'x' && fflush(file) == 0);
  cipc_segment_t *opened = NULL;
  int status = cipc_segment_open(&opened, fileno(file), NULL);
  CHECK(status == CIPC_ESEGMENTSEALS || status == CIPC_EINVAL);
  (void)fclose(file);
}

// Everything that a process can try that was given the descriptor and is not to write.
static void attack(int descriptor, int sealed) {
  volatile char *memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, descriptor, 0);
  CHECK(memory != MAP_FAILED && memory[0] == 'o');
  char *address = (char *)(uintptr_t)memory;
  CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0) == MAP_FAILED);
  CHECK(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, descriptor, 0) == MAP_FAILED);
  CHECK(mprotect(address, PAGE, PROT_READ | PROT_WRITE) == -1);
  CHECK(write(descriptor, "x", 1) == -1);
  CHECK(pwrite(descriptor, "x", 1, 0) == -1);
  CHECK(ftruncate(descriptor, 0) == -1);
  CHECK(ftruncate(descriptor, 2 * PAGE) == -1);
  CHECK(fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) == -1);
  CHECK(fallocate(descriptor, FALLOC_FL_ZERO_RANGE, 0, PAGE) == -1);
  CHECK(madvise(address, PAGE, MADV_REMOVE) == -1);
  CHECK(fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE) == -1);
  // Its own memory by other doors.
  int self = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  if (self >= 0) {
    CHECK(pwrite(self, "x", 1, (off_t)(uintptr_t)address) == -1);
    CHECK_EQUAL(close(self), 0);
  }
  char byte = 'x';
  struct iovec from = {&byte, 1};
  struct iovec to = {address, 1};
  CHECK(syscall(SYS_process_vm_writev, getpid(), &from, 1L, &to, 1L, 0L) == -1);
  // The file opened anew, for writing.
  char path[40];
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  (void)fchmod(descriptor, 0666);
  int again = open(path, O_RDWR | O_CLOEXEC);
  CHECK(sealed || again < 0);
  if (again >= 0) {
    CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED);
    CHECK(pwrite(again, "x", 1, 0) == -1);
    CHECK_EQUAL(close(again), 0);
  }
  CHECK(truncate(path, 0) == -1);
  // A private copy is the attacker's own business.
  char *copy = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
  CHECK(copy != MAP_FAILED);
  copy[0] = 'x';
  CHECK(memory[0] == 'o');
}

static void attack_sealed(void *argument) {
  // Without the mapping that the creator's fork left in this process.
  cipc_segment_t *made = argument;
  int descriptor = fcntl(cipc_segment_descriptor(made), F_DUPFD_CLOEXEC, 0);
  cipc_segment_close(made);
  attack(descriptor, 1);
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(cipc_segment_open(&segment, descriptor, NULL), CIPC_EPERM);
  CHECK_EQUAL(cipc_segment_open(&segment, descriptor, &any_access), 0);
  CHECK_EQUAL(cipc_segment_is_writable(segment), 0);
  CHECK(*(const char *)cipc_segment_address(segment) == 'o');
  cipc_segment_close(segment);
}

static void whoever_gets_memory_of_one_writer_only_reads(void) {
  cipc_segment_t *made = create(PAGE, &one_writer);
  char *bytes = cipc_segment_address(made);
  CHECK_EQUAL(cipc_segment_is_writable(made), 1);
  memcpy(bytes, "ours", 5);
  CHECK_EQUAL(child_join(child_start(attack_sealed, made)), 0);
  CHECK(strcmp(bytes, "ours") == 0);
  // What the writer writes, readers see.
  cipc_segment_t *opened = NULL;
  int descriptor = fcntl(cipc_segment_descriptor(made), F_DUPFD_CLOEXEC, 0);
  CHECK_EQUAL(cipc_segment_open(&opened, descriptor, &to_read), 0);
  bytes[0] = 'O';
  CHECK(strcmp(cipc_segment_address(opened), "Ours") == 0);
  cipc_segment_close(opened);
  cipc_segment_close(made);
}

static void attack_as_another_user(void *argument) {
  const char *name = argument;
  if (setresgid(12345, 12345, 12345) != 0 || setresuid(12345, 12345, 12345) != 0) _exit(77);
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(cipc_segment_open_named(&segment, name, NULL), -EACCES);
  CHECK_EQUAL(cipc_segment_open_named(&segment, name, &any_access), 0);
  CHECK_EQUAL(cipc_segment_is_writable(segment), 0);
  cipc_segment_close(segment);
  CHECK_EQUAL(cipc_segment_open_named(&segment, name, &to_read), 0);
  attack(cipc_segment_descriptor(segment), 0);
  CHECK_EQUAL(cipc_segment_unlink(name), -EPERM);
  cipc_segment_close(segment);
}

static void permissions_keep_other_users_from_writing(void) {
  const cipc_segment_options_t for_all = {.named = 1, .mode = 0644};
  mode_t mask = umask(077);
  cipc_segment_t *made = create(PAGE, &for_all);
  (void)umask(mask);
  CHECK_EQUAL(cipc_segment_publish(made, name_of_test()), 0);
  memcpy(cipc_segment_address(made), "ours", 5);
  struct stat status;
  CHECK_EQUAL(stat(path_of_test(), &status), 0);
  CHECK_EQUAL(status.st_mode & 07777, 0644);
  int result = child_join(child_start(attack_as_another_user, (void *)(uintptr_t)name_of_test()));
  if (result == 77) {
    check_skip("only root can become another user");
  } else {
    CHECK_EQUAL(result, 0);
  }
  CHECK(strcmp(cipc_segment_address(made), "ours") == 0);
  withdraw(made);
  cipc_segment_close(made);
}

static void reading_alone_maps_and_opens_for_reading(void) {
  cipc_segment_t *made = create_named(PAGE);
  memcpy(cipc_segment_address(made), "ours", 5);
  cipc_segment_t *opened = open_named(&to_read);
  CHECK_EQUAL(cipc_segment_is_writable(opened), 0);
  CHECK_EQUAL(fcntl(cipc_segment_descriptor(opened), F_GETFL) & O_ACCMODE, O_RDONLY);
  CHECK(mprotect(cipc_segment_address(opened), PAGE, PROT_READ | PROT_WRITE) == -1);
  cipc_segment_close(opened);
  opened = open_named(&any_access);
  CHECK_EQUAL(cipc_segment_is_writable(opened), 1);
  cipc_segment_close(opened);
  withdraw(made);
  cipc_segment_close(made);
  // Nothing that only seems to be memory, nor does it block.
  CHECK_EQUAL(mkfifo(path_of_test(), 0600), 0);
  CHECK_EQUAL(status_of_opening(&to_read), CIPC_ESEGMENTSIZE);
  CHECK_EQUAL(unlink(path_of_test()), 0);
  CHECK_EQUAL(mkdir(path_of_test(), 0700), 0);
  CHECK_EQUAL(status_of_opening(&to_read), CIPC_ESEGMENTSIZE);
  CHECK_EQUAL(rmdir(path_of_test()), 0);
}

static void options_that_do_not_go_together_are_refused(void) {
  const struct {
    cipc_segment_options_t options;
    int status;
  } creating[] = {
      {{.flags = CIPC_SEGMENT_READ_ONLY}, CIPC_EINVAL},
      {{.flags = CIPC_SEGMENT_ANY_ACCESS}, CIPC_EINVAL},
      {{.named = 1, .flags = CIPC_SEGMENT_ONE_WRITER}, CIPC_EINVAL},
      {{.named = 1, .flags = CIPC_SEGMENT_HUGE}, CIPC_EOPNOTSUPP},
      {{.mode = 0644}, CIPC_EINVAL},
      {{.named = 1, .mode = 0666}, CIPC_EINVAL},
      {{.named = 1, .mode = 04644}, CIPC_EINVAL},
      {{.type = &words, .flags = CIPC_SEGMENT_ONE_WRITER}, CIPC_EINVAL},
      {{.type = &words, .flags = CIPC_SEGMENT_HUGE}, CIPC_EINVAL},
      {{.type = &words, .flags = CIPC_SEGMENT_HUGE_IF_AVAILABLE}, CIPC_EINVAL},
  };
  cipc_segment_t *segment = NULL;
  for (size_t i = 0; i < sizeof creating / sizeof creating[0]; i++) {
    CHECK_EQUAL(cipc_segment_create(&segment, WORDS_SIZE, &creating[i].options),
                creating[i].status);
  }
  CHECK_EQUAL(open_or_create(&segment, 1), CIPC_SEGMENT_CREATED);
  const cipc_segment_options_t typed = {.type = &words, .flags = CIPC_SEGMENT_READ_ONLY};
  CHECK_EQUAL(status_of_opening(&typed), CIPC_EINVAL);
  withdraw(segment);
  cipc_segment_close(segment);
}

// Pages of a mapping that are in the page table, by /proc/self/pagemap.
static size_t present(const void *address, size_t length) {
  int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  CHECK(file >= 0);
  size_t count = 0;
  for (size_t at = 0; at < length; at += PAGE) {
    uint64_t entry = 0;
    off_t offset = (off_t)(((uintptr_t)address + at) / PAGE * sizeof entry);
    CHECK_EQUAL(pread(file, &entry, sizeof entry, offset), sizeof entry);
    count += entry >> 63;
  }
  CHECK_EQUAL(close(file), 0);
  return count;
}

#define PAGES 64

static void prefaulted_memory_is_in_the_page_table(void) {
  const cipc_segment_options_t prefault = {.flags = CIPC_SEGMENT_PREFAULT};
  const cipc_segment_options_t named = {.named = 1, .flags = CIPC_SEGMENT_PREFAULT};
  const cipc_segment_options_t reading = {.flags = CIPC_SEGMENT_PREFAULT | CIPC_SEGMENT_READ_ONLY};
  const cipc_segment_options_t typed = {.type = &words, .flags = CIPC_SEGMENT_PREFAULT};
  cipc_segment_t *plain = create(PAGES * PAGE, NULL);
  CHECK_EQUAL(present(cipc_segment_address(plain), PAGES * PAGE), 0);
  cipc_segment_close(plain);
  cipc_segment_t *segments[4] = {create(PAGES * PAGE, &prefault), create(PAGES * PAGE, &named)};
  CHECK_EQUAL(cipc_segment_publish(segments[1], name_of_test()), 0);
  segments[2] = open_named(&prefault);
  segments[3] = open_named(&reading);
  for (int i = 0; i < 4; i++) {
    CHECK_EQUAL(present(cipc_segment_address(segments[i]), PAGES * PAGE), PAGES);
  }
  withdraw(segments[1]);
  for (int i = 0; i < 4; i++) cipc_segment_close(segments[i]);
  cipc_segment_close(create(WORDS_SIZE, &typed));
}

static uint64_t free_huge_pages(void) {
  char line[128];
  unsigned long long count = 0;
  FILE *file = fopen("/proc/meminfo", "re");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "HugePages_Free: %llu", &count) == 1) break;
  }
  (void)fclose(file);
  return count;
}

static void huge_pages_that_are_not_there_are_an_error_that_says_so(void) {
  const cipc_segment_options_t huge = {.flags = CIPC_SEGMENT_HUGE};
  int descriptors = child_descriptors();
  cipc_segment_t *segment = NULL;
  // More than any pool.
  CHECK_EQUAL(cipc_segment_create(&segment, (size_t)1 << 45, &huge), CIPC_EHUGEPAGES);
  CHECK(segment == NULL);
  CHECK_EQUAL(child_descriptors(), descriptors);
}

static void huge_pages_come_from_the_pool(void) {
  if (free_huge_pages() == 0) {
    check_skip("no free huge page on this machine (vm.nr_hugepages)");
    return;
  }
  const cipc_segment_options_t options[] = {
      {.flags = CIPC_SEGMENT_HUGE},
      {.flags = CIPC_SEGMENT_HUGE_IF_AVAILABLE | CIPC_SEGMENT_PREFAULT},
      {.flags = CIPC_SEGMENT_HUGE | CIPC_SEGMENT_ONE_WRITER}};
  for (size_t i = 0; i < 3; i++) {
    uint64_t before = free_huge_pages();
    cipc_segment_t *segment = create(100, &options[i]);
    CHECK_EQUAL(free_huge_pages(), before - 1);
    CHECK(cipc_segment_size(segment) >= 100 && cipc_segment_size(segment) % (64 * PAGE) == 0);
    memcpy(cipc_segment_address(segment), "ours", 5);
    cipc_segment_t *opened = NULL;
    int descriptor = fcntl(cipc_segment_descriptor(segment), F_DUPFD_CLOEXEC, 0);
    CHECK_EQUAL(cipc_segment_open(&opened, descriptor, &any_access), 0);
    CHECK_EQUAL(cipc_segment_is_writable(opened), i != 2);
    CHECK(strcmp(cipc_segment_address(opened), "ours") == 0);
    cipc_segment_close(opened);
    cipc_segment_close(segment);
    CHECK_EQUAL(free_huge_pages(), before);
  }
}

// KiB of the mapping that huge pages back, by /proc/self/smaps.
static uint64_t huge_part(const void *address) {
  char line[256];
  char start[32];
  unsigned long long size = 0;
  int found = 0;
  (void)snprintf(start, sizeof start, "%lx-", (unsigned long)(uintptr_t)address);
  FILE *file = fopen("/proc/self/smaps", "re");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, start, strlen(start)) == 0) found = 1;
    if (found && sscanf(line, "ShmemPmdMapped: %llu", &size) == 1) break;
  }
  (void)fclose(file);
  return size;
}

static void transparent_huge_pages_are_asked_for(void) {
  char text[128] = "";
  FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
  if (file != NULL) {
    if (fgets(text, sizeof text, file) == NULL) text[0] = '\0';
    (void)fclose(file);
  }
  if (strstr(text, "[advise]") == NULL) {
    check_skip("shared memory gets no transparent huge pages on this machine (shmem_enabled)");
    return;
  }
  const cipc_segment_options_t huge = {.flags = CIPC_SEGMENT_HUGE_IF_AVAILABLE};
  cipc_segment_t *plain = create(8 << 20, NULL);
  memset(cipc_segment_address(plain), 1, 8 << 20);
  CHECK_EQUAL(huge_part(cipc_segment_address(plain)), 0);
  cipc_segment_close(plain);
  cipc_fault_arm(CIPC_FAULT_SEGMENT_HUGE, CIPC_ENOSPC);
  cipc_segment_t *segment = create(8 << 20, &huge);
  cipc_fault_arm(CIPC_FAULT_NONE, 0);
  CHECK(huge_part(cipc_segment_address(segment)) > 0);
  cipc_segment_close(segment);
}

static void without_huge_pages_small_ones_do(void) {
  const cipc_segment_options_t anonymous = {.flags = CIPC_SEGMENT_HUGE_IF_AVAILABLE};
  const cipc_segment_options_t named = {.named = 1, .flags = CIPC_SEGMENT_HUGE_IF_AVAILABLE};
  const int failures[] = {CIPC_ENOSPC, CIPC_ENOMEM, CIPC_ENOSYS};
  for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
    int descriptors = child_descriptors();
    cipc_fault_arm(CIPC_FAULT_SEGMENT_HUGE, failures[i]);
    cipc_segment_t *segment = create(3 << 20, &anonymous);
    cipc_fault_arm(CIPC_FAULT_NONE, 0);
    CHECK_EQUAL(cipc_segment_size(segment), 3 << 20);
    CHECK_EQUAL(child_descriptors(), descriptors + 1);
    CHECK(fcntl(cipc_segment_descriptor(segment), F_GET_SEALS) & F_SEAL_SHRINK);
    memset(cipc_segment_address(segment), 1, 3 << 20);
    cipc_segment_close(segment);
  }
  cipc_segment_t *segment = create(3 << 20, &named);
  memset(cipc_segment_address(segment), 1, 3 << 20);
  CHECK_EQUAL(cipc_segment_publish(segment, name_of_test()), 0);
  cipc_segment_t *opened = open_named(&anonymous);
  cipc_segment_close(opened);
  withdraw(segment);
  cipc_segment_close(segment);
}

static void failures_leave_nothing(void) {
  const cipc_segment_options_t huge = {.flags = CIPC_SEGMENT_HUGE};
  const cipc_fault_t points[] = {CIPC_FAULT_SEGMENT_MEMFD,    CIPC_FAULT_SEGMENT_TRUNCATE,
                                 CIPC_FAULT_SEGMENT_ALLOCATE, CIPC_FAULT_SEGMENT_MAP,
                                 CIPC_FAULT_SEGMENT_READY,    CIPC_FAULT_SEGMENT_LINK};
  int descriptors = child_descriptors();
  cipc_segment_t *segment = NULL;
  for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
    cipc_fault_arm(points[i], CIPC_ENFILE);
    CHECK_EQUAL(open_or_create(&segment, 1), CIPC_ENFILE);
    cipc_fault_arm(CIPC_FAULT_NONE, 0);
    CHECK(segment == NULL && !exists());
    CHECK_EQUAL(child_descriptors(), descriptors);
  }
  cipc_fault_arm(CIPC_FAULT_SEGMENT_HUGE, CIPC_ENOSPC);
  CHECK_EQUAL(cipc_segment_create(&segment, 1, &huge), CIPC_EHUGEPAGES);
  cipc_fault_arm(CIPC_FAULT_SEGMENT_SEAL, CIPC_EINVAL);
  CHECK_EQUAL(cipc_segment_create(&segment, 1, &one_writer), CIPC_EOPNOTSUPP);
  cipc_fault_arm(CIPC_FAULT_NONE, 0);
  CHECK(segment == NULL);
  CHECK_EQUAL(child_descriptors(), descriptors);
}

// shm_open and ftruncate alone, as Python makes them: a size, and no memory.
static void foreign_memory_is_allocated_when_it_is_opened(void) {
  int file = open(path_of_test(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  CHECK(file >= 0);
  CHECK_EQUAL(ftruncate(file, 10 * PAGE + 1), 0);
  struct stat status;
  cipc_segment_t *reader = open_named(&to_read);
  CHECK(fstat(file, &status) == 0 && status.st_blocks == 0);
  cipc_segment_t *opened = open_named(NULL);
  CHECK_EQUAL(cipc_segment_size(opened), 10 * PAGE + 1);
  CHECK(fstat(file, &status) == 0 && status.st_blocks * 512 >= 10 * PAGE + 1);
  CHECK_EQUAL(ftruncate(file, (off_t)1 << 45), 0);
  CHECK_EQUAL(status_of_opening(NULL), CIPC_ENOMEM);
  cipc_segment_close(opened);
  cipc_segment_close(reader);
  CHECK_EQUAL(close(file), 0);
  CHECK_EQUAL(cipc_segment_unlink(name_of_test()), 0);
}

int main(void) {
  TEST(the_first_creates_and_the_next_opens);
  TEST(what_prepare_refuses_is_not_made);
  TEST(what_is_there_must_be_what_is_wanted);
  TEST(a_file_of_another_user_is_refused);
  TEST(one_of_twenty_creates);
  TEST(names_that_come_and_go_are_whole_or_absent);
  TEST(a_killed_creator_leaves_nothing_and_the_next_creates);
  TEST(the_creator_alone_withdraws);
  TEST(a_name_that_is_another_s_by_now_stays);
  TEST(a_failed_publication_claims_nothing);
  TEST(named_memory_travels_as_a_descriptor);
  TEST(a_file_that_others_may_write_is_refused);
  TEST(whoever_gets_memory_of_one_writer_only_reads);
  TEST(permissions_keep_other_users_from_writing);
  TEST(reading_alone_maps_and_opens_for_reading);
  TEST(options_that_do_not_go_together_are_refused);
  TEST(prefaulted_memory_is_in_the_page_table);
  TEST(huge_pages_that_are_not_there_are_an_error_that_says_so);
  TEST(huge_pages_come_from_the_pool);
  TEST(transparent_huge_pages_are_asked_for);
  TEST(without_huge_pages_small_ones_do);
  TEST(failures_leave_nothing);
  TEST(foreign_memory_is_allocated_when_it_is_opened);
  return check_finish();
}
