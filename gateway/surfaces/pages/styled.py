"""The form of pages for ordinary people: light and dark, from 390 px on, without a script. Pure."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

from gateway.base.letters import spell_out

_STYLE: Final = """
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--text:#1b1f27;--soft:#545c6b;--line:#d5dae2;--accent:#1d4fb8;--on:#fff;--alarm:#a61b29;--alarm-back:#fde8ea}
@media(prefers-color-scheme:dark){:root{--page:#12151b;--card:#1b2029;--text:#e7eaf0;--soft:#a8b1c0;--line:#343c4a;--accent:#93b7ff;--on:#0d1526;--alarm:#ff9aa3;--alarm-back:#3b171c}}
*{box-sizing:border-box}
body{margin:0;padding:1rem;background:var(--page);color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
main{max-width:38rem;margin:6vh auto 0;padding:1.25rem 1.4rem 1.4rem;background:var(--card);border:1px solid var(--line);border-radius:12px}
h1{font-size:1.35rem;line-height:1.3;margin:0 0 .9rem}
p,ul{margin:0 0 .8rem}
p:last-child{margin-bottom:0}
a{color:var(--accent)}
code{font:.9em ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
.brief{font-size:1.08rem;font-weight:600}
.soft{color:var(--soft)}
.letters{font:700 1.15em ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;letter-spacing:.12em}
.alarm{background:var(--alarm-back);color:var(--alarm);border-radius:6px;padding:.6rem .8rem}
.button,button{display:inline-block;font:inherit;font-weight:600;padding:.5rem 1.1rem;margin:.2rem .4rem .2rem 0;border:1px solid var(--accent);border-radius:8px;background:var(--accent);color:var(--on);text-decoration:none;cursor:pointer}
button.quiet{background:transparent;color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
"""
STYLE_SOURCE: Final = "'sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii") + "'"
"""The only style that the security policy of such a page allows."""


def write_page(title: str, content: str, *, head: str = "") -> bytes:
    """Return a page. `content` and `head` are markup; the title is text."""
    named = write_text(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">{head}'
        f"<title>{named}</title><style>{_STYLE}</style></head><body><main><h1>{named}</h1>{content}</main></body></html>"
    ).encode()


def write_text(text: str) -> str:
    """Return foreign text for a page: markup is escaped, and invisible or turning characters are written out."""
    return escape(spell_out(text))
