"""The rules for a pod's network: ports, its name, other hosts' names, its resolver (K 151, 167)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from fleetd.core import names
from fleetd.core.findings import Findings
from fleetd.core.pod import ContainerPort, DNSConfig, PodSpec
from fleetd.core.validation_probes import check_port_number

_MOST_SERVERS, _MOST_SEARCHES, _LONGEST_SEARCHES = 3, 32, 2048
_OPTION = re.compile(r"[!-~]+\Z")


def check_network(found: Findings, path: str, spec: PodSpec) -> None:
    """Everything but the ports, which belong to containers."""
    if spec.hostname:
        found.check(f"{path}.hostname", names.dns_label, spec.hostname)
    for i, alias in enumerate(spec.host_aliases):
        here = f"{path}.hostAliases[{i}]"
        found.check(f"{here}.ip", ip_address, alias.ip)
        for j, name in enumerate(alias.hostnames):
            found.check(f"{here}.hostnames[{j}]", names.dns_subdomain, name)
    if spec.dns_policy == "ClusterFirstWithHostNet":
        message = "there is no cluster DNS: the host's resolver is used"
        found.note(f"{path}.dnsPolicy", message)
    config = spec.dns_config or DNSConfig()
    if spec.dns_policy == "None" and not config.nameservers:
        message = "must have at least one name server with dnsPolicy None"
        found.error(f"{path}.dnsConfig.nameservers", message)
    _dns(found, f"{path}.dnsConfig", config)


def check_ports(
    found: Findings,
    path: str,
    ports: Sequence[ContainerPort],
    on_host: set[object],
    *,
    host_network: bool,
) -> None:
    """A container's ports; `on_host` has those of the host that others of the pod take."""
    seen_names: set[object] = set()
    for i, port in enumerate(ports):
        here = f"{path}[{i}]"
        check_port_number(found, f"{here}.containerPort", port.container_port)
        if port.name:
            found.check(f"{here}.name", names.port_name, port.name)
            found.unique(f"{here}.name", port.name, seen_names, "the port")
        if port.host_port:
            check_port_number(found, f"{here}.hostPort", port.host_port)
            taken = f"{port.host_ip or '0.0.0.0'}:{port.host_port}/{port.protocol}"  # noqa: S104 - printed only
            found.unique(f"{here}.hostPort", taken, on_host, "the port of the host")
        if host_network and port.host_port not in {0, port.container_port}:
            message = f"must be {port.container_port}, the containerPort, with hostNetwork"
            found.error(f"{here}.hostPort", message)
        if port.host_ip:
            found.check(f"{here}.hostIP", ip_address, port.host_ip)


def ip_address(text: str) -> str:
    """An IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return "must be an IP address"
    return "must have no zone" if "%" in text else ""


def _dns(found: Findings, path: str, config: DNSConfig) -> None:
    for name, listed, most in (
        ("nameservers", config.nameservers, _MOST_SERVERS),
        ("searches", config.searches, _MOST_SEARCHES),
    ):
        if len(listed) > most:
            found.error(f"{path}.{name}", f"must not have more than {most}, not {len(listed)}")
    for i, server in enumerate(config.nameservers):
        found.check(f"{path}.nameservers[{i}]", ip_address, server)
    if len(" ".join(config.searches)) > _LONGEST_SEARCHES:
        message = f"must not have more than {_LONGEST_SEARCHES} characters in all"
        found.error(f"{path}.searches", message)
    for i, domain in enumerate(config.searches):
        found.check(f"{path}.searches[{i}]", _search, domain)
    for i, option in enumerate(config.options):
        for field, text in (("name", option.name), ("value", option.value or "-")):
            if not _OPTION.match(text):
                found.error(f"{path}.options[{i}].{field}", f"{text[:80]!r} is no word")


def _search(domain: str) -> str:
    return "" if domain == "." else names.dns_subdomain(domain.removesuffix("."))
