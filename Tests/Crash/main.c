/* SPDX-License-Identifier: Apache-2.0 */
// Options, the list of operations, and the workers.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"

#define TABLES_MAXIMUM 64
// How often a set-up is repeated in which the victim's slice ended before it was woken.
#define SETUPS_MAXIMUM 30

static struct {
  const struct operation *table;
  size_t count;
} tables[TABLES_MAXIMUM];
static size_t table_count;

static struct {
  const char *operation;
  const char *state;
  long from, to, stride, points;
  int jobs;
  double seconds;
  unsigned seed;
  bool jump, stop;
} options = {.to = POINTS_MAXIMUM, .stride = 1, .jump = true};

// The kill points of a unit, taken by whichever worker is free.
static struct plan {
  long next;
  long count;
  int64_t deadline;
  int32_t points[POINTS_MAXIMUM];
} * plan;

void crash_register(const struct operation *table, size_t count) {
  if (table_count == TABLES_MAXIMUM) abort();
  tables[table_count].table = table;
  tables[table_count++].count = count;
}

static void *shared_memory(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("crash: mmap");
    exit(2);
  }
  return memory;
}

static enum reached kill_at(struct crew *crew, struct unit *unit, long k, bool dry) {
  bool jump = options.jump && !dry;
  for (int i = 0; i < SETUPS_MAXIMUM; i++) {
    enum reached reached =
        crew != NULL ? trial_run(crew, unit, k, dry, jump) : start_trial(unit, k, dry);
    if (reached == MISSED) {
      (void)__atomic_add_fetch(&unit->missed, 1, __ATOMIC_RELAXED);
    } else if (reached == UNLIKE) {
      (void)__atomic_add_fetch(&unit->unlike, 1, __ATOMIC_RELAXED);
      jump = false;
    } else {
      return reached;
    }
  }
  // Once may be a slow machine; every time is a wake-up that does not come.
  if (!__atomic_exchange_n(&unit->violated, 1, __ATOMIC_SEQ_CST)) {
    unit->violated_at = dry ? 0 : k;
    (void)snprintf(unit->violation, sizeof unit->violation,
                   "the victim did not sleep or was not woken when it should have been, %d times",
                   SETUPS_MAXIMUM);
  }
  return BROKEN;
}

static void work(struct unit *unit, bool dry) {
  // Starts have processes of their own.
  bool is_start = unit->operation->start != NULL;
  struct crew *crew = is_start ? NULL : crew_make(unit->operation, unit->state);
  if (dry) {
    (void)kill_at(crew, unit, POINTS_MAXIMUM, true);
  } else {
    for (;;) {
      long index = __atomic_fetch_add(&plan->next, 1, __ATOMIC_RELAXED);
      if (index >= plan->count || __atomic_load_n(&unit->violated, __ATOMIC_RELAXED)) {
        // A run may be a few instructions longer than the dry one (the digits of a pid).
        bool last = index == plan->count && options.stride == 1 && options.points == 0 &&
                    options.to == POINTS_MAXIMUM;
        for (long k = unit->points - is_start; last && !unit->violated && k < POINTS_MAXIMUM - 1;
             k++) {
          if (kill_at(crew, unit, k, false) != REACHED) break;
        }
        break;
      }
      if (plan->deadline != 0 && cipc_clock_now() > plan->deadline) {
        unit->cut_short = true;
        break;
      }
      (void)kill_at(crew, unit, plan->points[index], false);
    }
  }
  if (crew != NULL) crew_dismiss(crew);
}

static void spread(struct unit *unit, bool dry, int jobs) {
  pid_t workers[64];
  (void)fflush(stdout);
  for (int i = 0; i < jobs; i++) {
    workers[i] = fork();
    if (workers[i] == 0) {
      work(unit, dry);
      _exit(0);
    }
  }
  for (int i = 0; i < jobs; i++) {
    int status;
    if (workers[i] < 0 || waitpid(workers[i], &status, 0) < 0 || status != 0) {
      fprintf(stderr, "crash: a worker failed at %s %s\n", unit->operation->name,
              state_name(unit->state));
      exit(2);
    }
    segments_clear(workers[i]);
  }
}

static bool is_prime(long number) {
  for (long i = 2; i * i <= number; i++) {
    if (number % i == 0) return false;
  }
  return number > 1;
}

// All points, or every so many from a random one on, and the ends in any case.
static bool make_plan(const struct unit *unit) {
  long last = unit->points - 1;
  bool whole = options.from == 0 && options.to == POINTS_MAXIMUM;
  long stride = options.stride;
  if (whole && unit->operation->coarse > stride && unit->state != CALLS && unit->state != BLOCKED) {
    stride = unit->operation->coarse;
  }
  if (options.points > 0 && last > options.points) {
    stride = last / options.points;
    while (!is_prime(stride)) stride++;
  }
  long offset = stride > 1 ? rand_r(&options.seed) % stride : 0;
  plan->next = 0;
  plan->count = 0;
  plan->deadline = 0;
  for (long k = 0; k < last; k++) {
    if (k < options.from || k > options.to) continue;
    if (k == options.from || (k - options.from) % stride == offset) {
      plan->points[plan->count++] = (int32_t)k;
    }
  }
  return stride == 1 && whole;
}

static bool chosen(const struct operation *operation, enum state state) {
  if ((operation->states & IN(state)) == 0) return false;
  if (options.state != NULL && strcmp(options.state, state_name(state)) != 0) return false;
  if (options.operation == NULL || strcmp(options.operation, operation->name) == 0) return true;
  // A noun and its dot stand for all of its operations.
  size_t length = strlen(options.operation);
  return options.operation[length - 1] == '.' &&
         strncmp(options.operation, operation->name, length) == 0;
}

static long for_each(void (*act)(const struct operation *, enum state)) {
  long count = 0;
  for (size_t t = 0; t < table_count; t++) {
    for (size_t i = 0; i < tables[t].count; i++) {
      for (enum state state = 0; state < STATE_COUNT; state++) {
        if (!chosen(&tables[t].table[i], state)) continue;
        count++;
        if (act != NULL) act(&tables[t].table[i], state);
      }
    }
  }
  return count;
}

static void list_one(const struct operation *operation, enum state state) {
  printf("%-26s %s\n", operation->name, state_name(state));
}

static struct unit *unit;
static long passed, failed, killed, left;
static int64_t ends_at;

static void sweep_one(const struct operation *operation, enum state state) {
  if (options.stop && failed > 0) return;
  int64_t begin = cipc_clock_now();
  // Zero bytes again, without touching those that were not used.
  (void)munmap(unit, sizeof *unit);
  unit = shared_memory(sizeof *unit);
  unit->operation = operation;
  unit->state = state;
  spread(unit, true, 1);
  bool complete = false;
  if (!unit->violated) {
    complete = make_plan(unit);
    if (ends_at != 0) {
      int64_t now = cipc_clock_now();
      plan->deadline = now + (ends_at > now ? (ends_at - now) / left : 0) + 1;
    }
    // Only the end, which the dry run has tried, is asked for, or more.
    spread(unit, false, options.jobs);
  }
  complete = complete && !unit->cut_short && !unit->violated;
  report_judge(unit, complete);
  report_unit(unit, (double)(cipc_clock_now() - begin) / 1e9, complete);
  for (long k = 0; k < POINTS_MAXIMUM; k++) killed += unit->outcomes[k].tried;
  left--;
  if (unit->violated) {
    failed++;
  } else {
    passed++;
  }
}

static _Noreturn void usage(int status) {
  printf(
      "crash [--list] [--operation NAME | --operation NOUN.] [--state STATE] [--from K] [--to K]\n"
      "      [--stride N] [--points N] [--seconds N] [--seed N] [--jobs N] [--no-jump] [--stop]\n\n"
      "Kills a victim at every instruction of each operation and has survivors look at what is\n"
      "left. Exits with 0 when every invariant held, 1 when one did not, 2 when it could not "
      "try.\n\n"
      "  --points N   about N kill points per operation and state, a prime stride apart\n"
      "  --seconds N  ends after about N seconds, trying fewer points\n"
      "  --stop       stops at the first operation that fails\n"
      "  --no-jump    steps all the way instead of running to a breakpoint first\n\n");
#define STATE_USAGE(name, text, what) printf("  %-13s %s\n", text, what);
  STATE_LIST(STATE_USAGE)
#undef STATE_USAGE
  exit(status);
}

int main(int count, char **arguments) {
  static const struct option known[] = {{"operation", required_argument, NULL, 'o'},
                                        {"state", required_argument, NULL, 's'},
                                        {"from", required_argument, NULL, 'f'},
                                        {"to", required_argument, NULL, 't'},
                                        {"stride", required_argument, NULL, 'r'},
                                        {"points", required_argument, NULL, 'p'},
                                        {"seconds", required_argument, NULL, 'b'},
                                        {"seed", required_argument, NULL, 'e'},
                                        {"jobs", required_argument, NULL, 'j'},
                                        {"no-jump", no_argument, NULL, 'n'},
                                        {"stop", no_argument, NULL, 'x'},
                                        {"list", no_argument, NULL, 'l'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  start_bootstrap(count, arguments);
  bool list = false;
  options.jobs = (int)sysconf(_SC_NPROCESSORS_ONLN);
  options.seed = (unsigned)cipc_clock_now();
  for (int option; (option = getopt_long(count, arguments, "", known, NULL)) != -1;) {
    switch (option) {
      case 'o':
        options.operation = optarg;
        break;
      case 's':
        options.state = optarg;
        break;
      case 'f':
        options.from = atol(optarg);
        break;
      case 't':
        options.to = atol(optarg);
        break;
      case 'r':
        options.stride = atol(optarg);
        break;
      case 'p':
        options.points = atol(optarg);
        break;
      case 'b':
        options.seconds = atof(optarg);
        break;
      case 'e':
        options.seed = (unsigned)strtoul(optarg, NULL, 10);
        break;
      case 'j':
        options.jobs = atoi(optarg);
        break;
      case 'n':
        options.jump = false;
        break;
      case 'x':
        options.stop = true;
        break;
      case 'l':
        list = true;
        break;
      case 'h':
        usage(0);
      default:
        usage(2);
    }
  }
  if (optind != count || options.stride < 1 || options.jobs < 1 || options.points < 0) usage(2);
  if (options.jobs > 64) options.jobs = 64;
  if (list) {
    (void)for_each(list_one);
    return 0;
  }
  plan = shared_memory(sizeof *plan);
  unit = shared_memory(sizeof *unit);
  private_shm();
  left = for_each(NULL);
  if (left == 0) {
    fprintf(stderr, "crash: no such operation in such a state (--list shows them)\n");
    return 2;
  }
  int64_t begin = cipc_clock_now();
  if (options.seconds > 0) ends_at = begin + (int64_t)(options.seconds * 1e9);
  printf("seed %u\n", options.seed);
  if (!shm_is_private) printf("no /dev/shm of its own: what has no name there is not looked for\n");
  report_heading();
  (void)for_each(sweep_one);
  printf("%ld kill points in %.1f s\n", killed, (double)(cipc_clock_now() - begin) / 1e9);
  printf("%ld passed, %ld failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
