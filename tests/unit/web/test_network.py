"""Network policies in forms: what is read is what was shown, and what is wrong stands beside its field."""

import pytest

from treadle.domain.errors import InvalidInput
from treadle.domain.network import MAX_HOSTS, NetworkPolicy
from treadle.web.network import CHOICES, NAMED_HOSTS, policy_in, policy_of, values_of, words


@pytest.mark.parametrize("text", ["none", "model", "full", "allow:pkg.test", "allow:*.a.example:8443,b.example"])
def test_a_form_gives_back_what_it_was_filled_with(text: str) -> None:
    policy = NetworkPolicy.parse(text)
    values = values_of(policy)
    assert policy_of(values["network"], values["hosts"]) == policy
    assert values["network"] in {value for value, _ in CHOICES}


def test_nothing_chosen_is_no_policy() -> None:
    assert policy_of("", "pkg.test") is None
    assert values_of(None) == {"network": "", "hosts": ""}


def test_hosts_count_where_they_are_asked_for() -> None:
    assert policy_of("model", "not a host at all!") == NetworkPolicy()
    assert str(policy_of("allow", " pkg.test,PKG.test\r\n*.a.example ")) == "allow:pkg.test,*.a.example"


@pytest.mark.parametrize(
    ("mode", "hosts", "field", "said"),
    [
        ("everything", "", "network", "Is no network policy."),
        ("allow", " \r\n, ", "hosts", f"Name 1 to {MAX_HOSTS} hosts"),
        ("allow", "\n".join(f"h{n}.example" for n in range(MAX_HOSTS + 1)), "hosts", f"Name 1 to {MAX_HOSTS} hosts"),
        ("allow", "pkg.test\nhttp://x", "hosts", "'http://x' is no host"),
        ("allow", "169.254.169.254", "hosts", "is an address"),
        ("allow", "\u202e" * 9, "hosts", "is no host"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(mode: str, hosts: str, field: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        policy_of(mode, hosts)
    assert list(refused.value.faults) == [field]
    assert said in refused.value.faults[field][0]


def test_a_thousand_wrong_hosts_are_not_all_told() -> None:
    with pytest.raises(InvalidInput) as refused:
        policy_of("allow", "\n".join(["!"] * 1000))
    assert len(refused.value.faults["hosts"]) == NAMED_HOSTS


def test_words_name_some_hosts() -> None:
    policy = policy_of("allow", "\n".join(f"h{n}.example" for n in range(NAMED_HOSTS + 3)))
    assert policy is not None
    assert words(policy).endswith("h5.example and 3 more")
    assert words(NetworkPolicy.parse("full")) == "the model, and the whole internet"


@pytest.mark.parametrize("value", [None, 3, [], {"allow": []}, {"allow": [3]}, {"allow": ["x"], "more": 1}, "all"])
def test_an_event_without_a_policy_has_none(value: object) -> None:
    assert policy_in({"policy": value}) is None  # type: ignore[dict-item]  # any shape
