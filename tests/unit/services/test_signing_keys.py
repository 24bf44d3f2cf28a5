"""The keys that sign tokens."""

import asyncio

import pytest
from tests.support.deployment import Deployment

from treadle.domain.errors import Unauthenticated
from treadle.ids import RandomUuids
from treadle.services.signing_keys import SigningKeys
from treadle.services.tokens import Tokens
from treadle.vault import AesGcmVault, SealingKey


def keys_of(here: Deployment, secret: int = 0) -> SigningKeys:
    """As another process has them; `secret` 0: with the same sealing key."""
    vault = here.vault if not secret else AesGcmVault([SealingKey(bytes([secret] * 32))])
    return SigningKeys(here.store, vault, here.clock, new_uuid=RandomUuids())


@pytest.mark.anyio
async def test_one_is_made_when_it_is_needed_and_then_shared(here: Deployment) -> None:
    first = keys_of(here)
    assert await here.store.signing_keys() == ()
    made = await asyncio.gather(*(first.current() for _ in range(10)))
    assert len({key_id for key_id, _ in made}) == 1
    assert (await keys_of(here).current())[0] == made[0][0]


@pytest.mark.anyio
async def test_a_key_that_another_process_made_is_found_in_seconds(here: Deployment) -> None:
    mine, others = keys_of(here), keys_of(here)
    assert await mine.find("unknown") is None
    key_id, _ = await others.current()
    assert await mine.find(key_id) is None  # asked a moment ago
    here.clock.advance(5)
    assert await mine.find(key_id) is not None


@pytest.mark.anyio
async def test_keys_sealed_otherwise_are_left_and_a_new_one_is_made(here: Deployment) -> None:
    old_id, _ = await keys_of(here).current()
    changed = keys_of(here, secret=7)
    new_id, _ = await changed.current()
    assert new_id != old_id
    assert await changed.find(old_id) is None
    assert [key["kid"] for key in (await changed.public())["keys"]] == [new_id]


@pytest.mark.anyio
async def test_a_token_of_a_lost_key_is_not_valid(here: Deployment) -> None:
    principal = await here.services.identity.authenticate(here.admin.key)
    token = await here.services.tokens.issue(principal)
    assert token.text not in repr(token)
    other = Tokens(
        here.store,
        keys_of(here, secret=7),
        here.clock,
        audit=here.services.audit,
        issuer="treadle",
        new_uuid=RandomUuids(),
    )
    with pytest.raises(Unauthenticated):
        await other.verify(token.text)
