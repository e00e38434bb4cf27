"""A third list of ways of writing a credential, from the output of tools, files, records and messages. It was written from memory,
before its writer had read the detector's names and phrases. Of the second list the writer had seen the first names."""

from __future__ import annotations

import base64
from typing import Final

from tests.secret_forms import SecretForm

WORD: Final = "Vt6-bQx9Lm2wR"
TOKEN: Final = "xB4nW9kTz2QpLr7MvHc3Ys8D"
_BASE64: Final = base64.b64encode(WORD.encode()).decode()

UNSEEN_FORMS: Final = (
    SecretForm("terraform output", f'db_password = "{WORD}"\ndb_port = 5432', WORD, 'db_endpoint = "db1-main.corp"\ndb_port = 5432'),
    SecretForm("terraform output -json", f'{{"admin_password": {{"sensitive": true, "type": "string", "value": "{WORD}"}}}}', WORD, '{"admin_name": {"sensitive": false, "type": "string", "value": "ops-team-2"}}'),
    SecretForm("tfvars heredoc", f"api_token = <<EOT\n{TOKEN}\nEOT\n", TOKEN, "description = <<EOT\nNightly-report-2026\nEOT\n"),
    SecretForm("kubectl create secret", f"kubectl create secret generic db --from-literal=password={WORD}", WORD, "kubectl create configmap db --from-literal=log_level=debug-2"),
    SecretForm("kubectl get -o yaml", f"apiVersion: v1\nkind: Secret\ndata:\n  db-password: {_BASE64}\n", WORD, "apiVersion: v1\nkind: ConfigMap\ndata:\n  db-schema: cHVibGljLXYy\n"),
    SecretForm("stringData", f"kind: Secret\nstringData:\n  redis.conf: |\n    requirepass {WORD}\n", WORD, "kind: ConfigMap\ndata:\n  redis.conf: |\n    maxmemory 256mb\n"),
    SecretForm("env list of a manifest", f"env:\n- name: PGPASSWORD\n  value: {WORD}\n", WORD, "env:\n- name: PGDATABASE\n  value: orders-2026\n"),
    SecretForm("aws ssm get-parameter", f'{{"Parameter": {{"Name": "/prod/db/password", "Type": "SecureString", "Value": "{WORD}"}}}}', WORD, '{"Parameter": {"Name": "/prod/db/host", "Type": "String", "Value": "db1-main.corp"}}'),
    SecretForm("aws secretsmanager", f'{{"Name": "prod/db", "SecretString": "{{\\"username\\":\\"ada\\",\\"password\\":\\"{WORD}\\"}}"}}', WORD, '{"Name": "prod/db", "VersionStages": ["AWSCURRENT"], "Description": "orders-db-2026"}'),
    SecretForm("aws iam create-login-profile", f"aws iam create-login-profile --user-name ada --password {WORD} --password-reset-required", WORD, "aws iam create-user --user-name ada-ops-2026 --path /staff/"),
    SecretForm("gh secret set", f"gh secret set DEPLOY_TOKEN --body {TOKEN}", TOKEN, "gh variable set DEPLOY_REGION --body eu-central-1"),
    SecretForm("gh auth token piped", f"echo {TOKEN} | gh auth login --with-token", TOKEN, "echo release-notes-2026 | gh pr create --body-file -"),
    SecretForm("gcloud sql users", f"gcloud sql users set-password root --instance=orders --password={WORD}", WORD, "gcloud sql users list --instance=orders-main-2 --limit=5"),
    SecretForm("docker login", f"docker login registry.corp -u ada -p {WORD}", WORD, "docker pull registry.corp/ada/api:v2.4.1-rc"),
    SecretForm("docker config auth", f'{{"auths": {{"registry.corp": {{"auth": "{base64.b64encode(f"ada:{WORD}".encode()).decode()}"}}}}}}', WORD, '{"auths": {"registry.corp": {}}, "credsStore": "secretservice"}'),
    SecretForm("Dockerfile ENV without =", f"FROM debian\nENV MYSQL_ROOT_PASSWORD {WORD}\n", WORD, "FROM debian\nENV MYSQL_DATABASE orders-2026\n"),
    SecretForm("Dockerfile ARG", f"ARG NPM_TOKEN={TOKEN}\nRUN npm ci\n", TOKEN, "ARG NODE_VERSION=22.11.0-slim\nRUN npm ci\n"),
    SecretForm("ansible vars", f"vars:\n  ansible_become_pass: '{WORD}'\n", WORD, "vars:\n  ansible_become_user: 'deploy-ops2'\n"),
    SecretForm("ansible inventory", f"db1 ansible_host=10.0.0.4 ansible_ssh_pass={WORD}", WORD, "db1 ansible_host=10.0.0.4 ansible_ssh_common_args=-4"),
    SecretForm("vault kv get, all", f"====== Data ======\nKey         Value\n---         -----\npassword    {WORD}\nusername    ada\n", WORD, "====== Data ======\nKey         Value\n---         -----\nhostname    db1-main-2\nusername    ada\n"),
    SecretForm("vault kv put", f"vault kv put secret/orders/db password={WORD}", WORD, "vault kv get -field=username secret/orders/db2"),
    SecretForm("vault init", f"Unseal Key 1: {TOKEN}{TOKEN}\n", TOKEN + TOKEN, "Cluster Name: vault-cluster-4f2a\nHA Enabled: true\n"),
    SecretForm("psql URI", f"psql postgres://ada:{WORD}@db1.corp/orders", WORD, "psql postgres://db1.corp/orders?application_name=nightly2"),
    SecretForm("mysql -p", f"mysql -h db1 -uada -p{WORD} orders", WORD, "mysql -h db1 -uada -P3306 orders2026"),
    SecretForm("my.cnf", f"[client]\nuser=ada\npassword={WORD}\n", WORD, "[client]\nuser=ada\ndatabase=orders-2026\n"),
    SecretForm("redis-cli -a", f"redis-cli -h cache1 -a {WORD} ping", WORD, "redis-cli -h cache1 -n 2 --scan --pattern user-2026"),
    SecretForm("redis AUTH with a user", f"127.0.0.1:6379> AUTH default {WORD}\nOK", WORD, "127.0.0.1:6379> GET default:order-2026\nOK"),
    SecretForm("systemd LoadCredential text", f"[Service]\nSetCredential=db-password:{WORD}\n", WORD, "[Service]\nRuntimeDirectory=orders-api:0750-run\n"),
    SecretForm(".netrc on one line", f"machine git.corp login ada password {WORD}", WORD, "machine git.corp login ada-deploy-2 port 8443"),
    SecretForm(".pgpass", f"db1.corp:5432:orders:ada:{WORD}", WORD, "db1.corp:5432:orders:ada-ro2"),
    SecretForm("JDBC URL", f"jdbc:sqlserver://db1:1433;databaseName=orders;user=ada;password={WORD};", WORD, "jdbc:sqlserver://db1:1433;databaseName=orders-2026;encrypt=true;"),
    SecretForm("ADO connection string", f"Server=db1;Database=orders;Uid=ada;Pwd={WORD};", WORD, "Server=db1;Database=orders-2026;Trusted_Connection=yes;"),
    SecretForm("Java properties", f"spring.datasource.password={WORD}\n", WORD, "spring.datasource.hikari.pool-name=orders-2026\n"),
    SecretForm("Java system property", f"java -Djavax.net.ssl.keyStorePassword={WORD} -jar app.jar", WORD, "java -Djavax.net.ssl.keyStoreType=PKCS12-v2 -jar app.jar"),
    SecretForm("TOML", f"[database]\nuser = 'ada'\npass = '{WORD}'\n", WORD, "[database]\nuser = 'ada'\nname = 'orders-2026'\n"),
    SecretForm("HCL variable default", f'variable "db_password" {{\n  default = "{WORD}"\n}}', WORD, 'variable "db_region" {\n  default = "eu-central-1b"\n}'),
    SecretForm("PowerShell", f'$pw = ConvertTo-SecureString "{WORD}" -AsPlainText -Force', WORD, '$when = Get-Date "2026-11-30T08:15" -Format u'),
    SecretForm("PowerShell PSCredential", f"New-Object System.Net.NetworkCredential('ada', '{WORD}')", WORD, "New-Object System.Net.IPEndPoint('ada', 'port-8443x')"),
    SecretForm("CI log", f"2026-11-30T10:02:11Z ##[debug] Evaluating env.API_KEY => '{TOKEN}'", TOKEN, "2026-11-30T10:02:11Z ##[debug] Evaluating env.RUN_ID => 'build-20261130-4412'"),
    SecretForm("set -x log", f"+ curl -sS -H 'X-Api-Key: {TOKEN}' https://api.corp/v1", TOKEN, "+ curl -sS -H 'X-Request-Id: 20261130-a41b' https://api.corp/v1"),
    SecretForm("curl -u", f"curl -u ada:{WORD} https://api.corp/v1/orders", WORD, "curl -o ada-orders-2026.json https://api.corp/v1/orders"),
    SecretForm("curl --data", f"curl -d 'grant_type=password&username=ada&password={WORD}' https://idp.corp/token", WORD, "curl -d 'grant_type=none&username=ada&page=orders-2026' https://idp.corp/list"),
    SecretForm("wget options", f"wget --http-user=ada --http-password={WORD} https://files.corp/a", WORD, "wget --user-agent=nightly-2026 --tries=3 https://files.corp/a"),
    SecretForm("English chat", f"hey, the staging login is ada / {WORD}, ping me if it fails", WORD, "hey, the staging split is 40 / 60-ish2, ping me if it fails"),
    SecretForm("English ticket", f"Resolution: I have reset her password to {WORD} and she can sign in again.", WORD, "Resolution: I have reset her printer to tray-2-A4 and she can print again."),
    SecretForm("German mail", f"Hallo, das neue Kennwort für das Portal lautet: {WORD}\nGruß, Ada", WORD, "Hallo, der neue Termin für das Portal lautet: 30.11.2026-KW49\nGruß, Ada"),
    SecretForm("German chat", f"Zugangsdaten VPN: Benutzer ada, PW {WORD}", WORD, "Termindaten VPN: Benutzer ada, KW 49-2026b"),
    SecretForm("German ticket", f"Passwort wurde auf {WORD} zurückgesetzt.", WORD, "Drucker wurde auf Fach-2-A4x zurückgesetzt."),
    SecretForm("wifi note", f"Guest Wi-Fi\nSSID: Corp-Guest\nKey: {WORD}", WORD, "Guest Wi-Fi\nSSID: Corp-Guest\nFloor: 2-East-4b"),
    SecretForm("wpa_supplicant", f'network={{\n  ssid="corp"\n  psk="{WORD}"\n}}', WORD, 'network={\n  ssid="corp"\n  id_str="office-2nd-floor"\n}'),
    SecretForm("chpasswd", f"echo 'ada:{WORD}' | chpasswd", WORD, "echo 'ada:orders-2026' | sort"),
    SecretForm("htpasswd -b", f"htpasswd -b .htpasswd ada {WORD}", WORD, "htdbm -l users-2026.db ada-list"),
    SecretForm("openssl -passin", f"openssl rsa -in key.pem -passin pass:{WORD} -out plain.pem", WORD, "openssl x509 -in cert.pem -inform pem -out orders-2026.pem"),
    SecretForm("npmrc", f"//registry.corp/:_authToken={TOKEN}\n", TOKEN, "@corp:registry=https://registry.corp/npm-2026/\n"),
    SecretForm("pip.conf", f"[global]\nindex-url = https://ada:{WORD}@pypi.corp/simple\n", WORD, "[global]\nindex-url = https://pypi.corp/simple-2026\n"),
    SecretForm("maven settings", f"<server><id>corp</id><username>ada</username><password>{WORD}</password></server>", WORD, "<server><id>corp</id><username>ada</username><layout>orders-2026</layout></server>"),
    SecretForm("web.config", f'<add key="SmtpPassword" value="{WORD}" />', WORD, '<add key="SmtpServer" value="mail-2.corp-eu" />'),
    SecretForm("git remote", f"origin\thttps://ada:{TOKEN}@git.corp/ops/app.git (fetch)", TOKEN, "origin\thttps://git.corp/ops/app-orders-2026.git (fetch)"),
    SecretForm("SQL create user", f"CREATE USER ada IDENTIFIED BY '{WORD}';", WORD, "CREATE TABLE ada PARTITIONED BY 'orders-2026';"),
    SecretForm("Snowflake connector", f"snowflake.connector.connect(user='ada', password='{WORD}', account='corp')", WORD, "snowflake.connector.connect(user='ada', warehouse='orders-2026x', account='corp')"),
)  # fmt: skip
