"""The resolver of a pod: dnsPolicy and dnsConfig as a resolv.conf of its own.

There is no cluster DNS, so that all policies but None mean the host's resolver. Without a dnsConfig
that is what an engine gives by itself. With one a launcher writes the file at each start, as a
kubelet would: the host's servers, domains and options first, the document's after them, three
servers at most. systemd-resolved's stub listens where no pod can reach it: then its own list is
taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.core.pod import DNSConfig, PodSpec
from fleetd.workload.quoting import sh_word

_MOST_SERVERS = 3

_OF_THE_HOST = r"""
fleetd_from=/etc/resolv.conf
if grep -qs '^nameserver 127\.0\.0\.53' "$fleetd_from"; then
  fleetd_from=/run/systemd/resolve/resolv.conf
fi
[ ! -r "$fleetd_from" ] || while read -r fleetd_word fleetd_rest; do
  case $fleetd_word in
    nameserver) fleetd_servers="$fleetd_servers $fleetd_rest" ;;
    search | domain) fleetd_searches=$fleetd_rest ;;
    options) fleetd_options="$fleetd_options $fleetd_rest" ;;
  esac
done <"$fleetd_from"
"""


def has_resolver(spec: PodSpec) -> bool:
    """Whether the pod has a resolv.conf that is not the engine's."""
    return spec.dns_policy == "None" or _asks(spec.dns_config or DNSConfig())


def resolver_lines(spec: PodSpec, path: str) -> Sequence[str]:
    """Lines of a shell that write the pod's resolv.conf to `path`; none where it has none."""
    if not has_resolver(spec):
        return ()
    asked = spec.dns_config or DNSConfig()
    options = " ".join(
        f"{option.name}:{option.value}" if option.value else option.name for option in asked.options
    )
    lines = ["fleetd_servers='' fleetd_searches='' fleetd_options='' fleetd_count=0"]
    if spec.dns_policy != "None":
        lines += _OF_THE_HOST.strip().splitlines()
    return (
        *lines,
        f'fleetd_servers="$fleetd_servers "{sh_word(" ".join(asked.nameservers))}',
        f'fleetd_searches="$fleetd_searches "{sh_word(" ".join(asked.searches))}',
        f'fleetd_options="$fleetd_options "{sh_word(options)}',
        "{",
        "  for fleetd_word in $fleetd_servers; do",
        "    fleetd_count=$((fleetd_count + 1))",
        f'    [ "$fleetd_count" -gt {_MOST_SERVERS} ] || echo "nameserver $fleetd_word"',
        "  done",
        '  [ "$fleetd_searches" = " " ] || echo "search $fleetd_searches"',
        '  [ "$fleetd_options" = " " ] || echo "options $fleetd_options"',
        f"}} >{sh_word(path)}",
        f"chmod 0644 {sh_word(path)}",
    )


def _asks(config: DNSConfig) -> bool:
    return bool(config.nameservers or config.searches or config.options)
