"""What a legal name is: Kubernetes' rules, and stricter ones for hosts and users.

Each check returns what is wrong as a sentence fragment ("" when nothing is), so that whoever asks
can put the place before it. Host and user names end up in SSH settings and are held to a pattern
without any character that a shell or an option parser knows (P 96).
"""

from __future__ import annotations

import re

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*\Z")
_UNIT_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+\Z")
_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_ADDRESS = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?\Z")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\Z")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}[A-Za-z0-9_-]?\$?\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.(service|socket|timer|path|mount)\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPACE = re.compile(r"\s")


def dns_label(text: str) -> str:
    """RFC 1123 label: containers, volumes, namespaces."""
    if len(text) <= 63 and _DNS_LABEL.match(text):
        return ""
    return "must be at most 63 lower case letters, digits or '-', first and last a letter or digit"


def dns_subdomain(text: str) -> str:
    """RFC 1123 subdomain: names of objects and nodes (K 147)."""
    if len(text) <= 253 and _DNS_SUBDOMAIN.match(text):
        return ""
    return (
        "must be at most 253 lower case letters, digits, '-' or '.', "
        "each part first and last a letter or digit"
    )


def label_key(text: str) -> str:
    """An optional prefix (DNS subdomain) and '/', then a name up to 63 characters (K 169)."""
    prefix, slash, name = text.rpartition("/")
    if slash and dns_subdomain(prefix):
        return f"has a prefix {prefix!r} that is no DNS name"
    return _label_name(name)


def label_value(text: str) -> str:
    """Empty, or as the name of a label key (K 169)."""
    return _label_name(text) if text else ""


def _label_name(text: str) -> str:
    if len(text) <= 63 and _QUALIFIED.match(text):
        return ""
    return "must be at most 63 letters, digits, '-', '_' or '.', first and last a letter or digit"


def env_name(text: str) -> str:
    """A variable of a container."""
    if _ENV_NAME.match(text):
        return ""
    return "must be letters, digits, '_', '-' or '.', and not start with a digit"


def unit_env_name(text: str) -> str:
    """A variable of a systemd unit (systemd takes no '-' or '.')."""
    return "" if _UNIT_ENV_NAME.match(text) else "must be letters, digits or '_', no digit first"


def config_key(text: str) -> str:
    """A key of a ConfigMap or Secret."""
    if len(text) <= 253 and _CONFIG_KEY.match(text) and text not in {".", ".."}:
        return ""
    return "must be at most 253 letters, digits, '-', '_' or '.'"


def port_name(text: str) -> str:
    """An IANA service name: the name of a port."""
    legal = len(text) <= 15 and _PORT_NAME.match(text) and "--" not in text
    if legal and any(c.isalpha() for c in text):
        return ""
    return "must be at most 15 lower case letters, digits or single '-', with at least one letter"


def address(text: str) -> str:
    """An IPv4 or IPv6 address or a DNS name; nothing that an option or a shell could be made of."""
    if len(text) <= 253 and (_ADDRESS.match(text) or (":" in text and _IPV6.match(text))):
        return ""
    return "must be an IP address or a DNS name"


def user(text: str) -> str:
    """A login or system user."""
    legal = "must be at most 32 letters, digits, '_', '-' or '.', and start with a letter or '_'"
    return "" if _USER.match(text) else legal


def unit(text: str) -> str:
    """A systemd unit with its type, such as `chrony.service`."""
    if len(text) <= 255 and _UNIT.match(text):
        return ""
    return "must be the full name of a systemd unit, such as chrony.service"


def no_control(text: str) -> str:
    """Nothing that breaks a line of a unit file or a terminal (P 67, 98)."""
    found = _CONTROL.search(text)
    return f"must not contain control characters (found {found[0]!r})" if found else ""


def text_block(text: str) -> str:
    """As `no_control`, but several lines and tabs are fine."""
    return no_control(text.replace("\n", "").replace("\t", ""))


def host_path(text: str) -> str:
    """An absolute path that names one place: no '..', no control characters."""
    if not text.startswith("/"):
        return "must be an absolute path"
    if ".." in text.split("/"):
        return "must not contain '..'"
    return no_control(text)


def delivered_path(text: str) -> str:
    """A path that fleetd writes: absolute, normal, no white space."""
    if error := host_path(text):
        return error
    if _SPACE.search(text):
        return "must not contain white space"
    if any(part in {"", "."} for part in text[1:].split("/")):
        return "must be a plain path, without '//', '/./' or a '/' at the end"
    return ""


def relative_path(text: str) -> str:
    """A path inside a volume."""
    if text.startswith("/"):
        return "must be a relative path"
    if ".." in text.split("/"):
        return "must not contain '..'"
    return no_control(text)


def count_or_percent(value: int | str) -> str:
    """A whole number not negative, or digits with one percent sign, at most 100% (K 155)."""
    if isinstance(value, int):
        return "must not be negative" if value < 0 else ""
    digits = value.removesuffix("%")
    if digits == value or not (digits.isascii() and digits.isdigit()):
        return "must be a whole number (written without quotes) or a percentage such as 10%"
    return "must not be more than 100%" if int(digits[:9]) > 100 else ""


def scaled(value: int | str, total: int) -> int:
    """A count as it is, a percentage of `total` rounded up (K 82); `value` must be legal."""
    return value if isinstance(value, int) else -(-int(value.removesuffix("%")) * total // 100)
