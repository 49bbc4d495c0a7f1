"""Every planted secret is found and taken out; what only looks like one is left alone."""

import random
import string
import sysconfig
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform_codegen.secrets import WORD, find, redact

_RANDOM = random.Random(20)
ALNUM = string.ascii_letters + string.digits


def draw(length, alphabet=ALNUM):
    """Return random letters, put together here so that no scanner takes this file for a leak."""
    return "".join(_RANDOM.choices(alphabet, k=length))


def key_block(name, lines=6, newline="\n"):
    body = newline.join(draw(64, ALNUM + "+/") for _ in range(lines))
    return f"-----BEGIN {name}-----{newline}{body}{newline}-----END {name}-----"


def jwt():
    return ".".join(("eyJ" + draw(17), "eyJ" + draw(40), draw(43, ALNUM + "-_")))


# what is planted, and the line around it: "@" stands for the secret
PLANTED = [
    ("AWS key id", "AKIA" + draw(16, string.ascii_uppercase + "234567"), 'client("s3", key="@")'),
    ("AWS key id", "ASIA" + draw(16, string.ascii_uppercase + "234567"), "# @"),
    ("AWS secret key", draw(39, ALNUM + "/+") + "7", 'AWS_SECRET_ACCESS_KEY = "@"'),
    ("AWS secret key", draw(39, ALNUM + "/+") + "7", "aws_secret_access_key=@"),
    ("GitHub token", "ghp_" + draw(36), 'login("@")'),
    ("GitHub token", "gho_" + draw(36), "x = '@'"),
    ("GitHub token", "ghs_" + draw(36), "curl -H 'Authorization: Bearer @'"),
    ("GitHub token", "github_pat_" + draw(22) + "_" + draw(59), "git clone https://@"),
    ("GitLab token", "glpat-" + draw(20), "private = '@'"),
    ("Slack token", "xoxb-" + draw(12, string.digits) + "-" + draw(24), "slack.connect('@')"),
    ("Slack token", "xoxp-" + draw(11, string.digits) + "-" + draw(11, string.digits) + "-" + draw(32), "'@'"),
    ("Slack hook", "T" + draw(8) + "/B" + draw(8) + "/" + draw(24), "https://hooks.slack.com/services/@"),
    ("OpenAI key", "sk-" + draw(20) + "T3Blbk" + "FJ" + draw(20), "openai.api = '@'"),
    ("OpenAI key", "sk-proj-" + draw(64, ALNUM + "-_"), "OpenAI('@')"),
    ("Anthropic key", "sk-ant-api03-" + draw(80, ALNUM + "-_"), "Client('@')"),
    ("Google key", "AIza" + draw(35, ALNUM + "-_"), "maps('@')"),
    ("Google token", "ya29." + draw(60, ALNUM + "-_"), "bearer '@'"),
    ("Google token", "GOCSPX-" + draw(28, ALNUM + "-_"), '"x": "@"'),
    ("Stripe key", "sk_live_" + draw(24), "stripe.api = '@'"),
    ("Stripe key", "rk_test_" + draw(24), "stripe.api = '@'"),
    ("Stripe hook secret", "whsec_" + draw(32), "verify(body, '@')"),
    ("npm token", "npm_" + draw(36), "//registry.npmjs.org/:_auth=@"),
    ("PyPI token", "pypi-AgE" + draw(120, ALNUM + "-_"), "twine upload -p @"),
    ("Hugging Face token", "hf_" + draw(34, string.ascii_letters), "login('@')"),
    ("SendGrid key", "SG." + draw(22) + "." + draw(43), "SendGrid('@')"),
    ("DigitalOcean token", "dop_v1_" + draw(64, "0123456789abcdef"), "do('@')"),
    ("Azure key", draw(86) + "==", "DefaultEndpointsProtocol=https;AccountKey=@;"),
    ("Telegram token", draw(9, "123456789") + ":AA" + draw(33), "Bot('@')"),
    ("JSON web token", jwt(), "header = 'Bearer @'"),
    ("private key", key_block("RSA PRIVATE KEY"), 'KEY = """@"""'),
    ("private key", key_block("PRIVATE KEY", newline="\\n"), "KEY = '@'"),
    ("private key", key_block("OPENSSH PRIVATE KEY"), "@"),
    ("private key", key_block("PGP PRIVATE KEY BLOCK"), "@"),
    ("password in a URL", "k3ineAhnung!", "postgresql://bert:@@db.internal/main"),
    ("password in a URL", "p%40ssW0rt99", "redis://bert:@@10.0.0.7:6379"),
    ("password", "Pa$$w0rt!27", 'password = "@"'),
    ("password", "n1cht-Zu-err4ten", "db_passwd: '@'"),
    ("password", draw(32, "0123456789abcdef") + "a1", "SECRET_KEY = '@'"),
    ("password", draw(40), 'settings["api_key"] = "@"'),
    ("password", draw(40), '"auth_token": "@",'),
    ("password", draw(30) + "7", "self.access_key: str = '@'"),
    ("password", draw(30) + "7", "connect(host, client_secret=b'@')"),
    ("password", "Sonne&Mond&Sterne", "PASSWORD := '@'"),
    ("password", draw(40) + "7", "export GITHUB_TOKEN=@"),
    ("password", draw(24) + "7", "MAIL_PASSWORD=@  # of the relay"),
]

INNOCENT = [
    'password = getpass("Password: ")',
    "password = os.environ['PASSWORD1234']",
    'PASSWORD = "change_me_1234"',
    'api_key = "YOUR_API_KEY_0001"',
    'token = "${CI_JOB_TOKEN_2}"',
    'token = "{{ token2 }}"',
    'secret = "xxxxxxxxxxxxxxxx1"',
    'password="<password1>"',
    'token = "NUMBER"; tokens = "identifier_name"',
    "passwords = load('passwords2020.txt')",
    'password_file = "/etc/app/passwd2.txt"',
    "aws_access_key_id = AKIAIOSFODNN7" + "EXAMPLE",
    "postgres://user:password@localhost/db",
    "https://user:$TOKEN@host/x",
    "https://example.com:8080/@scope/package1",
    "sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
    "tokenize('if x1: pass')",
    "if line == '-----BEGIN PRIVATE KEY-----': start(); elif line == '-----END PRIVATE KEY-----': stop()",
    "token_type = 'Bearer12'" + "  # " + "auth_url",
    "sk-learn-is-a-library; ghp_short; xoxb-no; AIzaShort; hf_hub_download",
    'secret = f("{a}{b}{c}1234")',
    "token: Token2 = Token2.NAME",
]


def test_there_are_enough_planted_secrets_of_every_kind():
    assert len(PLANTED) >= 40
    assert len({kind for kind, _, _ in PLANTED}) >= 20


@pytest.mark.parametrize(("kind", "secret", "around"), PLANTED)
def test_a_planted_secret_is_found_and_taken_out(kind, secret, around):
    assert "@" in around
    before, _, after = around.partition("@")
    code = f"import os\n\n{before}{secret}{after}\nprint('done')\n".encode()
    (finding,) = find(code)
    assert (finding.kind, finding.line) == (kind, 3)
    assert code[finding.start : finding.stop] == secret.encode()
    assert secret not in repr(finding)
    clean = redact(code)
    assert clean == code.replace(secret.encode(), WORD)
    assert find(clean) == ()


@pytest.mark.parametrize("line", INNOCENT)
def test_what_is_no_secret_is_left_alone(line):
    assert find(line.encode()) == ()
    assert redact(line.encode()) == line.encode()


def test_many_in_one_file_come_in_order():
    lines = [around.replace("@", secret, 1) for _, secret, around in PLANTED]
    code = "\n\n".join(lines).encode()
    findings = find(code)
    assert len(findings) == len(PLANTED)
    assert all(one.stop <= other.start for one, other in pairwise(findings))
    assert not any(secret.encode() in redact(code) for _, secret, _ in PLANTED)


def test_an_unfinished_key_is_found():
    block = key_block("EC PRIVATE KEY").rpartition("-----END")[0]
    (finding,) = find(block.encode())
    assert finding.kind == "private key"


def test_an_encrypted_key_is_found_whole():
    block = key_block("RSA PRIVATE KEY").replace("\n", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\n", 1)
    (finding,) = find(block.encode())
    assert (finding.start, finding.stop) == (0, len(block))


def test_the_standard_library_has_none():
    """Without its tests the library has no secret, so that every finding would be a false one."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in root.rglob("*.py") if not {"test", "tests", "site-packages"} & set(path.parts)]
    assert len(files) > 400
    assert sum(len(find(path.read_bytes())) for path in files) == 0


@given(st.binary(max_size=400))
def test_any_bytes_are_taken(content):
    assert find(redact(content)) == ()
    assert find(content) or redact(content) == content
