"""The way to a run's model: the real credential is added out here, answers are counted and priced."""

from treadle.domain.prices import PriceTable
from treadle.domain.run import EngineName
from treadle.gateway import anthropic
from treadle.gateway.billing import Prices
from treadle.gateway.gateway import Gateway
from treadle.gateway.upstream import SILENCE_SECONDS, Outside
from treadle.ports import Clock
from treadle.ports.gateway import LicenseRenewals
from treadle.settings import Settings


def build(settings: Settings, clock: Clock, renewals: LicenseRenewals) -> Gateway:
    """One for a worker; to be closed with it."""
    return Gateway(
        clock,
        Outside(settings.git_environment, silence_seconds=max(SILENCE_SECONDS, 2 * settings.idle_seconds)),
        Prices(PriceTable.over_list(settings.prices)),
        endpoints={
            EngineName.CLAUDE: settings.claude_base_url or anthropic.VENDOR_ENDPOINT,
            EngineName.KIMI: settings.kimi_base_url,
        },
        token_url=settings.claude_token_url,
        renewals=renewals,
    )
