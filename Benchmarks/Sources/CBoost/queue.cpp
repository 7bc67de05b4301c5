/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include <boost/interprocess/ipc/message_queue.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "boost_queue.h"
#include "records.h"

namespace {

// Records take 64 KiB then, as much as a ring for one producer and one consumer has.
constexpr std::size_t capacity = 1024;

struct End {
  boost::interprocess::message_queue queue;
  std::uint64_t number = 0;

  explicit End(const char *name)
      : queue(boost::interprocess::create_only, name, capacity, FLOOR_RECORD_SIZE) {}
};

[[noreturn]] void fail(const std::exception &error) {
  std::fprintf(stderr, "Boost: %s\n", error.what());
  std::exit(2);
}

void send(void *context, std::size_t count) try {
  End &end = *static_cast<End *>(context);
  std::uint64_t record[FLOOR_RECORD_WORDS];
  for (std::size_t i = 0; i < count; i++) {
    floor_record_write(record, end.number++);
    end.queue.send(record, sizeof record, 0);
  }
} catch (const std::exception &error) {
  fail(error);
}

void receive(void *context, std::size_t count) try {
  End &end = *static_cast<End *>(context);
  std::uint64_t record[FLOOR_RECORD_WORDS];
  for (std::size_t i = 0; i < count; i++) {
    boost::interprocess::message_queue::size_type length;
    unsigned priority;
    end.queue.receive(record, sizeof record, length, priority);
    floor_record_read(record, end.number++);
  }
} catch (const std::exception &error) {
  fail(error);
}

void finish(void *context) { delete static_cast<End *>(context); }

}  // namespace

floor_pair_t *boost_queue_create(int core) try {
  const std::string name = "cipc-bench-" + std::to_string(getpid());
  boost::interprocess::message_queue::remove(name.c_str());
  End *end = new End(name.c_str());
  // The peer inherits the mapping.
  boost::interprocess::message_queue::remove(name.c_str());
  return floor_pair_create(core, floor_jobs_t{send, receive, 0, finish}, end);
} catch (const std::exception &error) {
  fail(error);
}
