"""Own what happens without a guard: the shortest way to the broken promise, as the explorer finds it."""

from tests.queue.world import Bounds

WITHOUT = [
    ("claim_looks_at_the_status", Bounds(lives=0), """
        a run was taken from a live host:
          1. A claims run 1
          2. B claims run 1
    """),
    ("claim_looks_at_its_host", Bounds(lives=0), """
        a host that was given up claimed a run:
          1. time passes
          2. A gives B up
          3. B claims run 1
    """),
    ("claim_counts_under_a_lock", Bounds(lives=0, runs=2, limit=1, max_attempts=1), """
        more runs of a key are running than its limit:
          1. A finds a slot for run 1
          2. B finds a slot for run 2
          3. A claims run 1
          4. B claims run 2
    """),
    ("claim_without_answer_is_asked_for", Bounds(lives=0, answers=1), """
        a run is lost although A goes on:
          1. A claims run 1, the answer is lost
    """),
    ("asking_compares_tokens", Bounds(answers=1, max_attempts=1, max_lost=2), """
        a run is lost although A goes on:
          1. time passes
          2. A claims run 1
          3. B gives A up
          4. A learns that it was given up and writes a new row
          5. A takes its new id and tells its runs to stop
          6. A rescues run 1
          7. A claims run 1, the answer is lost
          8. A asks what it holds
    """),
    ("finish_shows_the_token", Bounds(lives=0), """
        a zombie changed a run:
          1. time passes
          2. A claims run 1
          3. A begins run 1
          4. A gets an error from run 1
          5. B gives A up
          6. A rescues run 1
          7. B claims run 1
          8. A writes that run 1 is to be tried again
    """),
    ("atomic_success_shows_the_token", Bounds(lives=0, atomic=True), """
        a zombie changed a run:
          1. time passes
          2. A claims run 1
          3. A begins run 1
          4. B gives A up
          5. A rescues run 1
          6. B claims run 1
          7. A commits run 1 and its effect
    """),
    ("release_gives_the_attempt_back", Bounds(lives=0, stops=1), """
        an attempt was burnt although it did not fail:
          1. A claims run 1
          2. A begins run 1
          3. A is told to stop
          4. A hands back run 1, which is deaf
    """),
    ("release_that_failed_is_tried_again", Bounds(lives=0, runs=2, limit=1, answers=1, max_attempts=1, max_lost=1), """
        a run is lost although A goes on:
          1. A claims run 1 and run 2 behind it
          2. A cannot hand back run 2, the database is away
    """),
    ("retry_hears_a_cancel", Bounds(lives=0, cancels=1), """
        a run was begun although its cancel had been accepted:
          1. A claims run 1
          2. a person asks run 1 to end
          3. A begins run 1
          4. A gets an error from run 1
          5. A writes that run 1 is to be tried again
          6. time of run 1 has come
          7. A makes run 1 ready
          8. A claims run 1
    """),
    ("rescue_shows_the_token", Bounds(lives=0), """
        a run was taken from a live host:
          1. time passes
          2. A claims run 1
          3. B gives A up
          4. A reads that the host of run 1 is gone
          5. B reads that the host of run 1 is gone
          6. A rescues run 1
          7. B claims run 1
          8. B rescues run 1
    """),
    ("rescue_hears_a_late_cancel", Bounds(lives=0, cancels=1), """
        a run was begun although its cancel had been accepted:
          1. time passes
          2. A claims run 1
          3. B gives A up
          4. A reads that the host of run 1 is gone
          5. a person asks run 1 to end
          6. A rescues run 1
          7. B claims run 1
    """),
    ("only_the_silent_are_given_up", Bounds(lives=0), """
        a host was given up although it had spoken again:
          1. time passes
          2. A sees that B is silent
          3. B beats
          4. A gives B up
    """),
    ("promotion_looks_at_the_time", Bounds(lives=0, first="scheduled"), """
        a run was made ready before its time:
          1. time of run 1 has come
          2. A reads that run 1 is due
          3. B reads that run 1 is due
          4. A makes run 1 ready
          5. A claims run 1
          6. A begins run 1
          7. A gets an error from run 1
          8. A writes that run 1 is to be tried again
          9. B makes run 1 ready
    """),
    ("a_freed_slot_is_passed_on", Bounds(lives=0, runs=2, limit=1, max_attempts=1, max_lost=1), """
        a run is lost although A goes on:
          1. A claims run 1
          2. A finds no slot for run 2
    """),
    ("a_commit_is_seen_by_whoever_asks_next", Bounds(lives=0, answers=1, max_attempts=1, max_lost=1), """
        a run is lost although A goes on:
          1. A claims run 1, the connection breaks before it is committed
          2. A asks what it holds
          3. the database commits what A has sent
    """),
]  # fmt: skip

LEASES_WITHOUT = [
    ("belief_ends_before_the_lease", """
        two hosts believe that the singleton is theirs:
          1. A asks for it
          2. time passes
          3. time passes
          4. A takes it
          5. A hears the answer
          6. B asks for it
          7. B takes it
          8. B hears the answer
    """),
    ("belief_counts_from_the_question", """
        two hosts believe that the singleton is theirs:
          1. A asks for it
          2. time passes
          3. time passes
          4. A takes it
          5. A hears the answer
          6. B asks for it
          7. B takes it
          8. B hears the answer
    """),
    ("taking_looks_at_the_end", """
        two hosts believe that the singleton is theirs:
          1. A asks for it
          2. A takes it
          3. A hears the answer
          4. B asks for it
          5. B takes it
          6. B hears the answer
    """),
    ("renewing_looks_at_the_holder", """
        two hosts believe that the singleton is theirs:
          1. A asks for it
          2. time passes
          3. time passes
          4. A takes it
          5. A hears the answer
          6. A asks to renew it
          7. B asks for it
          8. B takes it
          9. A renews it
          10. A hears the answer
          11. B hears the answer
    """),
    ("giving_back_looks_at_the_holder", """
        two hosts believe that the singleton is theirs:
          1. A asks for it
          2. time passes
          3. time passes
          4. A takes it
          5. A hears the answer
          6. A stops its service
          7. B asks for it
          8. B takes it
          9. A gives it back
          10. A hears the answer
          11. A asks for it
          12. A takes it
          13. A hears the answer
          14. B hears the answer
    """),
    ("a_silent_hosts_lease_runs_out", """
        two hosts believe that the singleton is theirs:
          1. time passes
          2. time passes
          3. A asks for it
          4. A takes it
          5. A gives A up
          6. A hears the answer
          7. B asks for it
          8. B takes it
          9. B hears the answer
    """),
]  # fmt: skip
