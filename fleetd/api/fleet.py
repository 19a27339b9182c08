"""Who we are to the hosts: the fleet's id and key, made once, and the term of the present writer.

The id tells our copies from those of others, the key makes the digests of secrets, and the term
tells the orders of this writer from those of an earlier one that is still under way somewhere.
Hosts keep all three, so that a lost state can be had back from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetd.core.records import Setting
from fleetd.ports import Put, Store

FLEET_ID = "fleet-id"
FLEET_KEY = "fleet-key"
TERM = "fleet-term"


@dataclass(frozen=True, slots=True)
class Fleet:
    """An id and a key, each as hex digits, and the term, which only rises."""

    id: str
    key: str = field(repr=False)
    term: int


def known_fleet(store: Store) -> Fleet | None:
    """The fleet of this state, None where nothing was ever made: for those who only read."""
    settings = {row.name: row.value for row in store.read(Setting)}
    if FLEET_ID not in settings:
        return None
    return Fleet(settings[FLEET_ID], settings[FLEET_KEY], int(settings[TERM]))


def open_fleet(store: Store, fresh_id: str, fresh_key: bytes) -> Fleet:
    """The fleet of this state; a new state takes the fresh id (hex) and key (32 random bytes)."""
    fleet = known_fleet(store)
    if fleet is None:
        fleet = Fleet(fresh_id, fresh_key.hex(), 0)
        store.commit(
            [
                Put(Setting(FLEET_ID, fleet.id)),
                Put(Setting(FLEET_KEY, fleet.key)),
                Put(Setting(TERM, str(fleet.term))),
            ]
        )
    return fleet


def raise_term(store: Store, fleet: Fleet) -> Fleet:
    """The fleet with a new term, above every earlier one: for the writer who has just begun."""
    (row,) = store.read(Setting, name=TERM)
    raised = Fleet(fleet.id, fleet.key, int(row.value) + 1)
    store.commit([Put(Setting(TERM, str(raised.term)))])
    return raised
