"""Which proxy a request goes through, by the environment, as Go's net/http has it: kubectl and the kubelet follow these rules.

Pure. Source: golang.org/x/net/http/httpproxy, FromEnvironment. Python's own rules know no networks (10.0.0.0/8) in NO_PROXY.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from yarl import URL

__all__ = ["proxy_for"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """The proxy's URL; None: no proxy. localhost and loopback addresses have none."""
    target = URL(url)
    scheme = target.scheme.upper()
    proxy = environment.get(f"{scheme}_PROXY") or environment.get(f"{scheme.lower()}_proxy")
    host = (target.host or "").rstrip(".").lower()
    exceptions = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if not proxy or not host or _is_excepted(host, target.port, exceptions):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(one.strip().lower(), host, address, port) for one in exceptions.split(",") if one.strip())


def _matches(exception: str, host: str, address: Address | None, port: int | None) -> bool:
    """`exception`: `*`, an address, a network, or a name, which stands for the names below it, too; with a port or without.

    A name with a leading `.` or `*.` stands only for those below it.
    """
    if exception == "*":
        return True
    if "/" in exception:
        try:
            return address is not None and address in ipaddress.ip_network(exception, strict=False)
        except ValueError:
            return False
    if address is not None and _address(exception) == address:
        return True
    name, wanted_port = _split_port(exception)
    if wanted_port and wanted_port != str(port):
        return False
    if address is not None:
        return _address(name) == address
    below = name.removeprefix("*")
    return host.endswith(below) if below.startswith(".") else host == below or host.endswith(f".{below}")


def _split_port(exception: str) -> tuple[str, str]:
    """`name:port`, `[address]:port`, or without port."""
    name, separator, port = exception.rpartition(":")
    return (name.strip("[]"), port) if separator and port.isdigit() and (":" not in name or "]" in name) else (exception, "")


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
