"""What the audit log knows to have been done: every action, with its meaning; `docs/reference/audit.md` lists them."""

from enum import StrEnum
from typing import Self


class Action(StrEnum):
    """`means`: a sentence. The part before the dot says what it was done to."""

    means: str

    def __new__(cls, value: str, means: str) -> Self:
        made = str.__new__(cls, value)
        made._value_ = value
        made.means = means
        return made

    SIGNED_IN = "session.started", "Somebody signed in at the page; by what."
    SIGN_IN_REFUSED = "session.refused", "Somebody tried to sign in and was refused; by what, and why."
    SIGN_IN_THROTTLED = "session.throttled", "Too many tries to sign in; the first of them in five minutes."
    SIGNED_OUT = "session.ended", "Somebody signed out."
    SESSION_REVOKED = "session.revoked", "One session, or all of a user's, were ended."
    SESSION_SWITCHED = "session.switched", "A session went to another organization of its user."
    CREDENTIALS_THROTTLED = (
        "credentials.throttled",
        "An address sent the API too many credentials that do not count; the first of them in a minute.",
    )
    TOKEN_ISSUED = "token.issued", "A JWT was given for an API key."
    TOKENS_REVOKED = "token.revoked", "All JWTs that a user had were made useless."
    PASSWORD_SET = "password.set", "A user got another password, or lost it."
    IDENTITY_LINKED = "identity.linked", "A user signs in at an OpenID Connect provider from now on."
    KEY_CREATED = "key.created", "An API key was made."
    KEY_REVOKED = "key.revoked", "An API key was made useless."

    ORGANIZATION_CREATED = "organization.created", "An organization was made."
    ORGANIZATION_CHANGED = "organization.changed", "Settings, rules, budgets or limits of an organization."
    MEMBER_ADDED = "member.added", "A user got a role in an organization."
    MEMBER_CHANGED = "member.changed", "A member got another role."
    MEMBER_REMOVED = "member.removed", "A user lost its role in an organization."
    USER_CHANGED = "user.changed", "What is known of a user, or its own rules."

    REPOSITORY_ADDED = "repository.added", "A repository was registered."
    REPOSITORY_CHANGED = (
        "repository.changed",
        "A repository's address, credentials, forge, rules, network policy or whatever else is set for it.",
    )
    REPOSITORY_REMOVED = "repository.removed", "A repository was removed, with its secrets."
    REPOSITORY_SETUP_CHANGED = "repository.setup_changed", "A repository got other setup commands, or lost them."
    REPOSITORY_CHECKS_CHANGED = "repository.checks_changed", "What becomes of a repository's failed checks."
    REPOSITORY_SECRET_SET = "repository.secret_set", "A repository's secret got a value; its name is told."
    REPOSITORY_SECRET_REMOVED = "repository.secret_removed", "A repository lost a secret."

    RUN_CREATED = "run.created", "A run was started."
    RUN_RESUMED = "run.resumed", "A run got one more step."
    RUN_KILLED = "run.killed", "Somebody asked for a run's end."
    RUN_CREDENTIALS_CHANGED = (
        "run.credentials_changed",
        "A run got other credentials; of which kind.",
    )
    BATCH_STARTED = "batch.started", "A plan was started on several repositories."
    BATCH_CHANGED = "batch.changed", "How many runs of a batch may be under way at once."
    BATCH_RETRIED = "batch.retried", "What failed, or was left out, in a batch is tried again."
    BATCH_KILLED = "batch.killed", "Somebody asked for a batch's end, and so for that of its runs."
    BRANCH_BANNED = "branch.banned", "A branch was flagged: nothing is started on it any more."
    BRANCH_UNBANNED = "branch.unbanned", "That flag was taken away."
    PULL_REQUEST_CHANGED = "pull_request.changed", "A pull request was opened, closed or made a draft, from here."
    SHARE_CREATED = "share.created", "A link to a run was made."
    SHARE_REVOKED = "share.revoked", "A link to a run was made useless."
    FILE_UPLOADED = "file.uploaded", "A file was uploaded."
    FILE_DELETED = "file.deleted", "A file was deleted."
    SCHEDULE_ADDED = "schedule.added", "A schedule was made."
    SCHEDULE_CHANGED = "schedule.changed", "A schedule was changed, or switched on or off."
    SCHEDULE_REMOVED = "schedule.removed", "A schedule was removed."
    SCHEDULE_FIRED = "schedule.fired", "Somebody had a schedule start what it starts, besides its times."
    SCRIPT_SAVED = "script.saved", "A script was stored, or got another version."
    SCRIPT_REMOVED = "script.removed", "A script was taken from the list; its runs stay."
    SCRIPT_STARTED = "script.started", "A script was run on the service."
    SCRIPT_KILLED = "script.killed", "Somebody ended a run of a script; the runs that it started go on."

    WEBHOOK_ADDED = "webhook.added", "A webhook was made: somebody is told of what happens."
    WEBHOOK_CHANGED = "webhook.changed", "A webhook was changed, or switched on or off; what of it."
    WEBHOOK_REMOVED = "webhook.removed", "A webhook was removed, with its messages."
    WEBHOOK_ROTATED = "webhook.rotated", "A webhook got another signing secret."
    WEBHOOK_TESTED = "webhook.tested", "Somebody had a webhook tell a test."
    WEBHOOK_RESENT = "webhook.resent", "Messages of a webhook were put in line again."
    WEBHOOK_DISABLED = "webhook.disabled", "A receiver answered that it is gone: it is told nothing any more."

    HOOK_CREATED = "hook.created", "A hook that forges, CI or trackers deliver to was made."
    HOOK_ROTATED = "hook.rotated", "A hook got another secret."
    HOOK_REMOVED = "hook.removed", "A hook was removed, with its triggers."
    TRIGGER_CREATED = "trigger.created", "A trigger was made; its name is told."
    TRIGGER_CHANGED = "trigger.changed", "A trigger does something else, or is off or on; its runs are its changer's."
    TRIGGER_REMOVED = "trigger.removed", "A trigger was removed."
    DELIVERY_REPEATED = "trigger.redelivered", "A delivery was worked off once more."

    CONNECT_TOKEN_ISSUED = "connection.token_issued", "A token to connect an account elsewhere was given."
    CONNECTED = "connection.made", "An account elsewhere was connected with a user."
    PROVIDER_ADDED = "provider.added", "An issuer of OAuth tokens was registered."
    PROVIDER_REMOVED = "provider.removed", "An issuer of OAuth tokens was removed, with all tokens."
    OAUTH_TOKEN_SET = "oauth_token.set", "A user's OAuth token was put in."
    OAUTH_TOKEN_REVOKED = "oauth_token.revoked", "A user's OAuth tokens with a provider were erased."

    SERVICE_BEGUN = "service.begun", "An empty database got its first organization, admin and key."
    PRUNED = "service.pruned", "The operator removed what ended runs had left."
    KEY_MADE = "service.key_made", "A rotation put another key before the others; what is sealed follows."
    KEYS_ROTATED = "service.keys_rotated", "What is sealed was sealed anew with another key."


def is_asked_for(text: str) -> bool:
    """Whether it is an action, or with a dot at its end how some begin."""
    is_beginning = text.endswith(".")
    return any(action == text or (is_beginning and action.startswith(text)) for action in Action)
