"""Texts with and without credentials, made from a seed. No credential in them opens anything."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

from benchmarks.credentials.examples import ALPHABETS, example
from gateway.inspection.credentials.ruleset import Ruleset

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
    "not",
    "he",
    "this",
    "are",
    "or",
    "his",
    "from",
    "at",
    "which",
    "but",
    "have",
    "an",
    "had",
    "they",
    "you",
    "were",
    "there",
    "one",
    "all",
    "their",
    "we",
    "him",
    "been",
    "has",
    "when",
    "who",
    "will",
    "more",
    "no",
    "if",
    "out",
    "so",
    "said",
    "what",
    "up",
    "its",
    "about",
    "into",
    "than",
    "them",
    "can",
    "only",
    "other",
    "new",
    "some",
    "could",
    "time",
    "these",
    "two",
    "may",
    "then",
    "do",
    "first",
    "any",
    "my",
    "now",
    "such",
    "like",
    "our",
    "over",
    "man",
    "me",
    "even",
    "most",
    "made",
    "after",
    "also",
    "did",
    "many",
    "before",
    "must",
    "through",
    "back",
    "years",
    "where",
    "much",
    "your",
    "way",
    "well",
    "down",
    "should",
    "because",
    "each",
    "just",
    "those",
    "people",
    "invoice",
    "meeting",
    "customer",
    "release",
    "deploy",
    "server",
    "cluster",
    "database",
    "password",
    "token",
    "secret",
    "key",
    "access",
    "account",
    "policy",
    "review",
    "ticket",
    "pull",
    "request",
    "branch",
    "merge",
    "token",
    "budget",
    "authentication",
    "authorization",
    "credential",
    "session",
    "rotate",
    "expired",
]
NAMES = [
    "user",
    "session",
    "order",
    "item",
    "account",
    "value",
    "config",
    "result",
    "handler",
    "state",
    "index",
    "client",
    "cache",
    "request",
    "response",
]


@dataclass(frozen=True, slots=True)
class Positive:
    rule: str
    context: str
    text: str
    value: str


def positives(ruleset: Ruleset, random: Random, each: int = 1) -> Iterator[Positive]:
    """Every rule's value in every context."""
    for rule in ruleset.rules:
        for context, write in CONTEXTS.items():
            for _ in range(each):
                value = example(rule.example, random)
                yield Positive(rule.id, context, write(value, random), value)


def _sentence(value: str, random: Random) -> str:
    return f"{_prose(random, 12)} It is {value} and {_prose(random, 8)}"


def _env(value: str, _random: Random) -> str:
    return f"PORT=8080\nAPP_SETTING={value}\nLOG_LEVEL=info\n"


def _json(value: str, random: Random) -> str:
    return json.dumps({"id": random.randrange(10**6), "name": "main", "setting": value, "tags": ["a", "b"]})


def _header(value: str, _random: Random) -> str:
    return f"GET /v1/items HTTP/1.1\nHost: api.example.com\nX-Setting: {value}\nAccept: */*\n"


def _url(value: str, _random: Random) -> str:
    return f"see https://api.example.com/v1/items?limit=10&s={quote(value, safe='!$()*,/:;=?@[]~+-._&{}')} for it"


def _log(value: str, random: Random) -> str:
    return f'2026-11-2{random.randrange(9)}T10:15:0{random.randrange(9)}Z INFO worker[{random.randrange(999)}]: loaded "{value}" in 12ms'


CONTEXTS: dict[str, Callable[[str, Random], str]] = {
    "sentence": _sentence,
    "env": _env,
    "json": _json,
    "header": _header,
    "url": _url,
    "log": _log,
}


# --- without credentials ---------------------------------------------------------------------------


def negatives(random: Random, each: int) -> Iterator[tuple[str, str]]:
    """(kind, text): `each` texts of every kind."""
    for kind, write in BENIGN.items():
        for _ in range(each):
            yield kind, write(random)


def _run(random: Random, letters: str, length: int) -> str:
    return "".join(random.choices(letters, k=length))


def hexadecimal(random: Random, length: int) -> str:
    return _run(random, ALPHABETS["x"], length)


def _b64(random: Random, size: int) -> str:
    return base64.b64encode(random.randbytes(size)).decode()


def _uuid(random: Random) -> str:
    return "-".join(hexadecimal(random, size) for size in (8, 4, 4, 4, 12))


def _prose(random: Random, words: int) -> str:
    return " ".join(random.choices(WORDS, k=words)).capitalize() + "."


def prose(random: Random) -> str:
    return " ".join(_prose(random, random.randrange(6, 18)) for _ in range(8))


def _git_log(random: Random) -> str:
    return (
        "\n".join(
            f"commit {hexadecimal(random, 40)}\nAuthor: A <a@example.com>\n\n    {_prose(random, 6)}" for _ in range(4)
        )
        + f"\nindex {hexadecimal(random, 7)}..{hexadecimal(random, 7)} 100644"
    )


def _uuids(random: Random) -> str:
    return json.dumps(
        [
            {"id": _uuid(random), "parentId": _uuid(random), "requestId": _uuid(random), "uuid": _uuid(random)}
            for _ in range(4)
        ]
    )


def _digests(random: Random) -> str:
    names = ("sha256", "md5", "checksum", "etag", "digest", "integrity", "fingerprint", "tokenHash", "passwordHash")
    return json.dumps({name: hexadecimal(random, random.choice((32, 40, 64, 128))) for name in names})


def _image(random: Random) -> str:
    return f'<img src="data:image/png;base64,iVBORw0KGgo{_b64(random, 1500)}" alt="x">'


def _pages(random: Random) -> str:
    names = (
        "nextPageToken", "next_page_token", "cursor", "nextCursor", "continuationToken", "continuation", "page_token",
        "syncToken", "NextToken", "nextToken", "resumeToken", "progressToken", "endCursor", "deltaToken", "prev_token",
    )  # fmt: skip
    return json.dumps(
        {
            "items": [1, 2],
            random.choice(names): _b64(random, 30),
            random.choice(names): _run(random, ALPHABETS["u"], 44),
        }
    )


def _minified(random: Random) -> str:
    parts = [
        f"function {random.choice('abcdefgh')}({random.choice('xyz')},{random.choice('uvw')}){{return {random.choice(NAMES)}."
        f"{random.choice(NAMES)}({random.choice('xyz')}?{random.randrange(99)}:void 0)}}"
        for _ in range(20)
    ]
    return (
        'var t={token:null,password:"",secret:void 0,apiKey:e.apiKey,auth:n(142)};'
        + ";".join(parts)
        + ";export{t as default}"
    )


def _log_lines(random: Random) -> str:
    return "\n".join(
        f"2026-11-25T10:{random.randrange(60):02}:{random.randrange(60):02}.{random.randrange(1000):03}Z "
        f"{random.choice(('INFO', 'WARN', 'ERROR'))} [{_run(random, ALPHABETS['x'], 16)}] {random.choice(NAMES)}: "
        f"{random.choice(('token expired for', 'password changed by', 'invalid secret for', 'GET /items/', 'took'))} "
        f"user {random.randrange(10**6)} trace={hexadecimal(random, 32)} span={hexadecimal(random, 16)} 10.0.0.{random.randrange(255)}:{random.randrange(65535)}"
        for _ in range(10)
    )


def _public_key(random: Random) -> str:
    body = "\n".join(_b64(random, 48) for _ in range(6))
    return random.choice(
        (
            f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----",
            f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----",
            f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{_run(random, ALPHABETS['b'], 43)} me@example.com",
            f"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ{_run(random, ALPHABETS['b'], 340)} me@example.com",
            json.dumps(
                {
                    "keys": [
                        {
                            "kty": "EC",
                            "crv": "P-256",
                            "kid": _run(random, ALPHABETS["u"], 27),
                            "x": _run(random, ALPHABETS["u"], 43),
                            "y": _run(random, ALPHABETS["u"], 43),
                        }
                    ]
                }
            ),
            f"age1{_run(random, '023456789acdefghjklmnpqrstuvwxyz', 58)}",
        )
    )


def _lock_file(random: Random) -> str:
    name = f"{random.choice(NAMES)}-{random.choice(NAMES)}"
    return random.choice(
        (
            json.dumps(
                {
                    f"node_modules/{name}": {
                        "version": "1.2.3",
                        "resolved": f"https://registry.example/{name}/-/{name}-1.2.3.tgz",
                        "integrity": f"sha512-{_b64(random, 64)}",
                    }
                }
            ),
            f"{name}==1.2.3 \\\n    --hash=sha256:{hexadecimal(random, 64)} \\\n    --hash=sha256:{hexadecimal(random, 64)}",
            f"github.com/acme/{name} v1.2.3 h1:{_b64(random, 32)}\ngithub.com/acme/{name} v1.2.3/go.mod h1:{_b64(random, 32)}",
            f'[[package]]\nname = "{name}"\nversion = "1.2.3"\nchecksum = "{hexadecimal(random, 64)}"\n',
        )
    )


def _source(random: Random) -> str:
    return random.choice(
        (
            "def login(user: str, password: str) -> Token:\n    token = create_token(user, secret=settings.SECRET_KEY)\n    return token\n",
            'const token = process.env.GITHUB_TOKEN;\nconst apiKey = config.get("apiKey");\nif (!token) throw new Error("token is missing");\n',
            'password = os.environ["DB_PASSWORD"]\nsecret_key = getenv("SECRET_KEY", "")\napi_key: Optional[str] = None\n',
            "env:\n  - name: DB_PASSWORD\n    valueFrom:\n      secretKeyRef:\n        name: db-credentials\n        key: password\n",
            'type Config struct {\n\tToken string `json:"token"`\n\tPassword string `json:"password,omitempty"`\n}\n',
            "steps:\n  - run: deploy --token ${{ secrets.DEPLOY_TOKEN }}\n    env:\n      API_KEY: ${API_KEY}\n",
            '<input type="password" name="password" placeholder="Password" autocomplete="current-password">',
            "for token in tokens:\n    if token == Token.SECRET:\n        parser.expect(token.kind)\n",
            'resource "aws_db" "x" {\n  password = var.db_password\n  secret_id = aws_secretsmanager_secret.x.id\n}\n',
        )
    )


def _schema(random: Random) -> str:
    return json.dumps(
        {
            "properties": {
                "password": {"type": "string", "minLength": 8, "description": "The password of the user"},
                "token": {
                    "type": "string",
                    "format": "uuid",
                    "description": "API token, see https://example.com/docs/tokens",
                },
                "api_key": {"type": "string", "default": "", "examples": ["<your-api-key>"]},
            },
            "required": ["password", "token"],
            "max_tokens": random.randrange(9999),
            "usage": {"prompt_tokens": random.randrange(9999), "completion_tokens": random.randrange(9999)},
            "token_type": "Bearer",
            "securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        }
    )


def _documentation(random: Random) -> str:
    return random.choice(
        (
            "Set `AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE` and `AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY`.",
            'curl -H "Authorization: Bearer <token>" https://api.example.com -d \'{"password": "********"}\'',
            "export OPENAI_API_KEY=sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nexport TOKEN=your_token_here\nexport SECRET=changeme",
            "Connect with postgres://user:password@localhost:5432/app or redis://default:<password>@cache:6379.",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
            "The token is expired. The password was changed on Monday. Your secret: be kind. Reset code sent.",
            'GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx # replace with yours\nPASSWORD="$(pass show db)"',
        )
    )


def _data(random: Random) -> str:
    rows = (
        f"{random.randrange(10**9)},{random.choice(NAMES)}@example.com,+49 30 {random.randrange(10**7):07},"
        f"{random.randrange(2000, 2030)}-0{random.randrange(1, 9)}-1{random.randrange(9)},{random.random():.6f},{_run(random, string.ascii_uppercase + string.digits, 10)}"
        for _ in range(8)
    )
    return "id,email,phone,date,score,sku\n" + "\n".join(rows)


def _markup(random: Random) -> str:
    return (
        f'<svg viewBox="0 0 24 24"><path d="M{random.randrange(99)} {random.randrange(99)}l{random.random():.3f}-{random.random():.3f}z" '
        f'fill="#{hexadecimal(random, 6)}"/></svg><a href="https://example.com/p/{_run(random, ALPHABETS["w"], 11)}?utm_source=x&v={random.randrange(99)}">x</a>'
        f'<script src="/static/app.{hexadecimal(random, 20)}.js"></script>'
    )


def _identifiers(random: Random) -> str:
    return json.dumps(
        {
            "arn": f"arn:aws:iam::{random.randrange(10**12):012}:role/Deploy",
            "role_id": f"AROA{_run(random, ALPHABETS['B'], 16)}",
            "_id": hexadecimal(random, 24),
            "ulid": _run(random, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26),
            "video": _run(random, ALPHABETS["u"], 11),
            "customer": f"cus_{_run(random, ALPHABETS['w'], 14)}",
            "pk": f"pk_live_{_run(random, ALPHABETS['w'], 24)}",
            "channel": f"C{_run(random, ALPHABETS['U'], 10)}",
            "traceparent": f"00-{hexadecimal(random, 32)}-{hexadecimal(random, 16)}-01",
            "key_id": _run(random, ALPHABETS["w"], 20),
            "tx": f"0x{hexadecimal(random, 64)}",
        }
    )


BENIGN: dict[str, Callable[[Random], str]] = {
    "git ids": _git_log,
    "UUIDs": _uuids,
    "digests": _digests,
    "base64 images": _image,
    "page tokens": _pages,
    "minified JS": _minified,
    "prose": prose,
    "logs": _log_lines,
    "public keys": _public_key,
    "lock files": _lock_file,
    "source": _source,
    "schemas": _schema,
    "documentation": _documentation,
    "tables": _data,
    "markup": _markup,
    "identifiers": _identifiers,
}
