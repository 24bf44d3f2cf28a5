"""What each kind of receiver gets: signed requests, Slack's messages, e-mail."""

import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.support.ports import ReservedPort
from tests.support.smtp_server import SmtpServer
from tests.support.webhooks import Receiver

import treadle.webhooks
from treadle.domain.errors import ConfigurationError
from treadle.domain.messages import WebhookKind
from treadle.messengers import build
from treadle.messengers.mail import MailMessenger, Post
from treadle.messengers.posting import Posting
from treadle.messengers.slack import SlackMessenger, message
from treadle.messengers.webhook import WebhookMessenger, signed
from treadle.ports.webhooks import Letter
from treadle.services.webhook_rules import new_secret
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

RUN = {"id": 7, "repository": {"id": 1, "name": "acme/demo"}, "url": "https://treadle.example.com/runs/7"}


def letter(target: str, *secrets: str, **event: object) -> Letter:
    body = {"type": "run.finished", "timestamp": "…", "data": {"run": RUN, "event": {"number": 3, **event}}}
    now = datetime.now(UTC)  # not the module's, which may be read long before: who verifies takes nothing old
    return Letter("msg_1", "run.finished", now, now, body, target, secrets)  # type: ignore[arg-type]  # of texts


async def test_requests_are_signed_by_both_secrets_in_the_overlap() -> None:
    new, old, other = new_secret(), new_secret(), new_secret()
    messenger = WebhookMessenger(Posting(allow_private_hosts=True, environment={}))
    with Receiver() as receiver:
        assert (await messenger.send(letter(receiver.url, new, old, failureDetails="Es ging schief: …"))).error is None
    await messenger.close()
    [told] = receiver.told
    for secret in (new, old):
        assert Webhook(secret).verify(told.body.decode(), told.headers) == told.json
        assert treadle.webhooks.verify(told.body, told.headers, secret) == told.json
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(told.body.decode(), told.headers)
    for body, secret, now in (
        (told.body, other, None),
        (told.body + b" ", new, None),
        (told.body, new, int(told.headers["webhook-timestamp"]) + 301),
        (told.body, "whsec_?", None),
    ):
        with pytest.raises(treadle.webhooks.NotVerifiedError):
            treadle.webhooks.verify(body, told.headers, secret, now=now)
    with pytest.raises(treadle.webhooks.NotVerifiedError):
        treadle.webhooks.verify(told.body, {}, new)


@pytest.mark.parametrize(
    ("secret", "changed"),
    [
        ("", {}),
        ("whsec_", {}),
        (new_secret(), {"webhook-timestamp": "9" * 400}),
        (new_secret(), {"webhook-signature": "v1,\udcff"}),
        (new_secret(), {"webhook-id": "\udcff"}),
    ],
    ids=["no secret", "an empty one", "timestamp", "signature", "id"],
)
def test_what_anybody_may_send_is_refused_and_breaks_no_receiver(secret: str, changed: dict[str, str]) -> None:
    body = b'{"type": "run.finished"}'
    now = time.time()
    headers = {**signed("msg_1", int(now), body, [""]), **changed}
    with pytest.raises(treadle.webhooks.NotVerifiedError):
        treadle.webhooks.verify(body, headers, secret, now=now)


async def test_chats_get_a_title_with_a_link_and_nothing_that_mentions() -> None:
    messenger = SlackMessenger(Posting(allow_private_hosts=True, environment={}))
    with Receiver() as receiver:
        sent = letter(receiver.url, status="Failed", failureDetails="<!channel> & <https://evil.example|here> *now*")
        assert (await messenger.send(sent)).error is None
    await messenger.close()
    [told] = receiver.told
    assert told.json["text"] == "Run 7 on acme/demo ended: Failed"
    title, detail = told.json["blocks"]
    assert title["text"]["text"] == "*<https://treadle.example.com/runs/7|Run 7 on acme/demo ended: Failed>*"
    assert detail["text"]["type"] == "plain_text"
    assert "webhook-signature" not in told.headers
    evil = message(letter("", status="<!channel>|x"))
    assert "<!channel>" not in json.dumps(evil)


async def test_mail_arrives_and_no_header_can_be_smuggled_in() -> None:
    with SmtpServer() as server:
        post = Post.read(f"smtp://ada:p%40ss@127.0.0.1:{server.port}?tls=no")
        messenger = MailMessenger(post, "treadle@example.com", {})
        sent = letter("ops@example.com, dev@example.com", status="Failed\r\nBcc: all@example.com", output="It broke.")
        reply = await messenger.send(sent)
        assert reply.error is None, reply
        await messenger.close()
    [mail] = server.mails
    assert (mail.sender, mail.recipients) == ("treadle@example.com", ("ops@example.com", "dev@example.com"))
    assert mail.message["Subject"] == "[Treadle] Run 7 on acme/demo ended: Failed Bcc: all@example.com"
    assert mail.message["Bcc"] is None
    assert mail.message["Message-ID"] == "<msg_1@example.com>"
    assert "It broke." in str(mail.message.get_payload())
    assert any(each.startswith("AUTH PLAIN") for each in server.commands)


async def test_what_a_mail_server_says_is_told_without_what_was_sent() -> None:
    with SmtpServer({"RCPT": "550 nobody"}) as server:
        messenger = MailMessenger(Post.read(f"smtp://127.0.0.1:{server.port}?tls=no"), None, {})
        reply = await messenger.send(letter("ops@example.com"))
        assert (reply.status, reply.error) == (550, "127.0.0.1 takes no e-mail for these addresses (550).")
    with SmtpServer({"AUTH": "535 no"}) as server:
        messenger = MailMessenger(Post.read(f"smtp://ada:hunter2@127.0.0.1:{server.port}?tls=no"), None, {})
        reply = await messenger.send(letter("ops@example.com"))
        assert reply.status == 535
        assert "hunter2" not in str(reply)
    with ReservedPort() as nobody:
        messenger = MailMessenger(Post.read(f"smtp://127.0.0.1:{nobody.number}?tls=no"), None, {})
        assert "cannot be reached" in str((await messenger.send(letter("ops@example.com"))).error)


async def test_without_tls_nothing_is_said_to_a_server_that_has_none() -> None:
    with SmtpServer() as server:
        messenger = MailMessenger(Post.read(f"smtp://ada:hunter2@127.0.0.1:{server.port}"), None, {})
        assert (await messenger.send(letter("ops@example.com"))).error is not None
        assert not server.mails
        assert not any(each.startswith("AUTH") for each in server.commands)


@pytest.mark.parametrize(
    "url", ["mail.example", "http://mail.example", "smtp://", "smtp://a?tls=maybe", "smtp://a:b@c:x"]
)
def test_an_address_of_a_mail_server_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="TREADLE_SMTP_URL") as error:
        Post.read(url)
    assert url not in str(error.value)


async def test_there_is_mail_where_there_is_a_server() -> None:
    without = build(Settings.model_validate({}))
    with_one = build(Settings.model_validate({"smtp_url": "smtps://mail.example.com"}))
    assert set(without) == {WebhookKind.WEBHOOK, WebhookKind.SLACK}
    assert set(with_one) == set(WebhookKind)
    for each in (*without.values(), *with_one.values()):
        await each.close()
