/* Moves of a shard, as docs/protocol.md describes them, under a write and repair: small enough to be searched whole.
 *
 *   spin -a move.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * .ci/model does that; then with each of the mutations below (-DMUTATE_...), which must all be refuted, and with each of the states
 * (-DREACH_...), which must all be found. publish.pml has what surrounds this: sessions, hints, orphans, deletions.
 *
 * The world is one process that picks, again and again, any step that is possible; see publish.pml. There are
 *
 *   four volumes, of which FIRST (0 to 2) are members of the shard at first, and of which a majority must have a blob;
 *   one write of one blob, that begins at any time, of a gateway whose table is as old as may be;
 *   MOVES  moves from a member to another volume, one after the other, so that a volume may come back; with RESIZE, moves that add some
 *          members or give some up instead, as the pool's replication is raised and lowered;
 *   EPOCHS the cluster's epochs; the horizon follows LAG behind;
 *   RESTARTS of volumes, which forget the shard's epoch, so that no promise may rest on it.
 *
 * Safety does not rest on the shard's epoch in a decision, which is checked against the row's sets in any case, nor on what volumes
 * refuse: both keep writers from going on with an old table.
 *
 * After every step:
 *   I7    A published blob is on a write quorum of the shard's members.
 *   whole A member that does not have a published blob is in a missing row.
 */

#ifndef FIRST
#define FIRST 7
#endif
#ifndef MOVES
#define MOVES 2
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef LAG
#define LAG 0
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif

#define ALL    15              /* set of the volumes */
#define SIZE(s) (((s) & 1) + (((s) >> 1) & 1) + (((s) >> 2) & 1) + (((s) >> 3) & 1))
#define HAS(s, v) (((s) >> (v)) & 1)
#define MAJORITY(of) (SIZE(of) / 2 + 1)
#define HELD(s, of) (SIZE((s) & (of)) >= MAJORITY(of))
/* A write quorum is counted by the members that there are, not by how many the pool is to have: that may be another number by now. */
#ifdef MUTATE_POOL_QUORUM
byte pool = 3;
#define QUORUM(s, of) (SIZE((s) & (of)) >= pool / 2 + 1)
#else
#define QUORUM(s, of) HELD(s, of)
#endif

/* The shard's row; sets of volumes. */
byte members = FIRST;
byte joining = 0;
byte leaving = 0;              /* on the way out, and those that left */
byte shard = 1;                /* its epoch */
byte flipped = 0;              /* the cluster's epoch at the last flip */
byte moves = 0;

/* The mover, as a leader knows it. */
byte listed = 0;               /* volumes that acknowledged the join, and were asked for their blobs since */
bool seen = false;             /* the blob was among them */
bool copied = false;

byte epoch = 1;
byte horizon = 0;

/* The volumes. */
byte blobs = 0;                /* set of those that have the blob, durably */
byte known[4];                 /* the shard's epoch, as a volume has heard of it */
byte restarts = 0;

/* The gateway, and its table. */
byte first = 0;                /* the epoch in which the write began; 0: not yet */
byte tmembers = FIRST;
byte tjoining = 0;
byte tleaving = 0;
byte tshard = 1;
byte acked = 0;                /* set of volumes that said: durable */
bool flying = false;           /* a proposal is on its way: */
byte fshard;
byte facked;

bool published = false;
byte missing = 0;              /* set of volumes with a missing row */

/* When volumes that left are released, and what they drop then. One of the two would do for what is older than the flip. */
#ifdef MUTATE_RELEASE_EARLY
#define PASSED true
#define OLD true
#else
#define PASSED (horizon > flipped)
#ifdef MUTATE_DROP_YOUNG
#define OLD true
#else
#define OLD (first != 0 && first < horizon)
#endif
#endif
/* Of how many members the mover must have lists, and when it may flip. */
#ifdef MUTATE_FEW_LISTS
#define LISTS (SIZE(members) - MAJORITY(members))
#else
#define LISTS (SIZE(members) - MAJORITY(members) + 1)
#endif
/* A write while the shard moves needs a quorum of those that will be members (which gateways see to, and decisions check), and the flip
 * waits for repair. One of them would do. */
#ifdef MUTATE_FLIP_EARLY
#define WHOLE true
#define BOTH true
#define ASKED true
#else
#define WHOLE ((missing & NEXT) == 0)
#define BOTH QUORUM(facked, NEXT)
#define ASKED QUORUM(acked, TNEXT)
#endif

#define NEXT   ((members & ~leaving) | joining)
#define MOVING (joining || (leaving & members))
/* Who must have everything before the flip: who joins, or, if nobody does, who stays. */
#define TARGETS (joining -> joining : NEXT)
#define TNEXT  ((tmembers & ~tleaving) | tjoining)

/* pan names the variable that is false. */
bool I7 = true;
bool whole = true;
bool never_reached = true;

#ifdef REACH_BACK                /* a volume that left is a member again, and has the blob anew */
#define REACHED (moves == 2 && joining == 0 && published && HAS(members, 0) && HAS(blobs, 0) && members != 7)
#elif defined(REACH_DURING)      /* published while the shard moves, without the joining volume, which repair makes whole */
#define REACHED (joining == 0 && moves == 1 && published && fshard == 2 && !(facked & 8) && HAS(members, 3) && missing == 0)
#elif defined(REACH_UP)          /* raised twice from one member, published before, with who came last alone whole at the end */
#define REACHED (moves == 2 && !MOVING && SIZE(members) == 3 && published && fshard == 1)
#elif defined(REACH_DOWN)        /* lowered to one, that did not confirm the write */
#define REACHED (!MOVING && SIZE(members) == 1 && published && fshard == 1 && (members & ~facked))
#elif defined(REACH_ANEW)        /* prepared under the old table, published under the new one */
#define REACHED (published && fshard == 3 && moves == 1 && HAS(facked, 0))
#else
#define REACHED false
#endif

#define CHECK \
    v = 0; w = 0; \
    I7 = !published || HELD(blobs, members); \
    whole = !published || (members & ~blobs & ~missing) == 0; \
    never_reached = !(REACHED); \
    assert(I7); assert(whole); assert(never_reached);

byte v = 0;                    /* within a step */
byte w = 0;

#define SOME(set, x) \
    if :: (set) & 1 -> x = 0 :: (set) & 2 -> x = 1 :: (set) & 4 -> x = 2 :: (set) & 8 -> x = 3 fi

active proctype world()
{
end:
    do
    /* ---- the write */
    :: atomic { first == 0 -> first = epoch; CHECK }
    :: atomic { tshard != shard && !flying && !published -> /* the gateway hears of the new table, before or after its attempts */
        tmembers = members; tjoining = joining; tleaving = leaving; tshard = shard; CHECK }
    :: atomic { first != 0 && !published && ((tmembers | tjoining) & ~blobs) ->
        SOME((tmembers | tjoining) & ~blobs, v);
        if
        :: tshard < known[v] -> skip /* refused */
        :: else ->
            known[v] = tshard;
            blobs = blobs | (1 << v);
            acked = acked | (1 << v)
        fi; CHECK }
    :: atomic { first != 0 && !published && !flying && QUORUM(acked, tmembers) && ASKED ->
        flying = true; fshard = tshard; facked = acked; CHECK }
    :: atomic { flying && !published ->
        flying = false;
        if
        :: first >= horizon && fshard == shard && QUORUM(facked, members) && BOTH ->
            published = true;
#ifdef MUTATE_JOINING_NOT_NOTED
            missing = missing | (members & ~facked);
#else
            missing = missing | ((members | joining) & ~facked);
#endif
        :: else -> fshard = 0; facked = 0
        fi; CHECK }
    :: atomic { published && !(tshard == 0) -> /* what the gateway knew matters no more */
        tmembers = 0; tjoining = 0; tleaving = 0; tshard = 0; acked = 0; CHECK }

    /* ---- repair: any replica is a source; a row whose replica has the blob goes too */
    :: atomic { published && missing && (blobs & (members | joining | leaving)) ->
        SOME(missing, v);
        blobs = blobs | (1 << v); missing = missing & ~(1 << v); CHECK }

    /* ---- the move */
#ifdef RESIZE
    :: atomic { !MOVING && moves < MOVES && (ALL & ~members) -> /* raised by one or two; who is kept yet may be back */
        SOME(ALL & ~members, v);
        joining = 1 << v;
        if
        :: ALL & ~members & ~joining -> SOME(ALL & ~members & ~joining, w); joining = joining | (1 << w)
        :: skip
        fi;
        leaving = leaving & ~joining; shard++; moves++;
        listed = 0; seen = false; copied = false; CHECK }
    :: atomic { !MOVING && moves < MOVES && SIZE(members) > 1 -> /* lowered by one or two */
        SOME(members, v);
        leaving = leaving | (1 << v);
        if
        :: SIZE(members & ~leaving) > 1 -> SOME(members & ~leaving, w); leaving = leaving | (1 << w)
        :: skip
        fi;
        shard++; moves++;
        listed = 0; seen = false; copied = false; CHECK }
#else
    :: atomic { !MOVING && moves < MOVES && (ALL & ~members & ~leaving) ->
        SOME(ALL & ~members & ~leaving, v);
        SOME(members, w);
        joining = 1 << v; leaving = leaving | (1 << w); shard++; moves++;
        listed = 0; seen = false; copied = false; CHECK }
#endif
#ifdef MUTATE_POOL_QUORUM
    :: atomic { pool > 1 -> pool--; CHECK }
#endif
    :: atomic { MOVING && !copied && (members & ~listed) -> /* a member acknowledges the epoch and lists */
        SOME(members & ~listed, v);
        known[v] = shard; listed = listed | (1 << v); seen = seen || HAS(blobs, v); CHECK }
    :: atomic { MOVING && !copied && SIZE(listed) >= LISTS ->
        copied = true;
        /* what is undecided may be copied or not, and an orphan of below the horizon is not */
        if
        :: seen && (published || first >= horizon) -> blobs = blobs | TARGETS
        :: !published -> skip
        :: !seen -> skip
        fi; CHECK }
    :: atomic { MOVING && copied && WHOLE ->
        missing = missing & NEXT;
        members = NEXT; joining = 0; shard++; flipped = epoch; CHECK }
    :: atomic { MOVING -> /* cancel */
        missing = missing & ~joining; leaving = leaving & ~members; joining = 0; shard++; CHECK }
    /* Volumes that left are released, and drop what is older than the horizon. */
    :: atomic { !MOVING && (leaving & ~members) && (missing & members) == 0 && PASSED ->
        SOME(leaving & ~members, v);
        leaving = leaving & ~(1 << v);
        if :: OLD -> blobs = blobs & ~(1 << v) :: else -> skip fi; CHECK }

    /* ---- time, and volumes that forget */
    :: atomic { epoch < EPOCHS ->
        epoch++; if :: epoch > LAG -> horizon = epoch - LAG :: else -> skip fi; CHECK }
    :: atomic { restarts < RESTARTS -> SOME(ALL, v); known[v] = 0; restarts++; CHECK }
    od
}
