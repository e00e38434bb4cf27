"""Finds credentials in sentences, commands, statements and links. Pure.

Each phrase has a sign and an expression. One pass over a text looks for all signs (`detect`). Only a text with its sign is
searched by an expression. The last group of an expression is the credential; a group before it is the name of its user.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from gateway.inspection.credentials.finding import Hit, Kind, SignedSearch
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.named import KEYS, LOCAL, NAMES, is_placeholder, is_plausible
from gateway.inspection.credentials.ordinary import is_ordinary
from gateway.inspection.credentials.ruleset import Re2Match, Re2Pattern, compiled

Accepts = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Phrase:
    """A form of giving a credential. `sign` is an RE2 expression for a short part of each accepted match."""

    detector: str
    sign: str
    expression: Re2Pattern
    accepts: Accepts

    def find(self, text: bytes) -> Iterator[Hit]:
        """Yield the credentials that the phrase gives in a text."""
        for match in self.expression.finditer(text):
            yield from _hits(self, match, text)


# --- which values may be one -------------------------------------------------------------------------


def _is_password(value: str) -> bool:
    """Return whether a value that is surely delimited can be a password."""
    return is_plausible(value, "password")


def _is_mixed(value: str) -> bool:
    """Return whether a word can be a password where a password stands: it mixes letters with digits or marks."""
    return is_plausible(value, "password", structured=False) and any(char.isdigit() for char in value)


def _is_generated(value: str) -> bool:
    """Return whether a word can be a password where any word may stand."""
    return _is_mixed(value) and not is_ordinary(value)


def _is_random(value: str) -> bool:
    """Return whether the parameter of a link opens something: a place in a list or a time does not."""
    return is_plausible(value, "token") and not is_ordinary(value)


def _is_secret_word(value: str) -> bool:
    """Return whether a word can be a password after the name of a user: a generated word, or words that make no name."""
    return _is_generated(value) or (value.count("-") > 1 and is_plausible(value, "password", structured=False))


def _is_given(value: str) -> bool:
    """Return whether a word can be a password where a product or a protocol may stand too."""
    return _is_secret_word(value) or (_is_mixed(value) and _PRODUCT.match(value) is None)


def _is_noted(value: str) -> bool:
    """Return whether a note can name this word a password. Notes explain names of variables and functions too."""
    return _is_mixed(value) and _VARIABLE.fullmatch(value) is None


def _is_pin(value: str) -> bool:
    return not is_placeholder(value)


def _is_recovery_code(value: str) -> bool:
    return sum(char.isdigit() for char in value) > 1 and len(value) > 5 and not is_placeholder(value)


def _is_seed(value: str) -> bool:
    return len(set(value.split())) > len(value.split()) // 2


_PRODUCT: Final = re.compile(
    r"(?:chrome|firefox|safari|edge|opera|windows|microsoft|office|android|outlook|ios|iphone|ipad|macos|ubuntu|debian|python|java|node"
    r"|auth|oauth|saml|oidc|fido|totp|web|sha|md|base|ipv|http|tls|u2f|mfa|2fa|x)[0-9]",
    re.IGNORECASE,
)
_VARIABLE: Final = re.compile(r"[A-Za-z]+[0-9]?(?:[_.][A-Za-z]+[0-9]?)+|[a-z]+(?:[A-Z][a-z]+)+[0-9]?")


# --- the phrases -------------------------------------------------------------------------------------

_USER: Final = r"[\"'\x60]?([A-Za-z0-9_.@+\\-]{2,64})[\"'\x60]?"
_NAME: Final = r"[\"'\x60]?[a-z0-9_.@+\\-]+[\"'\x60]?"
"""The sign of `_USER`. Counted repetition makes the one pass for all signs slow, so that no sign has it."""
_WORD: Final = r"[\"'\x60]?([^\s\"'\x60<>/\x00][^\s\"'\x60<>\x00]{5,127})"
_QUOTED: Final = r"[\"']([^\"'\r\n\x00]{6,128})[\"']"
_DIGIT: Final = r"\pN"
"""The sign of a character that `str.isdigit` takes: an Arabic digit or a superscript is one."""
_HAS_DIGIT: Final = rf"\S*{_DIGIT}"
"""The sign of a word that mixes letters and digits: without it, prose has the signs of phrases on every page."""
_SECRET: Final = rf"(?:password|passwd|pwd|pw|passphrase|passcode|api[ _-]?key|access key|secret key|token|{LOCAL})"
_OPTIONS: Final = (
    (r"sshpass", r"-p\s?"),
    (r"(?:docker|podman|nerdctl|buildah|oc|registry|acr|auth|az) login", r"(?:-p|--password)[= ]\s?"),
    (r"(?:mysql|mariadb)[a-z]*", r"-p"),
    (r"mongo[a-z]*", r"-p[= ]?"),
    (r"redis-cli", r"-a\s"),
    (r"ldap[a-z]+", r"-w\s?"),
    (r"(?:un)?zip|sqlcmd|osql|isql|bcp|mosquitto_[a-z]+|ipmitool", r"-P\s?"),
    (r"(?:cqlsh|evil-winrm|netexec|crackmapexec|twine)", r"-p\s"),
    (r"7z[ar]?|rar|unrar", r"-h?p"),
    (r"ssh-keygen", r"-[NP]\s?"),
    (r"snmp[a-z]+", r"-[AX]\s?"),
    (r"openssl", r"-pass(?:in|out)?\spass:"),
    (r"keytool", r"-(?:store|key)pass\s"),
    (r"htpasswd", r"-[A-Za-z]{0,6}b[A-Za-z]{0,6}\s\S{1,80}\s\S{1,64}\s"),
    (r"rabbitmqctl", r"(?:add_user|change_password)\s\S{1,64}\s"),
    (r"net use", r"/user:\S{1,64}\s"),
    (r"net user", r"\S{1,64}\s"),
    (r"(?:x|wl|sdl|sdl3)?-?freerdp3?", r"/p:"),
    (r"nmcli", r"password\s"),
    (r"wpa_passphrase", r"\S{1,64}\s"),
    (r"lftp", r"-u\s?[^\s,]{1,64},"),
)
"""Commands whose options give a password, and those options. Elsewhere `-p` is a port, a path or a process."""
_LOG_IN: Final = r"(?:log(?:ging|ged)?[ -]?(?:in|on)|sign(?:ing|ed)?[ -]?in|authenticate|connect|ssh)"
_AS: Final = rf"\b{_LOG_IN}\s(?:as|with|using|via|by)\s"
_LOGIN: Final = r"\b(?:credentials?|creds|log[ -]?in|logon|sign[ -]?in|account|user(?:name)?\s?/\s?pass(?:word)?|zugangsdaten|wi-?fi|admin)\b"
_TELLS: Final = r"(?:[:=]|\s(?:[-–→]|->|=>))\s?"
_IS: Final = rf"[^\n:=/|0-9]{{0,24}}{_TELLS}"
_OPENS: Final = (
    r"(?:magic|log-?in|sign-?in|auth|verif|confirm|activat|invit|reset|recover|unlock|session|sso|access|password|join)"
)
_PARAMETER: Final = r"[?&#](?:t|k|c|key|code|ticket|auth|otp|l)="
_SAYS: Final = r"(?:['’]s|(?:\s[a-zß-ÿ']{1,12}){0,6}\s(?:is|was|be|to|lautet|ist|est|es|auf):?|\s(?:-|–|—|→|->))\s"
_SAYS_SIGN: Final = r"(?:['’]s|(?:\s[a-zß-ÿ']+)*\s(?:is|was|be|to|lautet|ist|est|es|auf):?|\s(?:-|–|—|→|->))\s"
_IS_PAIR: Final = r"\s(?:is|are|ist|sind|lautet|lauten)\s"
_WIFI_KEY: Final = r"(?:(?:network|security|wi-?fi|wlan)[ -])?(?:key|schlüssel)\s?[:=]\s?"
_KEPT: Final = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api_?key)"
_WHOSE: Final = r"\sis\s(?:your|the|my|our)\s(?:new\s|temporary\s|initial\s)?"
_FOR: Final = r"\s(?:as|for)\s(?:the\s|your\s|its\s|a\s)?"
_PIN: Final = r"\bpin(?:\s(?:code|number))?\s?(?:is|:|=|-)\s?"
_PIN_OF: Final = (
    r"\b(?:your|my|our|the|new|card|door|gate|alarm|sim|safe|access|entry|login|user|security)\s(?:\w{1,16}\s)?"
)
_CODES: Final = r"\b(?:recovery|backup|scratch|rescue)[ _-]codes?[\"']?\s?(?:[:=]|are|is)"
_WORDS_OF_SEED: Final = r"\b(?:seed|mnemonic|recovery)(?:[ _-](?:phrase|words))?[\"']?\s?(?:[:=]|is)"
_SCHEME: Final = r"authorization[\"']?\s?[:=]\s?[\"']?(?:token|api-?key|key|bot|geniekey|splunk|zoho-oauthtoken)\s"
_CALL: Final = r"(?:auth|credentials?|login|authenticate|connect|connection)\s?[=(]\s?\(?[^()\n\"']*[\"']"
_PGPASS: Final = r"(?:^|[\s\"'\x60])[\w.*-]{1,128}:(?:\d{4,5}|\*):"
_CURL: Final = r"\s(?:-u|--user|-a|--auth|--proxy-user)[ =]?"
_COOKIE: Final = r"\s(?:-b|--cookie)[ =]?[\"']?[\w.-]+="
_QUERY: Final = r"[?&](?:key|sig|signature|auth|k|appid|api|apikey|api_key|access_key|pw|pass|pwd|sas)="
_HEADING: Final = r"(?:[a-z0-9'’-]+\s)*"
"""The words of a note before the name of a credential: `the new admin`."""
_MARK: Final = r"(?:#|//|--|/\*|<!--|<-|←|;)\s*"
"""The beginning of a note."""
_NOTED: Final = r"([^\s\"'\x60<>()=\x00]{6,128}=*)"
_READS: Final = (
    r"(?:[\w-]*login|sudo\s[^\n|]*-[a-z]*s|su\s|--[\w-]*stdin|--[\w-]*from-stdin|passwd|chpasswd|smbpasswd|--with-token|--passphrase-fd"
    r"|cryptsetup|kinit|ansible-vault|secrets?\s[^\n|]*(?:create|set|add|put)|(?:create|set|add|put)\s[^\n|]*secrets?\s"
    r"|security\sadd|pass\s(?:insert|add)|op\s(?:create|item)|-pass(?:in|out)?\sstdin|mount\.cifs|wpa_passphrase|ssh-add|gpg\s[^\n|]*--pass)"
)
"""A command that reads a password or key from its input."""
_END: Final = r"[\n\x00\"']"
"""The end of a line, a text or a string. The end of what has come so far is none."""
_WRITES: Final = r"\b(?:echo|printf|print|write-output)\s+"
_STORE: Final = r"\bsecrets?\s+(?:set|add|create|put|update|versions\s+add|put-secret-value)\b"
_STORED: Final = r"(?:--(?:body|value|data|secret-string|secret-value|plaintext)|-b)[= ]"
_SET_IN_SQL: Final = r"\bpassword\s*=?\s*n?e?[\"'$]"
_ASKS: Final = r"[^.\n]*[,:]\s(?:just\s|please\s|then\s)?(?:type|enter|use|say|answer|give|input|try)\s"
_WHEN: Final = r"\s(?:when|if|once|where|wherever|after)\s[^.\n]*"
_SMB: Final = r"\s(?:-U|--user)[ =]?"


def _phrase(detector: str, sign: str, expression: str, accepts: Accepts) -> Phrase:
    return Phrase(detector, f"(?i:{sign})", compiled(f"(?i){expression}"), accepts)


def _options() -> Phrase:
    """Return the phrase of all commands. Options tell letter case apart: `-P` is a port where `-p` is a password."""
    ways = [rf"\b(?:{command})\b(?:[^\n|;]{{0,160}}?\s)?{option}" for command, option in _OPTIONS]
    sign = rf"\b(?:{'|'.join(command for command, _ in _OPTIONS)})\b"
    return Phrase("command-option", sign, compiled(rf"(?:{'|'.join(ways)}){_WORD}"), _is_password)


PHRASES: Final = (
    _options(),
    _phrase("command-option", r"(?:requirepass|masterauth|auth-pass)\s", rf"\b(?:requirepass|masterauth|auth-pass\s\S{{1,40}})\s{{1,8}}{_WORD}", _is_password),
    _phrase("command-option", rf"\|[^\n|]*{_READS}", rf"{_WRITES}(?:-[a-z]+\s+){{0,3}}(?:[\"']?%[^\s\"']{{1,8}}[\"']?\s+)?[\"']?([^\s\"'\x60<>|\\\x00]{{6,128}})[^\n|]{{0,160}}\|[^\n|]{{0,160}}{_READS}", _is_password),
    _phrase("command-option", rf"\|[^\n|]*{_READS}", rf"{_WRITES}(?:-[a-z]+\s+){{0,3}}(?:[\"']?%[^\s\"']{{1,8}}[\"']?\s+)?[\"']?[^\s\"'\x60<>|\\\x00]{{6,128}}(?:\\n|[\"']?\s[\"']?)([^\s\"'\x60<>|\\\x00]{{6,128}})[^\n|]{{0,160}}\|[^\n|]{{0,160}}{_READS}", _is_password),
    _phrase("command-option", r"<<<", rf"{_READS}[^\n|]{{0,160}}<<<\s?\$?{_WORD}", _is_password),
    _phrase("command-option", r"<<[~-]?[\"']?\w", rf"{_READS}[^\n|]{{0,160}}<<[~-]?[\"']?\w+[\"']?[^\n]{{0,160}}\n\s*{_WORD}\s*\n", _is_password),
    _phrase("command-option", rf"{_STORE}[^\n]*{_STORED}", rf"{_STORE}[^\n]{{0,160}}\s{_STORED}\s?{_WORD}", _is_mixed),
    _phrase("command-option", rf"\bauth\s+(?:\S+\s+)?[\"']?\S*{_DIGIT}", rf"(?:^|[\s\"'])(?-i:AUTH)\s+(?:\S{{1,40}}\s+)?[\"']?([^\s\"'<>\x00]{{6,128}})[\"']?\s*{_END}", _is_generated),
    _phrase("command-option", r"\bsetuser\s[^\n]*\s>", r"\bsetuser\s[^\n]{0,160}?\s>([^\s\"'\x60]{6,128})", _is_password),
    _phrase("named-token", rf"{_COOKIE}[\w%.~+/-]+", rf"{_COOKIE.replace('+=', '{1,64}=')}([\w%.~+/-]{{16,}})", _is_random),
    _phrase("named-token", rf"{_QUERY}[\w%.~+/-]*[0-9]", rf"{_QUERY}([\w%.~+/-]{{12,}})", _is_random),
    _phrase("command-option", r"ConvertTo-SecureString\s", rf"ConvertTo-SecureString\s(?:-String\s)?{_QUOTED}", _is_password),
    _phrase("login-pair", rf"{_CURL}{_NAME}:", rf"{_CURL}{_USER}:{_WORD}", _is_mixed),
    _phrase("login-pair", rf"{_SMB}{_NAME}%", rf"{_SMB}{_USER}%{_WORD}", _is_mixed),
    _phrase("login-pair", r"chpasswd", rf"[\"']{_USER}:([^\s\"'\x60]{{6,128}})[\"']\s?\|[^\n]{{0,40}}\bchpasswd", _is_password),
    _phrase("login-pair", r"\slogin\s\S+\s+password\s", rf"\bmachine\s\S{{1,128}}\s+login\s{_USER}\s+password\s{_WORD}", _is_mixed),
    _phrase("login-pair", rf"\blogin\s\S+\s+password\s{_HAS_DIGIT}", rf"\blogin\s{_USER}\s+password\s{_WORD}", _is_generated),
    _phrase("login-pair", r":(?:\d{4,5}|\*):\S", rf"{_PGPASS}[\w*-]{{1,64}}:([\w*.@-]{{1,64}}):{_WORD}", _is_mixed),
    _phrase("login-pair", _CALL, rf"{_CALL.replace('*', '{0,80}')}([^\"'\r\n]{{2,64}})[\"']\s?,\s?{_QUOTED}", _is_mixed),
    _phrase("login-pair", _AS, rf"{_AS}(?:user(?:name)?\s|the\s)?{_USER}\s?(?:/|:|,?\s(?:with|and|using))\s?(?:the\s)?(?:password\s|pw\s)?{_WORD}", _is_given),
    _phrase("login-pair", rf"{_LOGIN}[^\n:=/|0-9]*{_TELLS}{_NAME}\s[/|:]\s", rf"{_LOGIN}{_IS}{_USER}\s[/|:]\s{_WORD}", _is_mixed),
    _phrase("login-pair", rf"{_LOGIN}[^\n:=/|0-9]*{_TELLS}{_NAME}[:/]", rf"{_LOGIN}{_IS}{_USER}[:/]{_WORD}", _is_generated),
    _phrase("login-pair", rf"{_LOGIN}{_IS_PAIR}{_NAME}\s[/|]\s{_HAS_DIGIT}", rf"{_LOGIN}{_IS_PAIR}{_USER}\s[/|]\s{_WORD}", _is_generated),
    _phrase("login-pair", r"[a-z0-9_.+-]:[^\s\"'<>@:/\x00]+@[a-z0-9-]+\.", r"(?:^|[\s\"'(=])([a-z0-9_.+-]{2,64}):([^\s\"'<>@:/\x00]{6,64})@[a-z0-9-]+\.[a-z0-9]", _is_generated),
    _phrase("sql-password", r"identified\s", rf"\b(?:user|role|grant|to)\b[^;]{{0,160}}?\bidentified\s(?:with\s\S{{1,40}}\s)?by\s(?:password\s)?{_QUOTED}", _is_password),
    _phrase("sql-password", r"identified\s", r"\b(?:user|role|grant|to)\b[^;]{0,160}?\bidentified\sby\s([^\s\"'\x60;,()]{6,128})", _is_mixed),
    _phrase("sql-password", _SET_IN_SQL, r"\b(?:user|role|login|group)\b[^;\n]{0,160}?\bpassword\s?=?\s?n?e?[\"']([^\"'\r\n\x00]{6,128})[\"']", _is_password),
    _phrase("sql-password", _SET_IN_SQL, r"\b(?:user|role|login|group)\b[^;\n]{0,160}?\bpassword\s?=?\s?\$\w{0,16}\$([^$\r\n\x00]{6,128})\$", _is_password),
    _phrase("sql-password", rf"password(?:\s|\s?\(\s?)[\"'][^\"'\n]*{_DIGIT}", rf"password(?:\s|\s?\(\s?){_QUOTED}", _is_mixed),
    _phrase("named-password", rf"\b(?:with|using|use|the|temporary|initial|default|new|its)\s{_SECRET}\s{_HAS_DIGIT}", rf"\b(?:with|using|use|the|temporary|initial|default|new|its)\s{_SECRET}\s{_WORD}", _is_generated),
    _phrase("named-password", rf"(?:^|[\s\"'(*]){_SECRET}{_SAYS_SIGN}{_HAS_DIGIT}", rf"(?:^|[\s\"'(*]){_SECRET}{_SAYS}{_WORD}", _is_generated),
    _phrase("named-password", rf"[(\[{{]\s?[\"']?(?:[\w.-]*[_.-])?{_KEPT}[\"']?\s?,\s?[\"'][^\"'\n]*{_DIGIT}", rf"[(\[{{]\s?[\"']?(?:[\w.-]*[_.-])?{_KEPT}[\"']?\s?,\s?{_QUOTED}", _is_generated),
    _phrase("named-password", r"\n\s*(?:exp_)?send(?:line)?\s", r"assword[^\n]{0,40}\n\s{0,16}(?:exp_)?send(?:line)?\s{1,4}(?:--\s)?[\"']([^\s\"'\\\x00]{6,128})", _is_password),
    _phrase("login-pair", r"\bsqlplus\s", r"\bsqlplus\s[^\n|;]{0,80}?([\w.-]{1,64})/([^\s\"'@\x00]{6,128})@", _is_password),
    _phrase("login-pair", r"<auth-user-pass>", rf"<auth-user-pass>\s{{1,8}}{_USER}\s{{1,8}}{_WORD}\s", _is_password),
    _phrase("login-pair", r"chpasswd:", r"\bchpasswd:\s[^:]{0,80}:?[^:]{0,80}[\s\"'-]([\w.-]{2,64}):([^\s\"'\x60]{6,128})", _is_mixed),
    _phrase("named-password", rf"\n\s*{_WIFI_KEY}", rf"\bssid\b[^\n]{{0,80}}\n(?:[^\n]{{1,60}}\n){{0,3}}\s*{_WIFI_KEY}{_WORD}", _is_mixed),
    _phrase("named-token", rf"(?:{KEYS})[ _-]key\s#?[0-9]+\s?:\s", rf"\b(?:{KEYS})[ _-]key\s#?[0-9]{{1,2}}\s?:\s{{1,8}}{_WORD}", _is_generated),
    _phrase("named-password", r"\bSetCredential=", rf"\bSetCredential=[\w.-]{{1,64}}:{_WORD}", _is_mixed),
    _phrase("named-password", r"\bpsk\s+[\"']", rf"\bpsk\s{{1,8}}{_QUOTED}", _is_password),
    _phrase("named-password", r"\b(?:secret|password|key)\s[07]\s", r"\b(?:secret|password|key)\s[07]\s([^\s\"'\x00]{6,128})", _is_mixed),
    _phrase("named-password", rf"form-data;[^\n]*(?:{NAMES})", rf"form-data;[^\n]{{0,80}}name=[\"']?[\w.-]{{0,40}}(?:{NAMES})[\w-]{{0,20}}[\"']?[^\n]{{0,40}}\n(?:[^\s][^\n]{{0,80}}\n){{0,3}}\r?\n{_WORD}", _is_mixed),
    _phrase("named-password", r"(?:password|passwd)\w*\(\s?[\"'][^\"'\n]*[\"']\s?,\s?[\"']", rf"(?:password|passwd)\w*\(\s?[\"'][^\"'\r\n]{{1,64}}[\"']\s?,\s?{_QUOTED}", _is_mixed),
    _phrase("named-password", rf"\s{_MARK}{_HEADING}{_SECRET}", rf"(?:^|[\s\"'\x60>,(\[=]){_NOTED}[\"'\x60]?(?:</[\w:]{{1,32}}>)?[,;]?\s{{1,16}}{_MARK}{_HEADING}{_SECRET}(?:\s(?:of|for|to|on|in|at|from)\s[^\n]{{0,48}}?)?\s*(?:\*/|-->)?[.!]?\s*{_END}", _is_noted),
    _phrase("named-password", rf"\s\({_HEADING}{_SECRET}", rf"(?:^|[\s\"'\x60>]){_NOTED}[\"'\x60]?\s{{1,4}}\({_HEADING}{_SECRET}(?:\s(?:of|for|to|on|in|at|from)\s[^\n()]{{0,48}})?\)", _is_noted),
    _phrase("named-password", rf"/\*\s*{_HEADING}{_SECRET}\s*\*/\s*[\"']", rf"/\*\s*{_HEADING}{_SECRET}\s*\*/\s*{_QUOTED}", _is_mixed),
    _phrase("named-password", rf"(?:#|//|--|;)\s*{_HEADING}{_SECRET}[^\n]*\n\s*\S*{_DIGIT}", rf"(?:^|[\n\x00\"'])\s*(?:#|//|--|;)\s*{_HEADING}{_SECRET}(?:\s(?:of|for|to|on|in|at|from)\s[^\n]{{0,48}})?:?\s*\n\s*[\"'\x60]?{_NOTED}[\"'\x60]?[,;]?\s*{_END}", _is_generated),
    _phrase("named-password", rf"[,;]\s(?:and\s)?(?:the\s|your\s|its\s)?{_SECRET}\s{_HAS_DIGIT}", rf"[,;]\s(?:and\s)?(?:the\s|your\s|its\s)?{_SECRET}\s{_WORD}", _is_generated),
    _phrase("named-password", rf"{_SECRET}{_ASKS}{_HAS_DIGIT}", rf"{_SECRET}{_ASKS}(?:in\s)?{_WORD}", _is_secret_word),
    _phrase("named-password", rf"\b(?:use|enter|type|try|give)\s{_HAS_DIGIT}\S*\s(?:when|if|once|where|wherever|after)\s", rf"\b(?:use|enter|type|try|give)\s{_WORD}[\"'\x60]?{_WHEN}{_SECRET}", _is_generated),
    _phrase("named-password", rf"{_SECRET}\s[a-z]+-[a-z]+-[a-z]", rf"\b(?:with|using|use|the|is|new)\s{_SECRET}\s([a-z]+(?:-[a-z]+){{2,8}})\b", _is_secret_word),
    _phrase("named-password", rf"\b(?:env|setx?)\s\w*{_KEPT}\w*\s{_HAS_DIGIT}", rf"\b(?-i:ENV|set|setx)\s\w*{_KEPT}\w*\s{_WORD}", _is_mixed),
    _phrase("named-password", rf"{_DIGIT}\S*{_FOR}{_SECRET}", rf"\b(?:use|enter|type|try|take)\s{_WORD}[\"'\x60]?{_FOR}{_SECRET}", _is_generated),
    _phrase("named-password", rf"{_DIGIT}\S*{_WHOSE}{_SECRET}", rf"(?:^|[\s\"'\x60(])([^\s\"'\x60<>()\x00]{{6,128}})[\"'\x60]?{_WHOSE}{_SECRET}", _is_generated),
    _phrase("named-token", _SCHEME, rf"\b{_SCHEME}{_WORD}", _is_mixed),
    _phrase("one-time-code", rf"{_PIN}[\"'*]{{0,3}}[0-9]", rf"{_PIN_OF}{_PIN}[\"'*]{{0,3}}([0-9]{{4,12}})\b", _is_pin),
    _phrase("recovery-code", _CODES, rf"{_CODES}\s{{0,8}}\[?\s{{0,8}}[\"']?([a-z0-9][a-z0-9\"',;\s-]{{5,500}})", _is_recovery_code),
    _phrase("seed-phrase", _WORDS_OF_SEED, rf"{_WORDS_OF_SEED}\s{{0,8}}[\"']?((?-i:(?:[a-z]{{3,8}} ){{11,23}}[a-z]{{3,8}}))\b", _is_seed),
    _phrase("magic-link", rf"://\S*{_OPENS}\S*{_PARAMETER}", rf"https?://[^\s\"'<>?\x00]{{1,200}}?{_OPENS}[^\s\"'<>\x00]{{0,200}}?{_PARAMETER}([A-Za-z0-9._~%-]{{16,}})", _is_random),
    _phrase("magic-link", rf"://\S*{_OPENS}[a-z_-]*/[a-z_-]*[0-9]", rf"https?://[^\s\"'<>?\x00]{{1,200}}?{_OPENS}[a-z_-]{{0,24}}/([A-Za-z0-9_-]{{20,}})", _is_random),
)  # fmt: skip

DETECTORS: Final = frozenset(phrase.detector for phrase in PHRASES)
SEARCHES: Final = tuple(SignedSearch(phrase.sign, phrase.find) for phrase in PHRASES)


_KINDS: Final[dict[str, Kind]] = {"one-time-code": "code", "login-pair": "userinfo"}


def _hits(phrase: Phrase, match: Re2Match, text: bytes) -> Iterator[Hit]:
    groups = phrase.expression.groups
    start, end = match.span(groups)
    value = string(text[start:end])
    user = string(match[1] or b"") if groups > 1 else ""
    if phrase.detector in {"recovery-code", "seed-phrase"}:
        yield from _find_listed(phrase, start, value)
        return
    if phrase.accepts is _is_generated and _ABOUT.search(text, match.start(), start) is not None:
        return
    trimmed = value.rstrip(".,;!?)*")
    end -= len(value) - len(trimmed)
    value = unquote(trimmed) if phrase.detector == "magic-link" else trimmed
    if phrase.accepts(value) and not (phrase.accepts is _is_generated and user and not is_ordinary(user)):
        yield Hit(phrase.detector, _KINDS.get(phrase.detector, "named"), start, end, value, user=user)


_ABOUT: Final = re.compile(
    rb"(?:hash|digest|checksum|fingerprint|sha[0-9]|id|url|link|name|version|length|policy|type|format|expire[sd]?)\b",
    re.IGNORECASE,
)
"""Words that say that what follows is about a credential."""
_CODE: Final = re.compile(r"[A-Za-z0-9]{4,12}(?:-[A-Za-z0-9]{4,12})*")
_ITEM: Final = re.compile(r"[^\s\"',;]+")


def _find_listed(phrase: Phrase, start: int, text: str) -> Iterator[Hit]:
    """Yield each code of a list, or a seed phrase as a whole."""
    if phrase.detector == "seed-phrase":
        if phrase.accepts(text):
            yield Hit(phrase.detector, "named", start, start + len(text), text)
        return
    for match in _ITEM.finditer(text):
        if _CODE.fullmatch(match[0]) is None or not phrase.accepts(match[0]):
            break
        yield Hit(phrase.detector, "named", start + match.start(), start + match.end(), match[0])
