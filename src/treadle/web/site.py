"""What every page is given."""

from dataclasses import dataclass

from treadle.api.deps import Services
from treadle.settings import Settings
from treadle.web.door import Door
from treadle.web.render import Renderer


@dataclass(frozen=True, slots=True)
class Site:
    services: Services
    settings: Settings
    renderer: Renderer
    door: Door
