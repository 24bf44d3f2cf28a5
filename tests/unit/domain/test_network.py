"""Network policies: what is written comes back, and a narrower one lets through nothing that a wider one does not."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.domain.network import MAX_HOSTS, HostRule, NetworkMode, NetworkPolicy, is_host_name

# Few, so that rules meet each other.
names = st.sampled_from(["example.com", "a.example.com", "b.a.example.com", "xexample.com", "com.example", "mirror"])
ports = st.none() | st.sampled_from([80, 443, 8443, 1, 65_535])
rules = st.builds(HostRule, names, st.just(False), ports) | st.builds(
    HostRule, names.filter(lambda name: "." in name), st.just(True), ports
)
policies = st.sampled_from([NetworkPolicy(mode) for mode in NetworkMode if mode is not NetworkMode.ALLOW]) | st.lists(
    rules, min_size=1, max_size=5, unique=True
).map(lambda hosts: NetworkPolicy(NetworkMode.ALLOW, tuple(hosts)))
label = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)
any_name = st.lists(label, min_size=1, max_size=5).map(".".join).filter(is_host_name)

HOSTS = ["example.com", "a.example.com", "b.a.example.com", "z.b.a.example.com", "xexample.com", "com.example"]
HOSTS += ["z.example.com", "z.xexample.com", "z.com.example", "mirror", "example.com.evil.test", "elsewhere.test"]
PLACES = [(host, port) for host in HOSTS for port in (80, 443, 8443, 1, 65_535, 22)]


@given(rule=rules | st.builds(HostRule, any_name, st.just(False), ports))
def test_a_rule_is_read_as_it_is_written(rule: HostRule) -> None:
    assert HostRule.parse(str(rule)) == rule
    assert HostRule.parse(f" {str(rule).upper()} ") == rule


@given(policy=policies)
def test_a_policy_is_read_as_it_is_written(policy: NetworkPolicy) -> None:
    assert NetworkPolicy.parse(str(policy)) == policy
    assert NetworkPolicy.read(policy.json()) == policy
    assert NetworkPolicy.parse(json.dumps(policy.json())) == policy


@settings(max_examples=300)
@given(one=policies, other=policies)
def test_within_means_that_nothing_more_is_let_through(one: NetworkPolicy, other: NetworkPolicy) -> None:
    lets_no_more = all(other.permits(*place) for place in PLACES if one.permits(*place))
    if one.is_within(other):
        assert lets_no_more
        assert not one.has_proxy or other.has_proxy
    elif one.has_proxy and other.has_proxy:
        assert not lets_no_more


@given(one=policies, two=policies, three=policies)
def test_within_is_an_order(one: NetworkPolicy, two: NetworkPolicy, three: NetworkPolicy) -> None:
    assert one.is_within(one)
    assert not (one.is_within(two) and two.is_within(three)) or one.is_within(three)


def test_several_rules_together_cover_one() -> None:
    assert NetworkPolicy.parse("allow:a.test").is_within(NetworkPolicy.parse("allow:a.test:80,a.test:443"))
    assert not NetworkPolicy.parse("allow:a.test").is_within(NetworkPolicy.parse("allow:a.test:80"))


@pytest.mark.parametrize(
    ("rule", "host", "port", "is_permitted"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "EXAMPLE.com.", 80, True),
        ("Example.COM.", "example.com", 80, True),
        ("example.com.:8443", "example.com", 8443, True),
        ("example.com", "example.com", 22, False),
        ("example.com:22", "example.com", 443, False),
        ("example.com", "a.example.com", 443, False),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "notexample.com", 443, False),
        ("example.com", "example.com.evil.test", 443, False),
        ("example.com", "example.com..", 443, False),
    ],
)
def test_permits(rule: str, host: str, port: int, *, is_permitted: bool) -> None:
    assert NetworkPolicy(NetworkMode.ALLOW, (HostRule.parse(rule),)).permits(host, port) is is_permitted


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "*", "*.", "*.com", "**.a.com", "a.*.com", "a..b", "-a.com", "a-.com", "a b", "a/b", "http://a.com"),
        *("a.com:", "a.com:0", "a.com:65536", "a.com:999999", "a.com:8x", "a.com:80:80", "user@a.com", "a.com\0"),
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "a.1", "*.0.0.1", "1.2.3.4.5"),
        *("[::1]", "::1", "[::1]:80", "fe80::1%eth0", "bücher.example", "\u212aelvin.test", "\ud800", "a" * 64),
        ".".join(["a" * 60] * 5),
    ],
)
def test_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[ -~]+\.$"):  # in characters that any answer can hold
        HostRule.parse(text)
    with pytest.raises(ValueError, match=r"\.$"):
        NetworkPolicy.read({"allow": ["a.test", text]})


@pytest.mark.parametrize(
    "text",
    [
        *("", "all", "allow", "allow:", "allow: ,", "FULL", "none,model", "{", '{"allow": []}', '{"allow": "a.test"}'),
        *('{"allow": [1]}', '{"allow": ["a.test"], "deny": []}', '{"deny": ["a.test"]}', '"allow:a.test"', "[" * 5000),
        *('{"allow":' + "[" * 100_000, '{"allow": ' + "9" * 5000 + "}", "allow:" + ",".join(["a.test"] * 101)),
    ],
)
def test_no_policy(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(Must be|Is not|'allow' takes) .*\.$"):
        NetworkPolicy.parse(text)


def test_what_is_no_policy_is_told_in_the_words_of_the_command_line() -> None:
    with pytest.raises(ValueError, match=r"^Must be none, model, full or allow:HOST"):
        NetworkPolicy.parse("some")


def test_as_many_hosts_as_may_be() -> None:
    hosts = [f"h{number}.test" for number in range(MAX_HOSTS)]
    assert len(NetworkPolicy.parse("allow:" + " ".join(hosts)).hosts) == MAX_HOSTS
