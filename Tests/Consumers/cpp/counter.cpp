/* SPDX-License-Identifier: Apache-2.0 */
// A C++ program on libcipc: what C++ makes of the headers (inline functions, initialisers, enums),
// and the errors that a checked segment gives.
#include <cipc.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

namespace {

int checked(int status) {
  if (status < 0) throw std::runtime_error(cipc_status_name(status));
  return status;
}

struct Close {
  void operator()(cipc_segment_t *segment) const { cipc_segment_close(segment); }
};
using Segment = std::unique_ptr<cipc_segment_t, Close>;

struct Point {
  double x, y;
};

cipc_segment_type_t type_of_point() {
  cipc_segment_type_t type{};
  type.kind = CIPC_KIND_USER;
  type.version = 1;
  type.element_size = type.stride = cipc_cell_footprint(sizeof(Point));
  type.alignment = 64;
  type.count = 1;
  type.fingerprint = 42;
  return type;
}

Segment make(const cipc_segment_type_t &type) {
  cipc_segment_options_t options{};
  options.type = &type;
  cipc_segment_t *segment = nullptr;
  checked(cipc_segment_create(&segment, type.stride, &options));
  Segment owned{segment};
  checked(cipc_segment_publish(segment, nullptr));
  return owned;
}

void require(bool condition, const char *what) {
  if (!condition) throw std::runtime_error(what);
}

void run() {
  auto type = type_of_point();
  auto segment = make(type);
  auto *cell = static_cast<cipc_cell_t *>(cipc_segment_address(segment.get()));
  Point point{1, 2};
  checked(cipc_cell_init(cell, &point, sizeof point));

  pid_t child = fork();
  if (child == 0) {
    Point mine{};
    int status = cipc_cell_begin(cell, &mine, sizeof mine, cipc_clock_deadline(INT64_C(1000000000)));
    mine.x += 10;
    if (status == 0) status = cipc_cell_commit(cell, &mine, sizeof mine);
    _exit(status == 0 ? 0 : 1);
  }
  int ended = 0;
  require(waitpid(child, &ended, 0) == child && ended == 0, "child");
  checked(cipc_cell_read(cell, &point, sizeof point, CIPC_NO_DEADLINE));
  require(point.x == 11 && point.y == 2, "cell");

  std::uint32_t word = 40;
  cipc_atomic_add(&word, sizeof word, 2);
  require(cipc_atomic_load(&word, sizeof word) == 42, "atomic");
  std::uint64_t expected = 42;
  require(cipc_atomic_compare_exchange(&word, sizeof word, &expected, 1) != 0, "exchange");

  // The same bytes as another type of element.
  auto other = type;
  other.fingerprint = 43;
  cipc_segment_options_t options{};
  options.type = &other;
  cipc_segment_t *wrong = nullptr;
  int descriptor = dup(cipc_segment_descriptor(segment.get()));
  require(cipc_segment_open(&wrong, descriptor, &options) == CIPC_ESEGMENTTYPE, "type");
  close(descriptor);
  std::printf("(%g, %g)\n", point.x, point.y);
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "failed: %s\n", error.what());
    return 1;
  }
}
