"""Many runs of different jobs over one work dataset: none of them waits for, or meets, another."""

import os
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.faults.fence import Fence

NUM_RUNS = int(os.environ.get("ETLKIT_JOBS", "4"))
"""`ETLKIT_JOBS=20` is the long form."""

LEASE_S = 2.0
RENEWALS = 2


@pytest.mark.timeout(600)
def test_jobs_publish_while_the_others_renew(fence):
    """All publish at their first try, half of them while the other half renews its leases."""
    with ExitStack() as stack:
        worlds = [
            Fence(fence.run, fence.bq, fence.environ, fence.until, plan)
            for plan in (
                replace(fence.plan, target=f"{fence.target}_{n}", lease_s=LEASE_S)
                for n in range(NUM_RUNS)
            )
        ]
        gateways, holds, attempts = [], [], []
        for world in worlds:
            stack.callback(world.close)
            gateways.append(world.gateway())
            holds.append(gateways[-1].hold("job publish"))
            attempts.append(world.start(gateways[-1]))
        for hold in holds:
            assert hold.reached.wait(120)
        late = NUM_RUNS // 2
        before = [renewals(gateway) for gateway in gateways]
        for gateway in gateways[:late]:
            gateway.release_all()
        for gateway, earlier in zip(gateways[late:], before[late:], strict=True):
            fence.until(lambda g=gateway, b=earlier: renewals(g) >= b + RENEWALS)
        for gateway in gateways[late:]:
            gateway.release_all()
        for world, attempt in zip(worlds, attempts, strict=True):
            end = attempt.end()
            assert not end.error
            jobs = [name for name in attempt.gateway.names() if name.startswith("job ")]
            assert len(jobs) == len(set(jobs)), "a job was run again"
            assert not [name for name in jobs if "try" in name]
            world.check()


def renewals(gateway):
    """Renewals of its lease that a process has asked for."""
    return gateway.names().count("PATCH run")
