/* Prepare, decision, commit hints and collection, as docs/protocol.md describes them, small enough to be searched whole.
 *
 *   spin -a publish.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * .ci/model does that for several bounds; then with each of the mutations below (-DMUTATE_...), which must all be refuted, and with
 * each of the states below (-DREACH_...), which must all be found.
 *
 * The world is one process that picks, again and again, any step that is possible. A message on its way is a step that stays
 * possible, so it comes late, after anything else, or never; a process that is dead or frozen is one whose steps are not picked.
 * Raft is taken as given: the leader applies one entry at a time, and reads are linearizable. There are
 *
 *   RUNS     writes of one blob each, every one of a gateway of its own, all to key 0;
 *   VOLUMES  replicas of every blob, of which QUORUM must be durable;
 *   EPOCHS   the last epoch; the horizon follows LAG behind;
 *   CRASHES  of volumes, and CHANGES: deletes of a key, and copies of key 0 to key 1.
 *
 * After every step:
 *   I3  A run is published at most once.
 *   I6  A key points only to a run that is alive, and that never died; references count the keys.
 *   I7  A run that a key points to is durable on a write quorum.
 *
 * Volumes here accept prepares of any epoch at any time: refusing those below the horizon is for the collector to come to an end, and
 * neither I6 nor I7 rests on it. Not here: loss of a disk, repair, moves of shards.
 */

#ifndef RUNS
#define RUNS 2
#endif
#ifndef VOLUMES
#define VOLUMES 3
#endif
#define QUORUM  (VOLUMES / 2 + 1)
#ifndef EPOCHS
#define EPOCHS  2
#endif
#ifndef LAG
#define LAG     0
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef CHANGES
#define CHANGES 2
#endif

/* What a gateway knows of its write. */
#define IDLE     0
#define PREPARE  1   /* blobs are on their way; nothing was proposed */
#define PROPOSED 2   /* at least one attempt was proposed; no answer yet */
#define COMMIT   3   /* the leader said yes: commit hints go out */
#define ABORT    4   /* never proposed, or refused for certain: abort hints go out */
#define UNKNOWN  5   /* gave up without an answer: nothing is sent */

/* What the leader recorded for the write's session and sequence. */
#define NOTHING 0
#define YES     1
#define NO      2
#define GONE    3    /* an answer only: the session is not known */

/* A blob on a volume. */
#define ABSENT    0
#define BUFFERED  1  /* appended, not synced: a crash loses it */
#define PREPARED  2  /* synced */
#define COMMITTED 3  /* synced, and the commit hint came; a crash may lose the hint */
#define DROPPED   4  /* an abort hint came; a crash may lose it, and the blob is prepared again */
#define DELETED   5  /* a synced tombstone */

/* A run in the metadata. */
#define NONE  0
#define ALIVE 1
#define DYING 2      /* in the deletion queue */

byte gateway[RUNS];
byte first[RUNS];              /* the epoch in which the write began: its lowest */
bool conditional[RUNS];        /* If-None-Match: * */
byte tries[RUNS];              /* attempts proposed under the present session */
byte flying[RUNS];             /* of them, on their way */
byte recorded[RUNS];           /* the leader's row for session and sequence */
bool ended[RUNS];              /* the session was ended once */
byte acked[RUNS];              /* set of volumes that said: durable */

byte row[RUNS];                /* the leader's row */
byte references[RUNS];
byte published[RUNS];          /* how often; for I3 */
bool died[RUNS];               /* for I6 */
byte gone[RUNS];               /* set of volumes that confirmed the deletion */

byte blob[RUNS * VOLUMES];
bool condemned[RUNS * VOLUMES]; /* the volume holds the leader's answer "none" and is about to drop the blob */

byte key[2];                   /* 1 + run, or 0 */
byte source;                   /* 1 + run that a copy has read, or 0 */
byte epoch = 1;
byte horizon = 0;
byte crashes = 0;
byte answer = NOTHING;         /* within a step */
byte swap = 0;                 /* within a step */
byte changes = 0;              /* deletes and copies */

#define AT(r, v) ((r) * VOLUMES + (v))
#define HAS(set, v) (((set) >> (v)) & 1)
#define SIZE(set) (HAS(set, 0) + HAS(set, 1) + HAS(set, 2))
#define ALL ((1 << VOLUMES) - 1)
#define DURABLE(r, v) (blob[AT(r, v)] == PREPARED || blob[AT(r, v)] == COMMITTED)
#if VOLUMES == 1
#define REPLICAS(r) DURABLE(r, 0)
#elif VOLUMES == 2
#define REPLICAS(r) (DURABLE(r, 0) + DURABLE(r, 1))
#else
#define REPLICAS(r) (DURABLE(r, 0) + DURABLE(r, 1) + DURABLE(r, 2))
#endif
#define KEYS(r) ((key[0] == (r) + 1) + (key[1] == (r) + 1))

/* pan names the variable that is false. */
bool I3 = true;
bool I6 = true;
bool I7 = true;
bool never_reached = true;

#define CHECK(r) \
    I3 = published[r] <= 1; \
    I6 = KEYS(r) == references[r] && (KEYS(r) == 0 || (row[r] == ALIVE && LIVED_ONCE(r))); \
    I7 = KEYS(r) == 0 || REPLICAS(r) >= QUORUM; \
    never_reached = !REACHED(r); \
    assert(I3); assert(I6); assert(I7); assert(never_reached);

/* A model in which nothing can happen holds every promise: with one of these, pan must find the state named. */
#ifdef REACH_ORPHAN                     /* an orphan is collected: no answer, never published, and its durable bytes dropped */
#define REACHED(r) (gateway[r] == UNKNOWN && flying[r] == 0 && tries[r] == 2 && !published[r] && blob[AT(r, 0)] == DELETED)
#elif defined(REACH_LATE)               /* a write of which the gateway knows nothing was published, and all hints were lost */
#define REACHED(r) (gateway[r] == UNKNOWN && KEYS(r) == 1 && blob[AT(r, VOLUMES - 1)] == PREPARED)
#elif defined(REACH_COPY)               /* a copy outlives its source */
#define REACHED(r) (key[0] == 0 && key[1] == (r) + 1 && references[r] == 1)
#elif defined(REACH_FORGOTTEN)          /* a run dies, is deleted everywhere and forgotten */
#define REACHED(r) (published[r] && row[r] == NONE)
#elif defined(REACH_REFUSED)            /* the fence refuses a write that has its quorum */
#define REACHED(r) (gateway[r] == ABORT && recorded[r] == NO && first[r] < horizon)
#elif defined(REACH_ANEW)               /* a write goes on under a new session, and is published */
#define REACHED(r) (ended[r] && gateway[r] == PROPOSED && KEYS(r) == 1)
#else
#define REACHED(r) false
#endif

/* One reference less; at 0 the same entry queues the run. */
#define RELEASE(k) \
    if \
    :: key[k] != 0 -> \
        references[key[k] - 1]--; \
        if \
        :: references[key[k] - 1] == 0 -> row[key[k] - 1] = DYING; died[key[k] - 1] = true \
        :: else \
        fi; \
        key[k] = 0 \
    :: else \
    fi

/* The mutations. Each is a line of the protocol left out. */
#ifdef MUTATE_PROPOSE_BEFORE_FSYNC      /* a volume acknowledges what it has only appended */
#define ACKNOWLEDGES(b) ((b) == BUFFERED || (b) == PREPARED || (b) == COMMITTED)
#else
#define ACKNOWLEDGES(b) ((b) == PREPARED || (b) == COMMITTED)
#endif

#ifdef MUTATE_ONE_REPLICA               /* one confirmation is enough */
#define ENOUGH 1
#else
#define ENOUGH QUORUM
#endif

#ifdef MUTATE_NO_FENCE                  /* the leader commits whatever the epoch */
#define FENCED(r) false
#else
#define FENCED(r) (first[r] < horizon)
#endif

#ifdef MUTATE_NO_HORIZON                /* the collector drops whatever has no run */
#define COLLECTABLE(r) true
#else
#define COLLECTABLE(r) (first[r] < horizon)
#endif

#ifdef MUTATE_NO_SESSION                /* a retry is decided anew */
#define KNOWN(r) false
#else
#define KNOWN(r) (recorded[r] != NOTHING)
#endif

#ifdef MUTATE_COPY_UNCHECKED            /* a copy counts on the run that it read, alive or not: references rise from 0 */
#define SOURCE_CURRENT true
#define LIVED_ONCE(r) true              /* what it leads to is to be shown */
#else
#define LIVED_ONCE(r) (!died[r])
#define SOURCE_CURRENT (key[0] == source)
#endif

#ifdef MUTATE_ABORT_UNKNOWN             /* no answer is taken for a refusal */
#define GIVEN_UP ABORT
#else
#define GIVEN_UP UNKNOWN
#endif

#ifdef MUTATE_ANEW_UNSURE               /* a lost session is replaced though an earlier attempt may have been applied */
#define SURE(r) true
#else
#define SURE(r) (tries[r] == 1)
#endif

/* --- the gateway of a write --- */
#define GATEWAY(r) \
    :: gateway[r] == IDLE && BEFORE(r) -> gateway[r] = PREPARE; first[r] = epoch \
    :: gateway[r] == IDLE && BEFORE(r) -> gateway[r] = PREPARE; first[r] = epoch; conditional[r] = true \
    :: gateway[r] == IDLE && BEFORE(r) && epoch > 1 -> gateway[r] = PREPARE; first[r] = epoch - 1 /* by an old layout */ \
    :: gateway[r] == PREPARE && SIZE(acked[r]) >= ENOUGH -> gateway[r] = PROPOSED; tries[r] = 1; flying[r] = 1; acked[r] = 0 \
    :: gateway[r] == PREPARE -> gateway[r] = ABORT; acked[r] = 0 /* no quorum, or the client left: nothing was proposed */ \
    :: (gateway[r] == PROPOSED || gateway[r] == UNKNOWN) && tries[r] == 1 -> tries[r] = 2; flying[r]++ /* again, same sequence */ \
    :: gateway[r] == PROPOSED -> gateway[r] = GIVEN_UP

/* An answer reaches a gateway that waits for it, or is lost. */
#define ANSWER(r) \
    if \
    :: gateway[r] == PROPOSED && answer == YES -> gateway[r] = COMMIT \
    :: gateway[r] == PROPOSED && answer == NO -> gateway[r] = ABORT \
    :: gateway[r] == PROPOSED && answer == GONE && SURE(r) -> recorded[r] = NOTHING; flying[r] = 1; tries[r] = 1 /* a new session */ \
    :: gateway[r] == PROPOSED && answer == GONE && !SURE(r) -> gateway[r] = UNKNOWN \
    :: true \
    fi; \
    answer = NOTHING

/* --- the leader --- */
#define DECIDE(r) \
    if \
    :: FENCED(r) || row[r] != NONE || (conditional[r] && key[0] != 0) -> answer = NO \
    :: else -> \
        RELEASE(0); \
        key[0] = r + 1; row[r] = ALIVE; references[r] = 1; published[r]++; answer = YES \
    fi

#define LEADER(r) \
    :: flying[r] > 0 && KNOWN(r) -> flying[r]--; answer = recorded[r]; ANSWER(r) \
    :: flying[r] > 0 && !KNOWN(r) -> flying[r]--; DECIDE(r); recorded[r] = answer; ANSWER(r) \
    :: flying[r] > 0 -> flying[r]-- /* lost on its way */ \
    :: row[r] == DYING && gone[r] == ALL -> row[r] = NONE /* forgotten once all confirmed */

/* The session ends: the leader forgets its answer, and says so to what comes late. */
#define SESSION(r) \
    :: !ended[r] && flying[r] > 0 -> ended[r] = true; flying[r]--; recorded[r] = GONE; answer = GONE; ANSWER(r)

/* Forgets what can make no difference any more. */
#define FORGET(r) \
    if \
    :: flying[r] == 0 && (gateway[r] == COMMIT || gateway[r] == ABORT || gateway[r] == UNKNOWN && tries[r] == 2) -> \
        recorded[r] = NOTHING; ended[r] = false; conditional[r] = false; tries[r] = 2 \
    :: else \
    fi;

/* --- a volume --- */
#define VOLUME(r, v) \
    :: gateway[r] != IDLE && blob[AT(r, v)] == ABSENT -> blob[AT(r, v)] = BUFFERED \
    :: blob[AT(r, v)] == BUFFERED -> blob[AT(r, v)] = PREPARED \
    :: gateway[r] == PREPARE && !HAS(acked[r], v) && ACKNOWLEDGES(blob[AT(r, v)]) -> acked[r] = acked[r] | (1 << v) \
    :: gateway[r] == COMMIT && blob[AT(r, v)] == PREPARED -> blob[AT(r, v)] = COMMITTED \
    :: gateway[r] == ABORT && (blob[AT(r, v)] == BUFFERED || blob[AT(r, v)] == PREPARED) -> blob[AT(r, v)] = DROPPED \
    :: row[r] == DYING && !HAS(gone[r], v) -> gone[r] = gone[r] | (1 << v); \
        if \
        :: blob[AT(r, v)] != ABSENT -> blob[AT(r, v)] = DELETED \
        :: else \
        fi \
    COLLECTOR(r, v)

/* The collector asks about what is prepared here; the leader's answer may be old when the volume acts on it. */
#ifdef MUTATE_OLD_ANSWER                /* "none" is kept, and the horizon looked up when the blob is dropped */
#define COLLECTOR(r, v) \
    :: blob[AT(r, v)] == PREPARED && row[r] == NONE && !condemned[AT(r, v)] -> condemned[AT(r, v)] = true \
    :: condemned[AT(r, v)] && first[r] < horizon -> condemned[AT(r, v)] = false; blob[AT(r, v)] = DELETED
#else
#define COLLECTOR(r, v) \
    :: blob[AT(r, v)] == PREPARED && row[r] == NONE && COLLECTABLE(r) && !condemned[AT(r, v)] -> condemned[AT(r, v)] = true \
    :: condemned[AT(r, v)] -> condemned[AT(r, v)] = false; blob[AT(r, v)] = DELETED \
    :: blob[AT(r, v)] == PREPARED && row[r] == ALIVE -> blob[AT(r, v)] = COMMITTED /* the hint was lost */
#endif

/* A crash loses what was not synced, from some record on; the memory of an answer is lost too. */
#define LOSE(r, v) \
    if \
    :: blob[AT(r, v)] == BUFFERED -> blob[AT(r, v)] = ABSENT \
    :: blob[AT(r, v)] == COMMITTED || blob[AT(r, v)] == DROPPED -> blob[AT(r, v)] = PREPARED \
    :: else \
    fi; \
    condemned[AT(r, v)] = false

#if VOLUMES == 1
#define EACH_VOLUME(m, r) m(r, 0)
#define CRASHED CRASH(0)
#define SORTED
#elif VOLUMES == 2
#define EACH_VOLUME(m, r) m(r, 0) m(r, 1)
#define CRASHED CRASH(0) CRASH(1)
#define SORTED SORT(0, 1);
#else
#define EACH_VOLUME(m, r) m(r, 0) m(r, 1) m(r, 2)
#define CRASHED CRASH(0) CRASH(1) CRASH(2)
#define SORTED SORT(0, 1); SORT(1, 2); SORT(0, 1);
#endif

#if RUNS == 1
#define BEFORE(r) true
#define EACH_RUN(m) m(0)
#define EACH(m) EACH_VOLUME(m, 0)
#define CRASH(v) \
    :: crashes < CRASHES -> crashes++; LOSE(0, v)
#define CHECKS CHECK(0)
#define FORGOTTEN FORGET(0)
#else
#define BEFORE(r) ((r) == 0 || gateway[0] != IDLE)   /* writes are alike: one order of beginning is enough */
#define EACH_RUN(m) m(0) m(1)
#define EACH(m) EACH_VOLUME(m, 0) EACH_VOLUME(m, 1)
#define CRASH(v) \
    :: crashes < CRASHES -> crashes++; LOSE(0, v); LOSE(1, v) \
    :: crashes < CRASHES -> crashes++; LOSE(0, v) \
    :: crashes < CRASHES -> crashes++; LOSE(1, v)
#define CHECKS CHECK(0) CHECK(1)
#define FORGOTTEN FORGET(0) FORGET(1)
#endif

/* Volumes are alike, so states that differ only in their order are one: they are kept sorted. */
#define RANK1(r, v) (blob[AT(r, v)] * 8 + condemned[AT(r, v)] * 4 + HAS(acked[r], v) * 2 + HAS(gone[r], v))
#define SWAPBIT(set, v, w) \
    if \
    :: HAS(set, v) != HAS(set, w) -> set = set ^ ((1 << v) | (1 << w)) \
    :: else \
    fi
#define SWAP1(r, v, w) \
    swap = blob[AT(r, v)]; blob[AT(r, v)] = blob[AT(r, w)]; blob[AT(r, w)] = swap; \
    swap = condemned[AT(r, v)]; condemned[AT(r, v)] = condemned[AT(r, w)]; condemned[AT(r, w)] = swap; \
    SWAPBIT(acked[r], v, w); SWAPBIT(gone[r], v, w);
#if RUNS == 1
#define RANK(v) RANK1(0, v)
#define SWAP(v, w) SWAP1(0, v, w)
#else
#define RANK(v) (RANK1(0, v) * 64 + RANK1(1, v))
#define SWAP(v, w) SWAP1(0, v, w) SWAP1(1, v, w)
#endif
#define SORT(v, w) \
    if \
    :: RANK(v) > RANK(w) -> SWAP(v, w) swap = 0 \
    :: else \
    fi

active proctype world() {
end:
    do
    :: atomic {
        if
        EACH_RUN(GATEWAY)
        EACH_RUN(LEADER)
        EACH_RUN(SESSION)
        EACH(VOLUME)
        CRASHED
        :: epoch < EPOCHS -> epoch++;
            if
            :: epoch - LAG > horizon -> horizon = epoch - LAG
            :: else
            fi
        :: changes < CHANGES && key[0] != 0 -> changes++; RELEASE(0)
        :: changes < CHANGES && key[1] != 0 -> changes++; RELEASE(1)
        :: source == 0 && key[0] != 0 -> source = key[0]
        :: changes < CHANGES && source != 0 && SOURCE_CURRENT && source != key[1] ->
            changes++; RELEASE(1); key[1] = source; references[source - 1]++; row[source - 1] = ALIVE; source = 0
        :: source != 0 && key[0] != source -> source = 0 /* refused: another version */
        fi;
        CHECKS
        SORTED
        FORGOTTEN
    }
    od
}
