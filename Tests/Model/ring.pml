/* SPDX-License-Identifier: Apache-2.0 */
/* How the users of a ring wait for each other (layout.h, eventcount.h, backoff.c): the commit, the
   mark, the second look, the sleep, the wake-up and the rescue. Any process can be killed before
   any of its steps.

   Memory is that of x86 (TSO): a store waits in its processor's buffer, while that goes on to load
   what others have stored, until it is written some time later; a locked instruction, a fence and a
   system call wait until it is. On processors with weaker memory the same two orders are what
   release and acquire do not give.

     LOCKS        each side has a robust mutex; without it one process is a side alone
     PRODUCERS, CONSUMERS, PUTS (by each producer), CAPACITY (records), KILLS (at most)
     NO_FENCE     broken: the commit's store is not sequentially consistent (beside a mutex the
                  unlocking makes up for it here)
     NO_LOOK      broken: a waiter that has marked that it will sleep does not look again
     NO_RESCUE    broken: no waiter looks for the dead when a slice ends

   Checked: when nothing happens any more, no process sleeps for what is there, and all that was
   committed has been taken, once, if a consumer is alive. */

#ifndef PRODUCERS
#define PRODUCERS 1
#endif
#ifndef CONSUMERS
#define CONSUMERS 1
#endif
#ifndef PUTS
#define PUTS 2
#endif
#ifndef CAPACITY
#define CAPACITY 1
#endif
#ifndef KILLS
#define KILLS 1
#endif

#define USERS (PRODUCERS + CONSUMERS)
#define NOBODY 255
#define NONE 255
#define MARK 1
#define STEP 2
#define ALL 9

/* Shared memory. The records are numbered from 0: what lies at a number is the number. */
byte tail, head;
byte items, room;
/* The mutexes: the owner; whether the last owner died. */
byte producers = NOBODY, consumers = NOBODY;
bool producer_died, consumer_died;

/* Each user's store buffer: of a producer a tail, of a consumer a head. */
byte buffer[USERS] = NONE;

/* The kernel's: the processes that sleep, on the word of their side, that are dead, and that have ended. */
bool asleep[USERS], killed[USERS], dead[USERS], done[USERS];
/* A slice of its wait ends after a death: at least one, in truth one after the other. */
bool slice_ends[USERS];

/* How often each record was taken. */
byte taken[PRODUCERS * PUTS];

#define is_producer(user) (user < PRODUCERS)
#define fence(user) (buffer[user] == NONE)

/* Stores that have waited long enough. */
active [USERS] proctype processor() {
  byte user = _pid;
end:
  do
  :: d_step {
       buffer[user] != NONE ->
       if
       :: is_producer(user) -> tail = buffer[user]
       :: else -> head = buffer[user]
       fi;
       buffer[user] = NONE
     }
  od
}

/* futex_wake: any `count` of a side's sleepers; `found` says how many there were. The kernel
   finishes it before the caller can die. */
inline futex_wake(first, beyond, count) {
  atomic {
    found = 0;
    do
    :: found < count && asleep[first] -> asleep[first] = false; found++
    :: found < count && asleep[beyond - 1] -> asleep[beyond - 1] = false; found++
    :: else -> break
    od
  }
}

/* cipc_eventcount_wake, if there is a reason. */
inline wake(is_due, word, first, beyond, count) {
  if
  :: is_due && (word & MARK) ->
     d_step { fence(me) -> word = word + STEP; seen = word };
     futex_wake(first, beyond, count);
     if
     :: found < count ->
        if
        :: atomic {
             fence(me) && word == seen -> word = (seen + STEP) & ~MARK; seen = 0; found = 0
           };
           futex_wake(first, beyond, ALL)
        :: atomic { fence(me) && word != seen -> seen = 0 }
        fi
     :: else
     fi;
     atomic { seen = 0; found = 0 }
  :: else
  fi
}

/* cipc_mutex_lock, with what the next owner does for the dead one; cipc_mutex_unlock. */
inline enter(mutex, died, word, first, beyond) {
#ifdef LOCKS
  d_step { mutex == NOBODY && fence(me) -> mutex = me };
  if
  :: died -> wake(true, word, first, beyond, ALL); died = false
  :: else
  fi
#else
  skip
#endif
}
inline leave(mutex) {
#ifdef LOCKS
  d_step { fence(me) -> mutex = NOBODY }
#else
  skip
#endif
}

/* cipc_eventcount_mark, a second look at `is_there`, and the sleep; then, when a slice has ended,
   whether no process is left to wait for. */
inline mark(word) {
  d_step { fence(me) -> word = word | MARK; expected = word }
}
inline sleep(word) {
  d_step {
    fence(me) ->
    if
    :: word == expected -> asleep[me] = true
    :: else
    fi;
    expected = 0
  };
  if
  :: !asleep[me]
#ifndef NO_RESCUE
  :: asleep[me] && slice_ends[me] -> d_step { asleep[me] = false; slice_ends[me] = false }
#endif
  fi
}

/* What becomes of a process that is killed: its stores are written, its mutex is free. */
inline die() {
  d_step {
    fence(me) ->
    dead[me] = true;
    asleep[me] = false;
    if
    :: producers == me -> producers = NOBODY; producer_died = true
    :: consumers == me -> consumers = NOBODY; consumer_died = true
    :: else
    fi;
    for (found : 0 .. USERS - 1) { slice_ends[found] = true }
    found = 0
  }
}

/* Whether no process is left that could answer. Each process here uses one side, and made nothing, so that
   no answer can come from itself. */
inline is_alone(first, beyond) {
  d_step {
    alone = true;
    for (found : first .. beyond - 1) { alone = alone && dead[found] }
    found = 0
  }
}

/* What follows the store that commits. */
inline order() {
#ifdef NO_FENCE
  skip
#else
  fence(me)
#endif
}

/* cipc_ring_put: `is_done` if there was room. Its own store it sees at once. */
inline try_to_put() {
  enter(producers, producer_died, items, PRODUCERS, USERS);
  d_step {
    if
    :: buffer[me] != NONE -> at = buffer[me]
    :: else -> at = tail
    fi;
    is_done = at - head < CAPACITY;
    if
    :: is_done -> buffer[me] = at + 1
    :: else
    fi;
    at = 0
  };
  order();
  leave(producers);
  wake(is_done, items, PRODUCERS, USERS, 1)
}

proctype producer(byte me) {
  byte puts, at, seen, found, expected;
  bool is_done, alone;
  {
    do
    :: puts < PUTS ->
       try_to_put();
       if
       :: !is_done ->
          mark(room);
#ifndef NO_LOOK
          try_to_put();
#endif
          if
          :: !is_done ->
             sleep(room);
             is_alone(PRODUCERS, USERS);
             if
             :: alone -> break
             :: else
             fi
          :: else -> expected = 0
          fi
       :: else
       fi;
       atomic { puts = puts + is_done; is_done = false }
    :: else -> break
    od;
    done[me] = true
  } unless { killed[me] -> die() }
}

/* cipc_ring_get. */
inline try_to_get() {
  enter(consumers, consumer_died, room, 0, PRODUCERS);
  d_step {
    if
    :: buffer[me] != NONE -> at = buffer[me]
    :: else -> at = head
    fi;
    is_done = at < tail;
    if
    :: is_done -> buffer[me] = at + 1; taken[at] = taken[at] + 1; assert(taken[at] == 1)
    :: else
    fi;
    at = 0
  };
  order();
  leave(consumers);
  wake(is_done, room, 0, PRODUCERS, ALL)
}

proctype consumer(byte me) {
  byte at, seen, found, expected;
  bool is_done, alone;
  {
    do
    :: try_to_get();
       if
       :: !is_done ->
          mark(items);
#ifndef NO_LOOK
          try_to_get();
#endif
          if
          :: !is_done -> sleep(items)
          :: else -> expected = 0
          fi
       :: else
       fi;
       is_done = false
    od;
  } unless { killed[me] -> die() }
}

proctype killer() {
  byte kills, user;
  do
  :: kills < KILLS ->
     atomic { select(user : 0 .. USERS - 1); killed[user] = true; kills++; user = 0 }
  :: break
  od
}

/* When nothing can happen any more. */
proctype judge() {
  byte user;
  bool is_anyone;
end:
  timeout;
  d_step {
    for (user : 0 .. USERS - 1) {
      assert(dead[user] || asleep[user] || done[user]);
      assert(dead[user] || !is_producer(user) || !asleep[user] || tail - head == CAPACITY);
      assert(dead[user] || is_producer(user) || !asleep[user] || tail == head);
      is_anyone = is_anyone || (!is_producer(user) && !dead[user])
    };
    assert(!is_anyone || head == tail);
    for (user : 0 .. PRODUCERS * PUTS - 1) { assert(taken[user] == (user < head)) }
  }
}

init {
  byte user;
  atomic {
    for (user : 0 .. USERS - 1) {
      if
      :: is_producer(user) -> run producer(user)
      :: else -> run consumer(user)
      fi
    };
    run killer();
    run judge()
  }
}
