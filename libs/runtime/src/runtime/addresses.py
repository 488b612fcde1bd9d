"""Which addresses a connector may reach, so that no name leads into a network of our own."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_UNICAST = ip_network("2000::/3")
# Both carry an IPv4 address that a relay would go on to.
_TUNNELS = (ip_network("2002::/16"), ip_network("2001::/23"))


def allowed(address: str, networks: Collection[IPv4Network | IPv6Network] | None) -> bool:
    """Say whether an address may be reached: one in `networks`, or without them a public one.

    Raises:
        ValueError: it is not an address.
    """
    found: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if networks is not None:
        return any(found in network for network in networks)
    return _public(found)


def _public(address: IPv4Address | IPv6Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv4Address):
        return True
    return address in _UNICAST and not any(address in tunnel for tunnel in _TUNNELS)
