"""Takes messages to others: one module for each kind of receiver, and one line here."""

from collections.abc import Mapping

from treadle.domain.messages import WebhookKind
from treadle.messengers.mail import MailMessenger, Post
from treadle.messengers.posting import Posting
from treadle.messengers.slack import SlackMessenger
from treadle.messengers.webhook import WebhookMessenger
from treadle.ports.webhooks import Messenger
from treadle.settings import Settings


def build(settings: Settings) -> Mapping[WebhookKind, Messenger]:
    """Those that the settings allow: without TREADLE_SMTP_URL there is no e-mail. Raises ConfigurationError."""
    posting = Posting(allow_private_hosts=settings.allow_private_hosts, environment=settings.git_environment)
    found: dict[WebhookKind, Messenger] = {
        WebhookKind.WEBHOOK: WebhookMessenger(posting),
        WebhookKind.SLACK: SlackMessenger(posting),
    }
    if settings.smtp_url is not None:
        post = Post.read(settings.smtp_url.get_secret_value())
        found[WebhookKind.EMAIL] = MailMessenger(post, settings.smtp_from, settings.git_environment)
    return found
