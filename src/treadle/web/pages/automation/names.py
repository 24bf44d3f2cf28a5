"""Who ids are, as pages show them."""

from collections.abc import Mapping

from treadle.domain.identity import Principal
from treadle.web.site import Site

#: Whoever is no member any more.
GONE = "somebody who left"


async def users_of(site: Site, who: Principal) -> Mapping[int, str]:
    """The members of the caller's organization."""
    return {user.id: user.name for user, _ in await site.services.identity.users(who.organization_id)}
