"""The scenarios by name, each with what must hold. Workers, provider and delays are the defaults of a plan."""

from __future__ import annotations

from stress.plan import Closed, Plan, Profile
from stress.thresholds import thresholds

#: Where all must be answered: with 2 % faults, three attempts in a row fail once in 12 runs of 10,000 requests.
MILD = Profile(faults=0.01)

#: Answered with 10,000 of them waiting, which takes some minutes on two cores.
FLOOD_PATIENCE = 900.0

#: About as many as 20 users keep at work. A worker's memory is that of the most attempts that ever ran at once in it:
#: with slots to spare, such records come ever more rarely, all hour long, and would look like a leak.
FEW_SLOTS = "8"

SCENARIOS = {
    plan.name: plan
    for plan in (
        Plan(
            "10_users",
            Closed(users=10, requests=5),
            thresholds=thresholds("success_rate > 90 %", "mean < 1 s", "memory_growth < 100 MB"),
        ),
        Plan(
            "50_users",
            Closed(users=50, requests=3),
            thresholds=thresholds("success_rate > 85 %", "mean < 2 s", "memory_growth < 200 MB"),
        ),
        Plan(
            "100_users",
            Closed(users=100, requests=2),
            thresholds=thresholds("success_rate > 70 %", "mean < 5 s", "memory_growth < 500 MB"),
        ),
        Plan(
            "sustained",
            Closed(users=20, requests=5, batches=5),
            thresholds=thresholds("success_rate > 90 %", "memory_acceleration < 2"),
        ),
        Plan(
            "rapid_fire",
            Closed(users=1, requests=100, delay=0, conversations=4, wait=False),
            thresholds=thresholds("success_rate > 90 %", "duration < 60 s"),
        ),
        Plan(
            "bursts",
            Closed(users=20, requests=5, delay=0, wait=False, batches=10),
            thresholds=thresholds("success_rate > 99 %", "p95 < 5 s", "republished = 0"),
        ),
        Plan(
            "interrupting",
            Closed(users=20, requests=5, delay=0.2, wait=False, batches=10, on_busy="interrupt"),
            thresholds=thresholds("succeeded >= 200", "cancelled > 200", "p95 < 5 s"),
        ),
        Plan(
            "1000_users",
            Closed(users=1000, requests=5),
            MILD,
            thresholds=thresholds("success_rate = 100 %", "memory_growth < 500 MB"),
            patience=FLOOD_PATIENCE,
            processes=2,
        ),
        Plan(
            "10000_sessions",
            Closed(users=10_000, requests=1),
            MILD,
            thresholds=thresholds("success_rate = 100 %", "memory_growth < 500 MB"),
            patience=FLOOD_PATIENCE,
            processes=2,
        ),
        Plan(
            "faulty_provider",
            Closed(users=50, requests=20),
            Profile(faults=0.2),
            thresholds=thresholds("p95 < 2 s", "error_rate < 5 %", "retry_success > 80 %"),
        ),
        Plan(
            "hour",
            Closed(users=20, duration=3600),
            thresholds=thresholds("success_rate > 99 %", "memory_slope_low <= 0"),
            settings={"WORKER_SLOTS": FEW_SLOTS},
        ),
    )
}
