/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/participants.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.h"
#include "cipc/process.h"
#include "cipc/segment.h"
#include "cipc/wait.h"
#include "segment/layout.h"
#include "wait/wait.h"

#define PAGE 4096u
#define HOUR INT64_C(3600000000000)

static const cipc_segment_type_t words = {.kind = CIPC_KIND_USER,
                                          .version = 1,
                                          .element_size = 4,
                                          .stride = 4,
                                          .alignment = 4,
                                          .count = 2,
                                          .fingerprint = 1};
static const cipc_segment_options_t of_words = {.type = &words};

static cipc_segment_t *create_of(size_t size) {
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(cipc_segment_create(&segment, size, &of_words), 0);
  CHECK_EQUAL(cipc_segment_publish(segment, NULL), 0);
  return segment;
}

static cipc_segment_t *create(void) { return create_of(8); }

static cipc_segment_t *open_again(const cipc_segment_t *segment) {
  cipc_segment_t *opened = NULL;
  int descriptor = fcntl(cipc_segment_descriptor(segment), F_DUPFD_CLOEXEC, 0);
  CHECK_EQUAL(cipc_segment_open(&opened, descriptor, &of_words), 0);
  return opened;
}

static cipc_layout_header_t *header_of(const cipc_segment_t *segment) {
  return (cipc_layout_header_t *)(void *)((char *)cipc_segment_address(segment) -
                                          CIPC_SEGMENT_HEADER_SIZE);
}

static uint64_t *entries_of(const cipc_segment_t *segment) {
  size_t offset = (CIPC_SEGMENT_HEADER_SIZE + cipc_segment_size(segment) + 63) / 64 * 64;
  return (uint64_t *)(void *)((char *)header_of(segment) + offset);
}

static uint32_t epoch_of(const cipc_segment_t *segment) {
  return __atomic_load_n(&header_of(segment)->table.epoch, __ATOMIC_SEQ_CST);
}

// How many participants there are, by what became of them.
static int count(const cipc_segment_t *segment, cipc_segment_presence_t presence) {
  static cipc_segment_participant_t list[CIPC_PARTICIPANTS_ENTRIES];
  int found =
      cipc_segment_participants(cipc_segment_descriptor(segment), list, CIPC_PARTICIPANTS_ENTRIES);
  CHECK(found >= 0 && found <= (int)CIPC_PARTICIPANTS_ENTRIES);
  int matching = 0;
  for (int i = 0; i < found; i++) matching += list[i].presence == presence;
  return matching;
}

static void check_others(cipc_segment_t *segment, int expected) {
  CHECK_EQUAL(cipc_segment_others(segment), expected);
}

// A child that is in the table of what it inherited, until the gate opens.
typedef struct guest {
  uint32_t here;
  uint32_t leave;
} guest_t;

static void be_there(void *argument) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  guest_t *guest = argument;
  CHECK(cipc_participant_self() != CIPC_PARTICIPANT_NOBODY);
  (void)__atomic_fetch_add(&guest->here, 1, __ATOMIC_SEQ_CST);
  CHECK(cipc_futex_wake(&guest->here, INT32_MAX) >= 0);
  gate_wait(&guest->leave, 1);
}

static pid_t start_guest(guest_t *guest) {
  uint32_t before = __atomic_load_n(&guest->here, __ATOMIC_SEQ_CST);
  pid_t child = child_start(be_there, guest);
  gate_wait(&guest->here, before + 1);
  return child;
}

static void who_opens_is_in_the_table_until_it_closes(void) {
  cipc_segment_t *segment = create();
  cipc_segment_participant_t one;
  CHECK_EQUAL(cipc_segment_participants(cipc_segment_descriptor(segment), &one, 1), 1);
  CHECK(one.identity == cipc_participant_self() && one.presence == CIPC_SEGMENT_ATTACHED);
  check_others(segment, 0);
  cipc_segment_t *second = open_again(segment);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 2);
  check_others(segment, 0);
  CHECK_EQUAL(cipc_segment_participants(cipc_segment_descriptor(segment), &one, 1), 2);
  cipc_segment_close(second);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 1);
  // The place is used again.
  second = open_again(segment);
  CHECK_EQUAL(header_of(segment)->table.high, 2);
  cipc_segment_close(segment);
  CHECK_EQUAL(count(second, CIPC_SEGMENT_ATTACHED), 1);
  cipc_segment_close(second);
}

static void plain_bytes_have_no_table(void) {
  cipc_segment_t *segment = NULL;
  uint32_t ticket = 0;
  cipc_segment_participant_t one;
  CHECK_EQUAL(cipc_segment_create(&segment, 8, NULL), 0);
  CHECK_EQUAL(cipc_segment_others(segment), CIPC_EINVAL);
  CHECK_EQUAL(cipc_segment_offer(segment, &ticket), CIPC_EINVAL);
  CHECK_EQUAL(cipc_segment_settle(segment, 0), CIPC_EINVAL);
  CHECK_EQUAL(cipc_segment_offer_to(segment, 0, cipc_participant_self()), CIPC_EINVAL);
  CHECK_EQUAL(cipc_segment_offer_until(segment, 0, 0), CIPC_EINVAL);
  CHECK(cipc_segment_participants(cipc_segment_descriptor(segment), &one, 1) < 0);
  cipc_segment_close(segment);
}

static size_t memory_of(const cipc_segment_t *segment) {
  struct stat status;
  CHECK(fstat(cipc_segment_descriptor(segment), &status) == 0);
  return (size_t)status.st_blocks * 512;
}

static void a_small_object_costs_one_page(void) {
  cipc_segment_t *segment = create();
  CHECK_EQUAL(memory_of(segment), PAGE);
  check_others(segment, 0);
  CHECK_EQUAL(memory_of(segment), PAGE);
  cipc_segment_close(segment);
  // The payload fills its page: the table's first one comes with the first participant.
  segment = create_of(PAGE - CIPC_SEGMENT_HEADER_SIZE);
  CHECK_EQUAL(memory_of(segment), 2 * PAGE);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 1);
  cipc_segment_close(segment);
}

static void inspecting_takes_no_part(void) {
  cipc_segment_t *segment = create();
  cipc_segment_info_t info;
  CHECK_EQUAL(cipc_segment_inspect(cipc_segment_descriptor(segment), &info), 0);
  CHECK(memcmp(&info.type, &words, sizeof words) == 0);
  CHECK(info.size == 8 && info.is_ready && info.table_high == 1 && info.table_epoch == 0);
  CHECK(info.pid_namespace == cipc_participant_namespace());
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 1);
  CHECK_EQUAL(memory_of(segment), PAGE);
  cipc_segment_close(segment);
}

// MARK: Forks

static void check_that_nobody_joined(void *segment) {
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 1);
  // Nor does it take its parent out.
  cipc_segment_close(segment);
}

static void a_forked_child_joins_when_it_asks_who_it_is(void) {
  cipc_segment_t *segment = create();
  guest_t *guest = child_shared(sizeof *guest);
  pid_t child = start_guest(guest);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 2);
  check_others(segment, 1);
  gate_set(&guest->leave, 1);
  CHECK_EQUAL(child_join(child), 0);
  check_others(segment, 0);
  CHECK_EQUAL(child_join(child_start(check_that_nobody_joined, segment)), 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 1);
  cipc_segment_close(segment);
}

static void execute_cat(void *argument) {
  const int *ends = argument;
  (void)close(ends[1]);
  (void)dup2(ends[0], STDIN_FILENO);
  (void)execlp("cat", "cat", (char *)NULL);
}

static void a_child_that_only_executes_is_not_there(void) {
  cipc_segment_t *segment = create();
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  pid_t child = child_start(execute_cat, ends);
  (void)close(ends[0]);
  (void)close(ends[1]);
  CHECK_EQUAL(child_join(child), 0);
  CHECK_EQUAL(header_of(segment)->table.high, 1);
  cipc_segment_close(segment);
}

static void join_and_close(void *argument) {
  cipc_segment_t *segment = argument;
  CHECK(cipc_participant_this_thread() != CIPC_PARTICIPANT_NOBODY);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 2);
  cipc_segment_t *second = open_again(segment);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 3);
  cipc_segment_close(segment);
  CHECK_EQUAL(count(second, CIPC_SEGMENT_ATTACHED), 2);
  CHECK_EQUAL(child_join(child_start(check_that_nobody_joined, create())), 0);
  cipc_segment_close(second);
}

static void a_child_leaves_for_itself(void) {
  cipc_segment_t *segment = create();
  CHECK_EQUAL(child_join(child_start(join_and_close, segment)), 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 1);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_DEAD), 0);
  cipc_segment_close(segment);
}

// MARK: The dead

static void the_dead_are_taken_out_and_their_places_used(void) {
  cipc_segment_t *segment = create();
  guest_t *guest = child_shared(sizeof *guest);
  child_kill(start_guest(guest));
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_DEAD), 1);
  check_others(segment, 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_DEAD), 0);
  CHECK_EQUAL(epoch_of(segment), 1);
  child_kill(start_guest(guest));
  CHECK_EQUAL(header_of(segment)->table.high, 2);
  cipc_segment_close(segment);
}

static void the_stopped_stay(void) {
  cipc_segment_t *segment = create();
  guest_t *guest = child_shared(sizeof *guest);
  pid_t child = start_guest(guest);
  CHECK(kill(child, SIGSTOP) == 0);
  int status = 0;
  CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
  cipc_participants_process_ended(child);
  check_others(segment, 1);
  CHECK_EQUAL(epoch_of(segment), 0);
  CHECK(kill(child, SIGCONT) == 0);
  gate_set(&guest->leave, 1);
  CHECK_EQUAL(child_join(child), 0);
  cipc_segment_close(segment);
}

// A number that belongs to another process by now.
static void another_start_time_is_dead(void) {
  cipc_segment_t *segment = create();
  cipc_segment_close(open_again(segment));
  entries_of(segment)[1] = cipc_participant_self() + (UINT64_C(1) << 22);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_DEAD), 1);
  cipc_participants_process_ended(getpid());
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_DEAD), 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 1);
  cipc_segment_close(segment);
}

static void a_thousand_and_twenty_five_take_part(void) {
  enum { GUESTS = CIPC_PARTICIPANTS_ENTRIES };
  cipc_segment_t *segment = create();
  guest_t *guest = child_shared(sizeof *guest);
  static pid_t children[GUESTS];
  for (int i = 0; i < GUESTS; i++) children[i] = start_guest(guest);
  // This process and 1023 of the 1024; the last one has no place and works all the same.
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), CIPC_PARTICIPANTS_ENTRIES);
  check_others(segment, GUESTS - 1);
  CHECK_EQUAL(memory_of(segment), 3 * PAGE);
  // The death of one without a place is told as well.
  uint32_t before = epoch_of(segment);
  CHECK(kill(children[GUESTS - 1], SIGKILL) == 0);
  CHECK_EQUAL(child_join(children[GUESTS - 1]), -SIGKILL);
  cipc_participants_process_ended(children[GUESTS - 1]);
  CHECK(epoch_of(segment) != before);
  // A process that comes when it is full takes the place of a dead one.
  child_kill(children[0]);
  children[0] = start_guest(guest);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), CIPC_PARTICIPANTS_ENTRIES);
  gate_set(&guest->leave, 1);
  for (int i = 0; i < GUESTS - 1; i++) CHECK_EQUAL(child_join(children[i]), 0);
  check_others(segment, 0);
  cipc_segment_close(segment);
}

static void join_without_memory(void *argument) {
  if (!child_forbid(SYS_fallocate, ENOSPC)) _exit(2);
  cipc_segment_t *segment = argument;
  CHECK(cipc_participant_self() != CIPC_PARTICIPANT_NOBODY);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 0);
  cipc_segment_t *second = open_again(segment);
  *(uint32_t *)cipc_segment_address(second) = 1;
  cipc_segment_close(second);
  cipc_segment_close(segment);
}

static void a_table_without_memory_is_no_failure(void) {
  cipc_segment_t *segment = create_of(PAGE - CIPC_SEGMENT_HEADER_SIZE);
  CHECK(fallocate(cipc_segment_descriptor(segment), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  PAGE, PAGE) == 0);
  header_of(segment)->table.high = 0;
  int status = child_join(child_start(join_without_memory, segment));
  if (status == 2) {
    check_skip("seccomp filters are unavailable");
  } else {
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(memory_of(segment), PAGE);
  }
  cipc_segment_close(segment);
}

// MARK: On the way

static void offer_and_die(void *argument) {
  uint32_t ticket = 0;
  CHECK_EQUAL(cipc_segment_offer(argument, &ticket), 0);
  (void)kill(getpid(), SIGKILL);
}

static void who_is_about_to_come_counts(void) {
  cipc_segment_t *segment = create();
  uint32_t ticket = 0;
  CHECK_EQUAL(cipc_segment_offer(segment, &ticket), 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_PENDING), 1);
  check_others(segment, 1);
  cipc_segment_t *second = open_again(segment);
  CHECK_EQUAL(cipc_segment_settle(second, ticket), 0);
  check_others(segment, 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 2);
  // Tickets of nothing and of others.
  for (uint32_t any = 0; any < 4; any++) CHECK_EQUAL(cipc_segment_settle(second, any), 0);
  CHECK_EQUAL(cipc_segment_settle(second, CIPC_PARTICIPANTS_NO_SLOT), 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 2);
  // The sender may have closed it meanwhile, but not died.
  CHECK_EQUAL(cipc_segment_offer(segment, &ticket), 0);
  cipc_segment_close(segment);
  check_others(second, 1);
  CHECK_EQUAL(cipc_segment_settle(second, ticket), 0);
  CHECK_EQUAL(child_join(child_start(offer_and_die, second)), -SIGKILL);
  check_others(second, 0);
  cipc_segment_close(second);
}

static void wait_to_be_killed(void *guest) {
  gate_set(&((guest_t *)guest)->here, 1);
  for (;;) (void)pause();
}

static void who_was_named_counts_until_it_dies(void) {
  cipc_segment_t *segment = create();
  guest_t *guest = child_shared(sizeof *guest);
  pid_t pid = child_start(wait_to_be_killed, guest);
  gate_wait(&guest->here, 1);
  cipc_participant_t identity;
  CHECK_EQUAL(cipc_participant_of(pid, &identity), 0);
  uint32_t ticket = 0, other = 0;
  CHECK_EQUAL(cipc_segment_offer(segment, &ticket), 0);
  CHECK_EQUAL(cipc_segment_offer(segment, &other), 0);
  CHECK_EQUAL(cipc_segment_offer_to(segment, ticket, identity), 0);
  CHECK_EQUAL(cipc_segment_offer_to(segment, ticket, identity), 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_PENDING), 2);
  check_others(segment, 2);
  // Tickets of nothing and of other offers, and no receiver.
  for (uint32_t any = 2; any < 6; any++) {
    CHECK_EQUAL(cipc_segment_offer_to(segment, any, identity), 0);
  }
  CHECK_EQUAL(cipc_segment_offer_to(segment, CIPC_PARTICIPANTS_NO_SLOT, identity), 0);
  CHECK_EQUAL(cipc_segment_offer_to(segment, other, CIPC_PARTICIPANT_NOBODY), 0);
  check_others(segment, 2);
  CHECK_EQUAL(cipc_segment_settle(segment, other), 0);
  check_others(segment, 1);
  child_kill(pid);
  check_others(segment, 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_PENDING), 0);
  // One that came says so itself.
  CHECK_EQUAL(cipc_segment_offer(segment, &ticket), 0);
  CHECK_EQUAL(cipc_segment_offer_to(segment, ticket, cipc_participant_self()), 0);
  check_others(segment, 1);
  CHECK_EQUAL(cipc_segment_settle(segment, ticket), 0);
  check_others(segment, 0);
  cipc_segment_close(segment);
}

static int offer_with_pipe(cipc_segment_t *segment, uint32_t *ticket) {
  int ends[2];
  CHECK_EQUAL(cipc_process_pipe(ends), 0);
  CHECK_EQUAL(cipc_segment_offer(segment, ticket), 0);
  CHECK_EQUAL(cipc_segment_offer_until(segment, *ticket, ends[0]), 0);
  return ends[1];
}

static void what_was_lost_on_the_way_counts_no_more(void) {
  cipc_segment_t *segment = create();
  uint32_t ticket = 0, second = 0;
  int end = offer_with_pipe(segment, &ticket);
  int other = offer_with_pipe(segment, &second);
  check_others(segment, 2);
  CHECK(close(end) == 0);
  check_others(segment, 1);
  check_others(segment, 1);
  // The receiver has settled it, and the entry is another's, when the pipe ends.
  CHECK_EQUAL(cipc_segment_settle(segment, second), 0);
  uint32_t third = 0;
  int third_end = offer_with_pipe(segment, &third);
  CHECK(third == ticket || third == second);
  uint32_t fourth = 0;
  int fourth_end = offer_with_pipe(segment, &fourth);
  CHECK(close(other) == 0);
  check_others(segment, 2);
  CHECK(close(third_end) == 0);
  check_others(segment, 1);
  // One that was named is not ended by the pipe.
  cipc_participant_t parent;
  CHECK_EQUAL(cipc_participant_of(getppid(), &parent), 0);
  CHECK_EQUAL(cipc_segment_offer_to(segment, fourth, parent), 0);
  CHECK(close(fourth_end) == 0);
  check_others(segment, 1);
  CHECK_EQUAL(cipc_segment_settle(segment, fourth), 0);
  // Closing the segment closes what is left.
  CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
  end = offer_with_pipe(segment, &ticket);
  cipc_segment_close(segment);
  CHECK(write(end, "", 1) == -1 && errno == EPIPE);
  CHECK(close(end) == 0);
}

// MARK: The epoch

// Until a thread was asleep on the epoch: only then is it proven that waiters sleep on it.
static void wake_by_epoch(const cipc_segment_t *segment) {
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  while (cipc_futex_wake(&header_of(segment)->table.epoch, 1) == 0) {
    CHECK(cipc_clock_now() < deadline && sched_yield() == 0);
  }
}

// Slices so long that no look can come of their end.
static void sleep_until_told(void *argument) {
  cipc_wait_slice = HOUR;
  cipc_wait_t wait = {.word = cipc_segment_address(argument), .expected = 0};
  int status;
  do {
    status = cipc_wait_sleep(&wait, CIPC_NO_DEADLINE);
  } while (status == 0);
  CHECK_EQUAL(status, CIPC_WAIT_LOOK);
}

static void be_killed(guest_t *guest) {
  be_there(guest);
  _exit(0);
}

static void a_parent_that_waits_for_the_dead_wakes_the_sleepers(void) {
  cipc_segment_t *segment = create();
  guest_t *guest = child_shared(sizeof *guest);
  cipc_process_t *process = NULL;
  int connection = -1;
  int status = cipc_process_fork(&process, &connection, NULL);
  if (status == CIPC_PROCESS_IN_CHILD) be_killed(guest);
  CHECK_EQUAL(status, 0);
  gate_wait(&guest->here, 1);
  pid_t sleeper = child_start(sleep_until_told, segment);
  wake_by_epoch(segment);
  CHECK_EQUAL(cipc_process_signal(process, SIGKILL), 0);
  cipc_process_status_t ended;
  CHECK_EQUAL(cipc_process_wait(process, CIPC_NO_DEADLINE, &ended), 0);
  CHECK(ended.end == CIPC_PROCESS_SIGNALLED && ended.value == SIGKILL);
  CHECK_EQUAL(child_join(sleeper), 0);
  CHECK_EQUAL(epoch_of(segment), 1);
  CHECK_EQUAL(cipc_segment_others(segment), 0);
  cipc_process_release(process);
  (void)close(connection);
  cipc_segment_close(segment);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int calls[4];

static void note(void *context, int status) {
  (void)pthread_mutex_lock(&lock);
  CHECK(status == 0 || status == CIPC_WAIT_LOOK);
  calls[(uintptr_t)context] = status == CIPC_WAIT_LOOK ? 2 : 1;
  (void)pthread_cond_broadcast(&changed);
  (void)pthread_mutex_unlock(&lock);
}

static void begin(const uint32_t *word, uintptr_t number, cipc_poller_ticket_t *ticket) {
  cipc_wait_t wait = {.word = word, .expected = 0};
  CHECK_EQUAL(cipc_wait_start(&wait, CIPC_NO_DEADLINE, note, (void *)number, ticket), 0);
}

static void start_to_wait(void *unused) {
  (void)unused;
  cipc_wait_slice = HOUR;
  cipc_segment_t *segment = create();
  cipc_segment_t *other = create();
  guest_t *guest = child_shared(sizeof *guest);
  pid_t child = start_guest(guest);
  // Out of one of the two before it dies.
  entries_of(other)[1] = CIPC_PARTICIPANT_NOBODY;
  uint32_t *first = cipc_segment_address(segment);
  cipc_poller_ticket_t tickets[4];
  begin(&first[0], 0, &tickets[0]);
  begin(&first[0], 1, &tickets[1]);
  begin(&first[1], 2, &tickets[2]);
  begin(cipc_segment_address(other), 3, &tickets[3]);
  CHECK(kill(child, SIGKILL) == 0);
  CHECK_EQUAL(child_join(child), -SIGKILL);
  cipc_participants_process_ended(child);
  (void)pthread_mutex_lock(&lock);
  while (calls[0] == 0 || calls[1] == 0 || calls[2] == 0) (void)pthread_cond_wait(&changed, &lock);
  CHECK_EQUAL(calls[0], 2);
  CHECK_EQUAL(calls[1], 1);
  CHECK_EQUAL(calls[2], 2);
  (void)pthread_mutex_unlock(&lock);
  CHECK_EQUAL(cipc_wait_cancel(tickets[3]), 0);
  cipc_segment_close(segment);
  cipc_segment_close(other);
}

static void waits_without_a_thread_are_told_too(void) {
  CHECK_EQUAL(child_join(child_start(start_to_wait, NULL)), 0);
}

static void whoever_waits_for_a_slice_finds_the_dead(void) {
  cipc_segment_t *segment = create();
  guest_t *guest = child_shared(sizeof *guest);
  child_kill(start_guest(guest));
  cipc_wait_t wait = {.word = cipc_segment_address(segment), .expected = 0};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), CIPC_WAIT_LOOK);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_DEAD), 0);
  CHECK_EQUAL(epoch_of(segment), 1);
  cipc_segment_close(segment);
}

// MARK: Anything may stand there

static void any_bits_in_the_table_do_no_harm(void) {
  uint64_t bits = 88172645463325252u;
  cipc_segment_t *segment = create();
  for (int round = 0; round < 20; round++) {
    cipc_segment_t *second = open_again(segment);
    for (uint32_t i = 0; i < CIPC_PARTICIPANTS_ENTRIES; i++) {
      bits ^= bits << 13;
      bits ^= bits >> 7;
      bits ^= bits << 17;
      entries_of(segment)[i] = round % 2 == 0 ? bits : bits & UINT64_C(0x80000000003fffff);
    }
    header_of(segment)->table.high = round % 3 == 0 ? UINT32_MAX : (uint32_t)bits;
    header_of(segment)->table.epoch = UINT32_MAX;
    (void)count(segment, CIPC_SEGMENT_ATTACHED);
    CHECK_EQUAL(cipc_segment_settle(segment, (uint32_t)bits), 0);
    CHECK(cipc_segment_others(segment) >= 0);
    uint32_t ticket;
    CHECK_EQUAL(cipc_segment_offer(segment, &ticket), 0);
    cipc_segment_close(second);
  }
  cipc_segment_close(segment);
}

// MARK: Threads

static uint32_t stop;

static void *open_and_close(void *segment) {
  while (__atomic_load_n(&stop, __ATOMIC_SEQ_CST) == 0) cipc_segment_close(open_again(segment));
  return NULL;
}

static void *sleep_and_wake(void *segment) {
  uint32_t *word = cipc_segment_address(segment);
  cipc_wait_t wait = {.word = word, .expected = 0};
  while (__atomic_load_n(&stop, __ATOMIC_SEQ_CST) == 0) {
    int status = cipc_wait_sleep(&wait, cipc_clock_deadline(100000));
    CHECK(status >= 0 || status == CIPC_ETIMEDOUT);
  }
  return NULL;
}

static void threads_open_close_sleep_and_fork(void) {
  cipc_segment_t *segment = create();
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) {
    void *(*body)(void *) = i % 2 == 0 ? open_and_close : sleep_and_wake;
    CHECK_EQUAL(pthread_create(&threads[i], NULL, body, segment), 0);
  }
  guest_t *guest = child_shared(sizeof *guest);
  for (int i = 0; i < 20; i++) {
    pid_t child = start_guest(guest);
    child_kill(child);
    cipc_participants_process_ended(child);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 4; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
  check_others(segment, 0);
  CHECK_EQUAL(count(segment, CIPC_SEGMENT_ATTACHED), 1);
  cipc_segment_close(segment);
}

int main(void) {
  TEST(who_opens_is_in_the_table_until_it_closes);
  TEST(plain_bytes_have_no_table);
  TEST(a_small_object_costs_one_page);
  TEST(inspecting_takes_no_part);
  TEST(a_forked_child_joins_when_it_asks_who_it_is);
  TEST(a_child_that_only_executes_is_not_there);
  TEST(a_child_leaves_for_itself);
  TEST(the_dead_are_taken_out_and_their_places_used);
  TEST(the_stopped_stay);
  TEST(another_start_time_is_dead);
  TEST(a_thousand_and_twenty_five_take_part);
  TEST(a_table_without_memory_is_no_failure);
  TEST(who_is_about_to_come_counts);
  TEST(who_was_named_counts_until_it_dies);
  TEST(what_was_lost_on_the_way_counts_no_more);
  TEST(a_parent_that_waits_for_the_dead_wakes_the_sleepers);
  TEST(waits_without_a_thread_are_told_too);
  TEST(whoever_waits_for_a_slice_finds_the_dead);
  TEST(any_bits_in_the_table_do_no_harm);
  TEST(threads_open_close_sleep_and_fork);
  return check_finish();
}
