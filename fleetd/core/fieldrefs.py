"""Which values of a pod a fieldRef and a resourceFieldRef may ask for (the downward API).

Variables know other fields than files do: what a host tells at run time is for variables alone,
whole maps of labels and annotations are for files alone.
"""

from __future__ import annotations

_BOTH = ("metadata.name", "metadata.namespace", "metadata.uid")
MAPS = ("metadata.labels", "metadata.annotations")
"""What may be asked for by key, as in `metadata.labels['app']`."""
POD_ADDRESS = ("status.podIP", "status.podIPs")
HOST_FIELDS = (*_BOTH, "spec.nodeName", "status.hostIP")
"""What a systemd workload may ask for: it is no pod."""
ENV_FIELDS = (
    *HOST_FIELDS,
    "spec.serviceAccountName",
    "status.hostIPs",
    *POD_ADDRESS,
)
FILE_FIELDS = (*_BOTH, *MAPS)

_RESOURCES = ("cpu", "memory", "ephemeral-storage")
RESOURCES = tuple(f"{kind}.{name}" for kind in ("limits", "requests") for name in _RESOURCES)
HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
CPU_DIVISORS = ("1", "1m")
BYTE_DIVISORS = ("1", *(f"1{unit}" for unit in "kMGTPE"), *(f"1{unit}i" for unit in "KMGTPE"))


def split(field_path: str) -> tuple[str, str | None]:
    """`metadata.labels['app']` as its map and its key; any other path as itself and None."""
    if not field_path.endswith("']"):
        return field_path, None
    whole, bracket, key = field_path.removesuffix("']").partition("['")
    return (whole, key) if whole and bracket else (field_path, None)


def divisors(resource: str) -> tuple[str, ...]:
    """The units in which a resource may be told."""
    return CPU_DIVISORS if resource.endswith(".cpu") else BYTE_DIVISORS
