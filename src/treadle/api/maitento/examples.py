"""Examples of the documentation; a test sends and reads them."""

from typing import Any

PROCESS_REQUEST: dict[str, Any] = {
    "gitUrl": "https://git.example/acme/shop.git",
    "gitHttpCredentials": "ghp_xxxxxxxxxxxxxxxxxxxx",
    "branchSource": "main",
    "branchWork": "feature/user-service-tests",
    "steps": [
        {
            "step": "Find what of the UserService class has no tests",
            "isCommitableStep": False,
            "isStructuredOutput": True,
        },
        {"step": "Add unit tests for it", "isCommitableStep": True},
    ],
    "codeGuidelines": "Prefer many small tests.",
    "generateDiffOnCompletion": True,
    "engine": "Claude",
    "claudeAuthentication": {"source": "ClientApiKey", "apiKey": "000-dummy"},
    "maxCostUsd": 2.5,
    "network": {"allow": ["pkg.test", "*.example.net"]},
    "validate": ["make test"],
}

CREDENTIALS_REQUEST: dict[str, Any] = {"gitHttpCredentials": "ghp_new_personal_access_token"}

CLAUDE_REQUEST: dict[str, Any] = {
    "claudeAuthentication": {
        "source": "ClientLicense",
        "oAuthAccessToken": "sk-ant-oat01-xxxxxxxxxxxx",
        "oAuthRefreshToken": "sk-ant-ort01-xxxxxxxxxxxx",
        "oAuthExpiresAt": "2027-01-16T10:30:00Z",
        "oAuthScopes": ["user:inference", "user:profile"],
        "oAuthSubscriptionType": "max",
    }
}

_USAGE: dict[str, Any] = {"inputTokens": 0, "outputTokens": 0, "costUsd": 0.0, "durationMs": 0}

PROCESS: dict[str, Any] = {
    "id": "6a7c2b9e-3f41-4d8a-9c55-0e8d1f2a7b30",
    "tenantId": "1b4e28ba-2fa1-41d2-883f-0016d3cca427",
    "userCreatedById": "9f86d081-884c-4d65-9a2f-eaa0c55ad015",
    "dateCreated": "2026-10-01T09:30:00.000Z",
    "dateUpdated": "2026-10-01T09:30:00.000Z",
    "dateStarted": None,
    "dateCompleted": None,
    "dateRunnerPing": None,
    "status": "New",
    "failureDetails": None,
    "gitUrl": "https://git.example/acme/shop.git",
    "branchSource": "main",
    "branchWork": "feature/user-service-tests",
    "codeGuidelines": "Prefer many small tests.",
    "fileIds": [],
    "generateDiffOnCompletion": True,
    "engine": "Claude",
    "diff": None,
    "steps": [
        {
            "id": "0c0e8a52-5f0f-4b52-9f5e-4e8b7f0b9a11",
            "step": "Add unit tests for the UserService class",
            "isCommitableStep": True,
            "isStructuredOutput": False,
            "status": "NotStarted",
            "phase": None,
            "output": None,
            "structuredOutput": None,
            "failureDetails": None,
            "commitSha": None,
            "dateStarted": None,
            "dateCompleted": None,
            "usage": _USAGE,
            "validation": [],
        }
    ],
    "usage": _USAGE,
    "maxCostUsd": 2.5,
    "network": {"allow": ["pkg.test", "*.example.net"]},
    "validate": {"commands": ["make test"], "tries": 3},
}

DIFF: dict[str, Any] = {
    "files": [
        {
            "filename": "README.md",
            "oldFilename": None,
            "isNew": False,
            "isDeleted": False,
            "isRenamed": False,
            "isBinary": False,
            "changes": [
                {
                    "header": "@@ -1 +1 @@",
                    "diff": [
                        {
                            "type": "Removed",
                            "content": "# Shop",
                            "oldLine": 1,
                            "newLine": None,
                            "noNewlineAtEnd": False,
                        },
                        {
                            "type": "Added",
                            "content": "# The shop",
                            "oldLine": None,
                            "newLine": 1,
                            "noNewlineAtEnd": False,
                        },
                    ],
                }
            ],
        }
    ]
}

EVENT: dict[str, Any] = {
    "number": 3,
    "type": "step.started",
    "date": "2026-10-01T09:30:02.125Z",
    "step": 1,
    "phase": None,
    "data": {"text": "Add unit tests for the UserService class", "isCommitable": True},
}

EVENTS_TEXT = (
    "retry: 2000\n\n"
    "id: 3\nevent: step.started\n"
    'data: {"number":3,"type":"step.started","date":"2026-10-01T09:30:02.125Z","step":1,"phase":null,"data":{}}\n\n'
)

ARTIFACT: dict[str, Any] = {
    "name": "partial-work-step-2.patch",
    "contentType": "text/x-diff",
    "size": 1874,
    "dateCreated": "2026-10-01T09:41:13.480Z",
}

FILE: dict[str, Any] = {
    "id": "b3e1c1f0-6b5d-4f8e-8d55-2f9f3c1d7a42",
    "name": "screenshot.png",
    "contentType": "image/png",
    "size": 48213,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "dateCreated": "2026-10-01T09:29:41.007Z",
}

TOKEN: dict[str, Any] = {
    "accessToken": "eyJhbGciOiJSUzI1NiIsImtpZCI6Ii4uLiJ9.…",
    "tokenType": "Bearer",
    "expiresIn": 86400,
    "dateExpires": "2026-10-02T09:30:00.000Z",
}

KEYS: dict[str, Any] = {
    "keys": [{"kty": "RSA", "n": "…", "e": "AQAB", "kid": "…", "use": "sig", "alg": "RS256"}],
}

INVALID: dict[str, Any] = {
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "detail": "The request is not valid.",
    "code": "invalid_input",
    "errors": {
        "branchWork": ["Must differ from branchSource."],
        "steps[0].isCommitable": ["Is not a known field; did you mean isCommitableStep?"],
    },
}
