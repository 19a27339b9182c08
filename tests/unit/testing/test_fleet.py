from __future__ import annotations

import asyncio

import pytest

from fleetd.core.node import Ssh
from fleetd.host import replies, wire
from fleetd.host.replies import Lost, Ok, Reply
from fleetd.host.requests import Exec, Observe
from fleetd.testing.fleet import (
    LOST_AFTER,
    FakeFleet,
    Fault,
    address,
    flood,
    garbage,
    stale,
)
from fleetd.testing.loop import run

NONCE = "0123456789abcdef"


async def observe(fleet: FakeFleet, name: str = "web", timeout_s: float = 20) -> Reply:
    request = Observe("fleet", engine=True)
    output = await fleet.run(
        name, Ssh(address(name)), wire.encode(request, NONCE), timeout_s=timeout_s
    )
    return replies.parse(output, NONCE, request)


@pytest.mark.parametrize(
    ("fault", "sent"),
    [
        (Fault(unreachable=True), False),
        (Fault(slow_s=60), True),
        (Fault(keep=40), True),
        (LOST_AFTER, True),
        (Fault(lie=garbage), True),
        (Fault(lie=flood), True),
        (Fault(lie=stale), True),
    ],
    ids=["unreachable", "slow", "cut", "lost", "garbage", "flood", "stale"],
)
def test_no_fault_looks_like_an_answer(fault: Fault, sent: bool) -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        fleet.fault("web", fault)
        reply = await observe(fleet)
        assert isinstance(reply, Lost)
        assert (reply.sent, bool(reply.why)) == (sent, True)
        fleet.heal("web")
        assert isinstance(await observe(fleet), Ok)

    run(main(), seed=1)


def test_a_lost_answer_is_carried_out() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        fleet.fault("web", LOST_AFTER)
        booted = fleet.hosts["web"].uptime_s
        await asyncio.sleep(100)
        stdin = wire.encode(Exec(("reboot",)), NONCE)
        output = await fleet.run("web", Ssh(address("web")), stdin, timeout_s=10)
        assert output.status is None
        assert fleet.hosts["web"].uptime_s < booted

    run(main(), seed=1)


def test_a_fault_for_some_visits_ends_by_itself() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        fleet.fault("web", Fault(unreachable=True, times=2))
        kinds = [type(await observe(fleet)) for _ in range(3)]
        assert kinds == [Lost, Lost, Ok]

    run(main(), seed=1)


def test_a_host_that_boots_does_not_answer_until_it_is_up() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        fleet.hosts["web"].reboot(down_s=30)
        assert isinstance(await observe(fleet), Lost)
        await asyncio.sleep(31)
        assert isinstance(await observe(fleet), Ok)

    run(main(), seed=1)


def test_equal_seeds_answer_in_equal_order() -> None:
    async def main(seed: int) -> list[str]:
        fleet = FakeFleet([f"web-{number}" for number in range(20)], seed=seed)
        order: list[str] = []

        async def visit(name: str) -> None:
            await observe(fleet, name)
            order.append(name)

        await asyncio.gather(*(visit(name) for name in fleet.hosts))
        return order

    orders = [tuple(run(main(seed), seed=seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
