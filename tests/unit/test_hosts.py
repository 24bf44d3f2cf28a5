"""Which addresses are the internet's, and which only look so."""

import ipaddress

import pytest

from treadle.hosts import is_private_literal, is_public


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1"),
        *("fec0::1", "2001:db8::1", "3fff::1", "::127.0.0.1", "64:ff9b:1::1"),
        # The metadata of clouds, each at its own place.
        *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"),
        # The same in the disguises that IPv6 has for IPv4.
        *("::ffff:169.254.169.254", "::ffff:192.0.0.192", "64:ff9b::a83f:8110", "2002:7f00:1::", "2001:0:1::1"),
    ],
)
def test_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "192.0.1.1"])
def test_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "::1", "[::1]", "fe80::1%eth0", "10.1.1.1", "::ffff:10.1.1.1"),
        *("0x7f.1", "127.1", "2130706433", "0177.0.0.1", "0"),
    ],
)
def test_says_itself_that_it_is_private(host: str) -> None:
    assert is_private_literal(host)


@pytest.mark.parametrize("host", ["1.1.1.1", "0x1010101", "[2606:4700::1111]", "localhost", "git.example", "", "é"])
def test_a_public_address_and_a_name_say_no_such_thing(host: str) -> None:
    assert not is_private_literal(host)
