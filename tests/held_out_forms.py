"""Ways of writing a credential that were listed after the detector knew `hiding_forms`, in other formats. Each has a text of
the same shape without a credential. The values open nothing."""

from __future__ import annotations

import base64
from typing import Final

from tests.secret_forms import SecretForm

WORD: Final = "rN4wLk8u_Xe2B"
TOKEN: Final = "Gm5yT1pJc8Vd3HsQ7aKz"
_PLAIN: Final = base64.b64encode(f"\0ada\0{WORD}".encode()).decode()

HELD_OUT_FORMS: Final = (
    SecretForm("Terraform plan", f'  + resource "aws_db_instance" "main" {{\n      + password = "{WORD}"\n    }}', WORD, '  + resource "aws_db_instance" "main" {\n      + password = (sensitive value)\n    }'),
    SecretForm("helm --set", f"helm install db corp/pg --set auth.password={WORD}", WORD, "helm install db corp/pg --set auth.existingSecret=pg-secret-2"),
    SecretForm("docker -e", f"docker run -e DB_PASSWORD={WORD} corp/app", WORD, "docker run -e DB_PASSWORD_FILE=/run/secrets/db2 corp/app"),
    SecretForm("systemd Environment", f'[Service]\nEnvironment="DB_PASSWORD={WORD}"\n', WORD, '[Service]\nEnvironment="DB_NAME=rN4wLk8u_Xe2B"\n'),
    SecretForm("nmcli", f"nmcli dev wifi connect office password {WORD}", WORD, "nmcli dev wifi connect office ifname wlan0"),
    SecretForm("mount -o password=", f"mount -t cifs //files1/share /mnt -o username=ada,password={WORD},vers=3.0", WORD, "mount -t cifs //files1/share /mnt -o username=ada,sec=krb5i,vers=3.0"),
    SecretForm("ssh-keygen -N", f"ssh-keygen -t ed25519 -N '{WORD}' -f id", WORD, "ssh-keygen -t ed25519 -C 'ada@laptop22' -f id"),
    SecretForm("7z -p", f"7z a -p{WORD} out.7z in/", WORD, "7z a -mx9 out2026.7z in/"),
    SecretForm("aws configure set", f"aws configure set aws_secret_access_key {TOKEN}{TOKEN}", TOKEN + TOKEN, "aws configure set region eu-central-1"),
    SecretForm("net user /add", f"net user ada {WORD} /add", WORD, "net user ada /active:yes"),
    SecretForm("sqlplus", f"sqlplus ada/{WORD}@db1.corp", WORD, "sqlplus /nolog @report_2026"),
    SecretForm("libpq keywords", f'psql "host=db1 user=ada password={WORD} dbname=app"', WORD, 'psql "host=db1 user=ada passfile=/home/ada/.pgpass2 dbname=app"'),
    SecretForm("sqlcmd -P", f"sqlcmd -S db1.corp -U sa -P {WORD} -Q 'select 1'", WORD, "sqlcmd -S db1.corp -E -Q 'select 1'"),
    SecretForm("mosquitto_pub -P", f"mosquitto_pub -h mq1 -u ada -P {WORD} -t a/b -m on", WORD, "mosquitto_pub -h mq1 -p 1883 -t a/b -m on22"),
    SecretForm("expect script", f'expect "assword:"\nsend "{WORD}\\r"\n', WORD, 'expect "login2:"\nsend "status22\\r"\n'),
    SecretForm("LDIF", f"dn: uid=ada,dc=corp\nuserPassword: {WORD}\n", WORD, "dn: uid=ada,dc=corp\nuserPassword:: \npwdPolicySubentry: cn=std12\n"),
    SecretForm("OpenVPN inline", f"<auth-user-pass>\nada\n{WORD}\n</auth-user-pass>\n", WORD, "auth-user-pass /etc/openvpn/login22.txt\n"),
    SecretForm("ipsec.secrets", f'10.0.0.1 10.0.0.2 : PSK "{WORD}"\n', WORD, "10.0.0.1 10.0.0.2 : RSA server22.key\n"),
    SecretForm("Cisco secret", f"username ada privilege 15 secret 0 {WORD}\n", WORD, "username ada privilege 15 nopassword\n"),
    SecretForm("FreeRADIUS", f'ada Cleartext-Password := "{WORD}"\n', WORD, 'ada Auth-Type := "PAP2-local"\n'),
    SecretForm("AUTH PLAIN", f"C: AUTH PLAIN {_PLAIN}\nS: 235 ok\n", WORD, "S: 250-AUTH PLAIN LOGIN CRAM-MD5\nC: QUIT\n"),
    SecretForm("YAML flow", f"db: {{user: ada, password: {WORD}}}\n", WORD, "db: {user: ada, password: !vault db/ada22}\n"),
    SecretForm("TOML inline", f'db = {{ user = "ada", password = "{WORD}" }}\n', WORD, 'db = { user = "ada", password = { env = "DB_PW22" } }\n'),
    SecretForm("JSON patch", f'[{{"op": "replace", "path": "/spec/adminPassword", "value": "{WORD}"}}]', WORD, '[{"op": "replace", "path": "/spec/adminEmail", "value": "rN4wLk8u_Xe2B"}]'),
    SecretForm("GraphQL", f'mutation {{ login(email: "ada@corp.example", password: "{WORD}") {{ ok }} }}', WORD, "mutation { login(email: $email22, password: $password22) { ok } }"),
    SecretForm("form body", f"log=ada&pwd={WORD}&wp-submit=Log+In", WORD, "log=ada&page=rN4wLk8u_Xe2B&wp-submit=Log+In"),
    SecretForm("multipart", f'--b1\r\nContent-Disposition: form-data; name="password"\r\n\r\n{WORD}\r\n--b1--\r\n', WORD, '--b1\r\nContent-Disposition: form-data; name="comment"\r\n\r\nrN4wLk8u_Xe2B\r\n--b1--\r\n'),
    SecretForm("Lisp", f'(setq smtp-password "{WORD}")', WORD, '(setq smtp-server "mail22.corp")'),
    SecretForm("PHP define", f"define('DB_PASSWORD', '{WORD}');", WORD, "define('DB_CHARSET', 'utf8mb4_x22');"),
    SecretForm("PHP array", f"'password' => '{WORD}',", WORD, "'password' => env('DB_PASSWORD22'),"),
    SecretForm("Clojure keyword", f'{{:user "ada" :password "{WORD}"}}', WORD, '{:user "ada" :password-field "rN4wLk8u_Xe2B"}'),
    SecretForm("Erlang tuple", f'{{password, "{WORD}"}}', WORD, '{password_hint, "first pet22"}'),
    SecretForm("os.environ", f'os.environ["API_TOKEN"] = "{TOKEN}"', TOKEN, 'os.environ["API_TOKEN"] = getpass("token22")'),
    SecretForm("getConnection", f'DriverManager.getConnection(url, "ada", "{WORD}")', WORD, 'DriverManager.getConnection(url, "ada22", readPassword())'),
    SecretForm("NetworkCredential", f'new NetworkCredential("ada", "{WORD}")', WORD, 'new NetworkCredential("ada22", Console.ReadLine())'),
    SecretForm("KeePass", f'<String><Key>Password</Key><Value ProtectInMemory="True">{WORD}</Value></String>', WORD, '<String><Key>Title</Key><Value ProtectInMemory="False">rN4wLk8u_Xe2B</Value></String>'),
    SecretForm("unattend.xml", f"<AdministratorPassword><Value>{WORD}</Value><PlainText>true</PlainText></AdministratorPassword>", WORD, "<ComputerName><Value>rN4wLk8u_Xe2B</Value></ComputerName>"),
    SecretForm("registry file", f'"DefaultPassword"="{WORD}"\n', WORD, '"DefaultUserName"="rN4wLk8u_Xe2B"\n'),
    SecretForm("cloud-init", f"chpasswd:\n  list: |\n    ada:{WORD}\n", WORD, "runcmd:\n  - |\n    chown ada:staff22 /srv\n"),
    SecretForm("Dockerfile ENV", f"ENV DB_PASSWORD {WORD}\n", WORD, "ENV DB_NAME rN4wLk8u_Xe2B\n"),
    SecretForm("set to", f"Your temporary password has been set to {WORD}. Change it soon.", WORD, "Your temporary password has been set to expire on 2026-12-24."),
    SecretForm("chat, pw", f"hey, the pw's {WORD} btw", WORD, "hey, the pw's unchanged btw"),
    SecretForm("chat, arrow", f"creds for staging → ada / {WORD}", WORD, "docs for staging → page 4 / item 22b"),
    SecretForm("Spanish", f"La contraseña del servidor es {WORD}", WORD, "La contraseña del servidor es secreta"),
    SecretForm("German", f"Das Passwort für den Server lautet {WORD}", WORD, "Das Passwort für den Server lautet wie immer"),
    SecretForm("French", f"Le mot de passe du wifi est {WORD}", WORD, "Le mot de passe du wifi est affiché"),
    SecretForm("two names in a line", f"User : ada   Password : {WORD}", WORD, "User : ada   Password : unchanged"),
    SecretForm("cookies of a browser", f'{{"domain": "app.corp", "name": "sessionid", "httpOnly": true, "value": "{TOKEN}"}}', TOKEN, '{"domain": "app.corp", "name": "theme", "httpOnly": true, "value": "Gm5yT1pJc8Vd3HsQ7aKz"}'),
)  # fmt: skip
