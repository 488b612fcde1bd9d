from ipaddress import ip_network

import pytest

from runtime import addresses


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1"])
def test_public_addresses_may_be_reached(address: str) -> None:
    assert addresses.allowed(address, None)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_all_others_may_not(address: str) -> None:
    assert not addresses.allowed(address, None)


def test_with_networks_only_these_may_be_reached() -> None:
    networks = [ip_network("10.20.0.0/16"), ip_network("fd00::/8")]
    for address in ("10.20.1.2", "::ffff:10.20.1.2", "fd12::1"):
        assert addresses.allowed(address, networks)
    for address in ("10.21.0.1", "8.8.8.8", "::1", "fe80::1"):
        assert not addresses.allowed(address, networks)


def test_what_is_no_address_is_not_taken_for_one() -> None:
    with pytest.raises(ValueError, match="0x7f000001"):
        addresses.allowed("0x7f000001", None)
