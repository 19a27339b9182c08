"""Bundles, found or made: one rendering per revision, profile and slot, kept for ever after.

What was rendered once is never rendered again: a copy is repaired to the bundle it was made from,
and a host that joins gets the same bytes as its neighbours, whatever fleetd was upgraded to in
between.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetd.core.bundle import Bundle, SecretBytes
from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import HostFacts, HostProfile, Slot
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.records import (
    BundleRecord,
    ImageRecord,
    InstanceRecord,
    ObjectRecord,
    RevisionRecord,
    SecretValue,
)
from fleetd.ports import Put, Store
from fleetd.workload.content import Content
from fleetd.workload.errors import RenderError
from fleetd.workload.profile import profile_of
from fleetd.workload.render import render
from fleetd.workload.values import host_values


class CannotRender(Exception):
    """This revision cannot run on this host; the text says why."""


@dataclass(slots=True)
class Rendering:
    """The bundles of one run, over the store."""

    store: Store
    sets: dict[tuple[Key, str], DaemonSet] = field(default_factory=dict)
    contents: dict[tuple[Key, str], Content] = field(default_factory=dict)
    bundles: dict[tuple[Key, str, Slot, HostProfile], Bundle] = field(default_factory=dict)

    def forget(self) -> None:
        """Read everything anew: objects or revisions have changed."""
        for known in (self.sets, self.contents, self.bundles):
            known.clear()

    def daemonset(self, ds: Key, revision: str) -> DaemonSet:
        """The DaemonSet as it was at this revision."""
        known = self.sets.get((ds, revision))
        if known is None:
            record = self._revision(ds, revision)
            (live,) = self.store.read(
                ObjectRecord, kind="DaemonSet", namespace=ds.namespace, name=ds.name
            ) or (None,)
            if live is None:
                raise CannotRender(f"DaemonSet {ds} is gone")
            document = json.loads(live.document_json)
            document["spec"]["template"] = json.loads(record.template_json)
            known = DaemonSet.model_validate(document)
            self.sets[ds, revision] = known
            self.contents[ds, revision] = _content(json.loads(record.content_json))
        return known

    def profile(self, ds: Key, revision: str, node: Node, facts: HostFacts) -> HostProfile:
        """The class of hosts that this one belongs to, for this workload."""
        try:
            return profile_of(self.daemonset(ds, revision), node, facts)
        except RenderError as error:
            raise CannotRender(str(error)) from error

    def bundle(
        self, ds: Key, revision: str, slot: Slot, profile: HostProfile, *, mends: str = ""
    ) -> Bundle:
        """The bundle, as it was first rendered; a new one is stored before it is used.

        `mends` names the node whose copy is to be repaired: it gets the very bundle that it was
        made from, even when the host's profile has changed since.
        """
        if mends:
            own = self._own(ds, revision, slot, mends)
            if own is not None:
                return own
        place = (ds, revision, slot, profile)
        known = self.bundles.get(place)
        if known is None:
            known = self._stored(*place) or self._render(*place)
            self.bundles[place] = known
        return known

    def secrets(self, bundle: Bundle) -> dict[str, bytes]:
        """The bytes of the bundle's secrets, by `namespace/name/key`."""
        found: dict[str, bytes] = {}
        for file in bundle.files:
            if isinstance(file.content, SecretBytes):
                wanted = file.content
                rows = self.store.read(SecretValue, digest=wanted.digest)
                if not rows:
                    raise CannotRender(
                        f"the value of Secret {wanted.namespace}/{wanted.name} key {wanted.key} "
                        "that this revision used is no longer known; apply the DaemonSet again"
                    )
                found[f"{wanted.namespace}/{wanted.name}/{wanted.key}"] = base64.b64decode(
                    rows[0].data_base64
                )
        return found

    def values(
        self, ds: Key, revision: str, slot: Slot, node: Node, fleet: str
    ) -> Mapping[str, str]:
        """What differs from host to host within the bundle."""
        try:
            return host_values(self.daemonset(ds, revision), node, fleet, slot)
        except RenderError as error:
            raise CannotRender(str(error)) from error

    def _own(self, ds: Key, revision: str, slot: Slot, node: str) -> Bundle | None:
        """The bundle that the copy on this node was made from."""
        copies = self.store.read(
            InstanceRecord, namespace=ds.namespace, name=ds.name, node=node, slot=slot.value
        )
        rows = [
            row
            for copy in copies
            for row in self.store.read(
                BundleRecord,
                namespace=ds.namespace,
                name=ds.name,
                revision=revision,
                digest=copy.bundle,
            )
        ]
        return Bundle.from_json(rows[0].bundle_json) if rows else None

    def _revision(self, ds: Key, revision: str) -> RevisionRecord:
        rows = self.store.read(
            RevisionRecord, namespace=ds.namespace, name=ds.name, revision=revision
        )
        if not rows:
            raise CannotRender(f"revision {revision} of {ds} is not known to this state")
        return rows[0]

    def _stored(self, ds: Key, revision: str, slot: Slot, profile: HostProfile) -> Bundle | None:
        rows = self.store.read(
            BundleRecord,
            namespace=ds.namespace,
            name=ds.name,
            revision=revision,
            profile=str(profile),
            slot=slot.value,
        )
        return Bundle.from_json(rows[0].bundle_json) if rows else None

    def _render(self, ds: Key, revision: str, slot: Slot, profile: HostProfile) -> Bundle:
        daemonset = self.daemonset(ds, revision)
        pins = {
            row.image: row.pinned
            for row in self.store.read(
                ImageRecord,
                namespace=ds.namespace,
                name=ds.name,
                revision=revision,
                arch=profile.arch,
            )
        }
        content = self.contents[ds, revision]
        try:
            bundle = render(daemonset, revision, slot, profile, content, pins)
        except RenderError as error:
            raise CannotRender(str(error)) from error
        self.store.commit(
            [
                Put(
                    BundleRecord(
                        ds.namespace,
                        ds.name,
                        revision,
                        str(profile),
                        slot.value,
                        bundle.digest(),
                        bundle.to_json(),
                    )
                )
            ]
        )
        return bundle


def _content(stored: dict[str, dict[str, Any]]) -> Content:
    config_maps: dict[str, dict[str, bytes]] = {}
    secrets: dict[str, dict[str, str]] = {}
    for place, data in stored.items():
        kind, _, name = place.partition("/")
        if kind == "Secret":
            secrets[name] = dict(data)
        else:
            config_maps[name] = {key: base64.b64decode(value) for key, value in data.items()}
    return Content(config_maps=config_maps, secrets=secrets)
