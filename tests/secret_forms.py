"""Seventy-odd ways in which files, commands, statements and sentences give a credential, each with a text of the same shape
that gives none. The values open nothing."""

from __future__ import annotations

import base64
from typing import Final, NamedTuple


class SecretForm(NamedTuple):
    """`text` shows `secret`; `benign` has the same shape and shows none."""

    name: str
    text: str
    secret: str
    benign: str


WORD: Final = "hK7mQ2xv-Zp4T"
TOKEN: Final = "q8Zt3LmW0xR5vN1cYb6D"
DIGITS: Final = "84029571638402"


def _pair(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


FORMS: Final = (
    # configuration
    SecretForm("pass=", f"user=ada\npass={WORD}\n", WORD, "user=ada\npass=required\n"),
    SecretForm('"pass":', f'{{"user": "ada", "pass": "{WORD}"}}', WORD, '{"suite": "unit", "pass": "212/212", "fail": 0}'),
    SecretForm("pass: in YAML", f"user: ada\npass: {WORD}\n", WORD, "PASS: test_login_2fa.py\nPASS: test_users.py\n"),
    SecretForm("ini", f"[client]\nuser = ada\npassword = {WORD}\n", WORD, "[client]\nuser = ada\npassword =\nport = 3306\n"),
    SecretForm("ini pass", f"[smtp]\npass = {WORD}\n", WORD, "[render]\npass = shadows\nsamples = 128\n"),
    SecretForm("pw:", f"host: db1\npw: {WORD}\n", WORD, "host: db1\npw: unchanged\n"),
    SecretForm("ansible", f"ansible_become_pass: {WORD}", WORD, "boarding_pass: LH2024A117"),
    SecretForm("psk", f'network={{\n  ssid="office"\n  psk="{WORD}"\n}}', WORD, 'network={\n  ssid="office"\n  key_mgmt=WPA-PSK\n}'),
    SecretForm("YAML block", f"database:\n  password: |\n    {WORD}\n  port: 5432\n", WORD, "schema:\n  password: |\n    A text.\n"),
    SecretForm("YAML folded block", f"token: >-\n  {TOKEN}\nname: ci\n", TOKEN, "token: >-\n  The bearer token of the user.\nname: ci\n"),
    SecretForm("YAML anchor", f"password: &shared {WORD}\n", WORD, "password: *shared\n"),
    SecretForm("docker auth", f'{{"auths": {{"registry.corp": {{"auth": "{_pair("ada", WORD)}"}}}}}}', WORD, '{"auths": {"registry.corp": {"auth": "b2F1dGgyLW9ubHk="}}}'),
    SecretForm("npmrc _auth", f"//npm.corp/:_auth={_pair('ada', WORD)}\n", WORD, "//npm.corp/:always-auth=true\n//npm.corp/:auth-type=legacy\n"),
    SecretForm("properties", f"spring.datasource.password={WORD}", WORD, "spring.datasource.password=${DB_PASSWORD}"),
    SecretForm("XML element with attributes", f'<password type="text" enc="no">{WORD}</password>', WORD, '<password type="text" min="8">required</password>'),
    SecretForm("XML attribute pair", f'<add key="SmtpPassword" value="{WORD}"/>', WORD, '<add key="SmtpPasswordPolicy" value="strict-12"/>'),
    SecretForm("HCL", f'admin_password = "{WORD}"', WORD, "admin_password = var.admin_password"),
    SecretForm("connection string", f"Server=db1;User Id=sa;Pwd={WORD};Encrypt=true", WORD, "Server=db1;Integrated Security=true;Encrypt=true"),
    SecretForm("redis requirepass", f"port 6379\nrequirepass {WORD}\n", WORD, "port 6379\n# requirepass foobared\n"),
    SecretForm("redis masterauth", f"masterauth {WORD}\nreplica-read-only yes\n", WORD, "masterauth <master-password>\n"),
    SecretForm("netrc", f"machine git.corp login ada password {WORD}", WORD, "the login page password field1 is focused"),
    SecretForm("pgpass", f"db1.corp:5432:app:ada:{WORD}\n", WORD, "10.0.0.7:5432:app:ada:ready\n"),
    SecretForm("app key", f"APP_KEY=base64:{TOKEN}", TOKEN, "APP_KEY=\nAPP_KEYBOARD=de\n"),
    SecretForm("Markdown table", f"| Setting | Value |\n|---|---|\n| Password | {WORD} |\n", WORD, "| Field | Type |\n|---|---|\n| Password | string |\n"),
    SecretForm("digits as access_token", f'{{"access_token": "{DIGITS}"}}', DIGITS, '{"access_token_expires": 1764300000, "tokens": 84029571638402}'),
    SecretForm("a number as access_token", f'{{"access_token": {DIGITS}, "ok": true}}', DIGITS, '{"access_token": 1764300000}'),
    SecretForm("digits as api_key", f"API_KEY={DIGITS}", DIGITS, "API_KEYS=2\nAPI_KEY_COUNT=84029571638402"),
    SecretForm("passphrase in JSON", '{"password": "acorn saddle violet teapot"}', "acorn saddle violet teapot", '{"password": "The password of the user"}'),
    # statements
    SecretForm("IDENTIFIED BY", f"CREATE USER 'ada'@'%' IDENTIFIED BY '{WORD}';", WORD, "each row is identified by 'customer_id' alone"),
    SecretForm("IDENTIFIED WITH … BY", f"ALTER USER ada IDENTIFIED WITH caching_sha2_password BY '{WORD}';", WORD, "rows are identified with a key by 'name1, name2'"),
    SecretForm("IDENTIFIED BY without quotes", f"GRANT CONNECT TO ada IDENTIFIED BY {WORD};", WORD, "The parcel is identified by number and by date."),
    SecretForm("ROLE … PASSWORD", f"ALTER ROLE ada WITH LOGIN PASSWORD '{WORD}';", WORD, "ALTER ROLE ada WITH PASSWORD NULL VALID UNTIL '2027-01-01';"),
    SecretForm("SET PASSWORD", f"SET PASSWORD FOR 'ada'@'%' = PASSWORD('{WORD}');", WORD, "input type=password('Enter at least 8 characters')"),
    SecretForm("call with a pair", f'requests.get(url, auth=("ada", "{WORD}"))', WORD, 'requests.get(url, auth=("ada", getpass()))'),
    SecretForm("keyword argument", f'connect(user="ada", passwd="{WORD}")', WORD, 'connect(user="ada", passwd=os.environ["PW"])'),
    SecretForm("setPassword", f'user.setPassword("{WORD}");', WORD, 'user.setPassword(form.get("password"));'),
    SecretForm("PowerShell", f'ConvertTo-SecureString "{WORD}" -AsPlainText -Force', WORD, "ConvertTo-SecureString $env:SECRET -AsPlainText"),
    # commands
    SecretForm("mysql -p", f"mysql -h db1 -u ada -p{WORD} app", WORD, "mysql -h db1 -u ada -p app"),
    SecretForm("mysqldump -p", f"mysqldump -uroot -p'{WORD}' app > app.sql", WORD, "mysqldump -P 3306 -u root --single-transaction app"),
    SecretForm("sshpass -p", f"sshpass -p '{WORD}' ssh ada@db1", WORD, "ssh -p 2222 ada@db1.corp"),
    SecretForm("docker login -p", f"docker login -u ada -p {WORD} registry.corp", WORD, "docker run -p 8080:80 registry.corp/web2"),
    SecretForm("mongosh -p", f"mongosh mongodb.corp -u ada -p {WORD}", WORD, "mongosh mongodb.corp --port 27017"),
    SecretForm("redis-cli -a", f"redis-cli -h cache1 -a {WORD} ping", WORD, "redis-cli -h cache1 -p 6379 info"),
    SecretForm("curl -u", f"curl -u ada:{WORD} https://api.corp/v1/items", WORD, "curl -u ada: https://api.corp/v1/items"),
    SecretForm("smbclient -U", f"smbclient //files1/share -U ada%{WORD}", WORD, "smbclient //files1/share -U ada -N"),
    SecretForm("ldapsearch -w", f"ldapsearch -D cn=admin,dc=corp -w {WORD} uid=ada", WORD, "ldapsearch -D cn=admin,dc=corp -W uid=ada"),
    SecretForm("unzip -P", f"unzip -P {WORD} backup.zip", WORD, "unzip -p backup.zip report2026.csv"),
    SecretForm("openssl pass:", f"openssl enc -d -aes-256-cbc -in a.enc -pass pass:{WORD}", WORD, "openssl enc -d -aes-256-cbc -in a.enc -pass stdin"),
    SecretForm("keytool -storepass", f"keytool -list -keystore a.jks -storepass {WORD}", WORD, "keytool -list -keystore a2026.jks"),
    SecretForm("htpasswd -b", f"htpasswd -b /etc/nginx/users ada {WORD}", WORD, "htpasswd -B /etc/nginx/users ada2026"),
    SecretForm("chpasswd", f"echo 'ada:{WORD}' | sudo chpasswd", WORD, "cat users.txt | sudo chpasswd"),
    SecretForm("--password-stdin", f"echo {WORD} | docker login -u ada --password-stdin", WORD, "pass show registry1 | docker login -u ada --password-stdin"),
    SecretForm("PGPASSWORD", f"PGPASSWORD={WORD} psql -h db1 -U ada", WORD, "PGPASSWORD=$PW psql -h db1 -U ada"),
    SecretForm("net use", f"net use Z: \\\\files1\\share /user:corp\\ada {WORD}", WORD, "net use Z: /delete /yes"),
    SecretForm("user:password@host", f"scp report.pdf ada:{WORD}@files.corp:/in", WORD, "see mailto:maria.johnson2@corp.example for it"),
    # sentences
    SecretForm("your API key is", f"Your API key is {TOKEN}.", TOKEN, "Your API key is shown in the console, under item 3."),
    SecretForm("API key:", f"API key: {TOKEN}", TOKEN, "API key: see section 4.2 of the handbook"),
    SecretForm("secret key (test):", f"Secret key (staging): {TOKEN}", TOKEN, "Primary key (staging): customer_id2"),
    SecretForm("credentials: a / b", f"Credentials: ada / {WORD}", WORD, "Credentials: see page 4 / appendix 2b"),
    SecretForm("login: a:b", f"Login: ada:{WORD}", WORD, "Login: https://login.corp:8443/start2"),
    SecretForm("user/pass: a/b", f"user/pass: ada/{WORD}", WORD, "account: sales/emea-north2"),
    SecretForm("log in as a:b", f"Please log in as ada:{WORD} to see it.", WORD, "Please log in as ada@corp.example to see it."),
    SecretForm("log in with a and b", f"Log in with ada and {WORD}.", WORD, "Log in with Google or Microsoft365 to go on."),
    SecretForm("sign in as a with password b", f"Sign in as ada with password {WORD} and go on.", WORD, "Sign in as ada with your password and 2 devices."),
    SecretForm("with password", f"The archive opens with password {WORD} as before.", WORD, "It is protected with password SHA256 hashing."),
    SecretForm("use … as the password", f"Use {WORD} as the password.", WORD, "Use SHA256 as the password hash."),
    SecretForm("… is your password", f"{WORD} is your new password.", WORD, "Monday2 is your password reset day."),
    SecretForm("your PIN is", "Your PIN is 48213377.", "48213377", "Room 4821 is at PIN 560001, Bengaluru."),
    SecretForm("door PIN", "The door PIN is 482133", "482133", "GPIO pin: 17, header pin 1764300"),
    SecretForm("pin in JSON", '{"card_pin": "482133"}', "482133", '{"gpio_pin": "17", "pinned": "482133"}'),
    SecretForm("recovery codes", "Recovery codes: 8f3k-2m9q, x7p4-w2z8", "x7p4-w2z8", "Backup codes: print them today"),
    SecretForm("seed phrase", "Seed phrase: " + "acorn saddle violet teapot river copper meadow silver pebble walnut ribbon tiger", "acorn saddle violet teapot river copper meadow silver pebble walnut ribbon tiger", "Recovery: the words of it are on the second page of the handbook for all new people"),
    SecretForm("Passwort", f"Benutzer: ada, Passwort: {WORD}", WORD, "Passwort: mindestens 12 Zeichen"),
    SecretForm("mot de passe", f"Le mot de passe est : non. Mot de passe : {WORD}", WORD, "Mot de passe : 12 signes au moins"),
    SecretForm("пароль", f"Пароль: {WORD}", WORD, "Пароль: не менее 12 знаков"),
    SecretForm("密码", f"密码：{WORD}", WORD, "密码：至少 12 位"),
    # links and headers
    SecretForm("?t= magic link", f"https://app.corp.example/login?t={TOKEN}", TOKEN, "https://video.example/watch/login-tutorial?t=1764300000"),
    SecretForm("magic link in the path", f"https://app.corp.example/reset-password/{TOKEN}", TOKEN, "https://docs.example/auth/how-to-rotate-your-signing-keys"),
    SecretForm("&code= of an invitation", f"https://app.corp.example/invite?org=acme&code={TOKEN}", TOKEN, "https://app.corp.example/invite?org=acme&code=welcome-to-the-team"),
    SecretForm("Authorization: token", f"Authorization: token {TOKEN}", TOKEN, "Authorization: token required for v2"),
)  # fmt: skip
