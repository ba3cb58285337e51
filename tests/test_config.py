"""Configuration: what wins over what, what is refused, and what is never shown."""

from __future__ import annotations

import pickle
import traceback

import msgspec
import pytest

from tinker_actors.clients.service import ServiceClient
from tinker_actors.config import DEFAULT_BASE_URL, Config, check_key, resolve
from tinker_actors.errors import ConfigError, TinkerError
from tinker_actors.types.addresses import is_loopback

KEY = "tml-secret-key"
LOOPBACK = "http://127.0.0.1:8000"


# ---------------------------------------------------------------- precedence


@pytest.mark.parametrize(
    ("field", "variable", "values"),
    [
        ("base_url", "TINKER_BASE_URL", ("http://localhost:1", "http://localhost:2", "http://localhost:3")),
        ("api_key", "TINKER_API_KEY", ("key-1", "key-2", "key-3")),
        ("project_id", "TINKER_PROJECT_ID", ("project-1", "project-2", "project-3")),
    ],
)
def test_an_argument_wins_over_the_config_and_that_over_the_environment(field, variable, values):
    argument, configured, environment = values
    elsewhere = {} if field == "base_url" else {"TINKER_BASE_URL": LOOPBACK}
    env = {**elsewhere, variable: environment}
    config = Config(**{field: configured})
    assert getattr(resolve(config, **{field: argument}, env=env), field) == argument
    assert getattr(resolve(config, env=env), field) == configured
    assert getattr(resolve(env=env), field) == environment
    for empty in ("", None):
        assert getattr(resolve(Config(**{field: empty}), **{field: empty}, env=env), field) == environment


def test_without_anything_else_a_key_leads_to_the_hosted_service():
    config = resolve(env={"TINKER_API_KEY": KEY, "TINKER_BASE_URL": "", "TINKER_PROJECT_ID": ""})
    assert (config.base_url, config.api_key, config.project_id) == (DEFAULT_BASE_URL, KEY, None)
    assert config.url.scheme == "https"


def test_the_processs_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("TINKER_BASE_URL", LOOPBACK)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    assert resolve().api_key == KEY
    assert resolve().base_url == LOOPBACK


@pytest.mark.parametrize(
    ("configured", "variable", "tags"),
    [
        ((), "a, b ,a,,c", ("a", "b", "c")),
        (("x",), "a,b", ("x",)),
        (["x", "y"], "a,b", ("x", "y")),
        ((), "", ()),
        ((), None, ()),
    ],
)
def test_tags_come_from_the_config_or_the_environment(configured, variable, tags):
    env = {} if variable is None else {"TINKER_TAGS": variable}
    assert resolve(Config(tags=configured), base_url=LOOPBACK, env=env).tags == tags


def test_cloudflares_headers_come_from_the_environment_and_the_configs_win():
    env = {"CLOUDFLARE_ACCESS_CLIENT_ID": "id", "CLOUDFLARE_ACCESS_CLIENT_SECRET": "secret"}
    assert resolve(base_url=LOOPBACK, env=env).default_headers == {
        "CF-Access-Client-Id": "id", "CF-Access-Client-Secret": "secret",
    }  # fmt: skip
    config = Config(default_headers={"CF-Access-Client-Id": "mine", "X-Other": "1"})
    headers = resolve(config, base_url=LOOPBACK, env=env).default_headers
    assert headers == {"CF-Access-Client-Id": "mine", "CF-Access-Client-Secret": "secret", "X-Other": "1"}
    assert config.default_headers == {"CF-Access-Client-Id": "mine", "X-Other": "1"}


def test_everything_else_is_kept_as_it_was_given():
    config = Config(connect_timeout=1.5, max_submits=7, server_orders=False, on_step_failure="continue", seed=3)
    resolved = resolve(config, base_url=f"{LOOPBACK}/prefix//", env={})
    assert resolved.base_url == f"{LOOPBACK}/prefix"
    assert (resolved.url.hostname, resolved.url.port, resolved.url.path) == ("127.0.0.1", 8000, "/prefix")
    for name in set(Config.__struct_fields__) - {"base_url", "default_headers"}:
        assert getattr(resolved, name) == getattr(config, name)


# ---------------------------------------------------------------- what can't be right

POSITIVE = [
    "connect_timeout", "request_timeout", "poll_timeout", "creation_timeout", "heartbeat_interval",
    "heartbeat_timeout", "silence_limit", "liveness_limit", "max_connections", "max_submits", "throttled_submits",
    "dispatch_bytes", "queue_bytes", "max_block", "response_bytes", "max_chunk_len", "max_chunk_bytes",
]  # fmt: skip


def test_every_number_of_the_config_is_checked():
    numbers = {
        name for name in Config.__struct_fields__
        if isinstance(getattr(Config(), name), int | float) and not isinstance(getattr(Config(), name), bool)
    }  # fmt: skip
    assert numbers | {"max_chunk_len", "max_chunk_bytes"} == set(POSITIVE)


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("value", [0, -1, float("nan"), "5", [5], True])
def test_a_number_has_to_be_one_and_greater_than_zero(name, value):
    with pytest.raises(ConfigError, match=name):
        Config(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", 8000),
        ("api_key", 7),
        ("api_key", KEY.encode()),
        ("project_id", 7),
        ("tags", "abc"),
        ("tags", (1,)),
        ("default_headers", [("a", "b")]),
        ("default_headers", {"a": 1}),
        ("allow_plaintext_key", "yes"),
        ("cafile", 7),
        ("proxy", 7),
        ("max_submits", 1.5),
        ("server_orders", "yes"),
        ("on_step_failure", "ignore"),
        ("on_step_failure", None),
        ("seed", "x"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=name) as caught:
        Config(**{name: value})
    assert KEY not in str(caught.value)
    assert isinstance(caught.value, TinkerError)


def test_unknown_settings_are_refused():
    with pytest.raises(TypeError, match="conect_timeout"):
        Config(conect_timeout=5.0)
    with pytest.raises(TypeError):
        Config("http://localhost")  # by name only


def test_a_config_is_frozen_and_keeps_no_hold_on_what_it_was_given():
    headers = {"X-A": "1"}
    config = Config(default_headers=headers)
    headers["X-B"] = "2"
    assert config.default_headers == {"X-A": "1"}
    with pytest.raises(AttributeError):
        config.seed = 1


@pytest.mark.parametrize("key", [f"{KEY}\n", f"\r{KEY}", f"a {KEY}", f"{KEY}\x00", f"{KEY}é", "\t" + KEY])
@pytest.mark.parametrize("way", ["config", "argument", "environment", "ServiceClient"])
def test_a_key_that_can_not_be_a_header_is_refused_without_being_shown(key, way, monkeypatch):
    monkeypatch.setenv("TINKER_BASE_URL", LOOPBACK)
    with pytest.raises(ConfigError, match="newline") as caught:
        if way == "config":
            Config(api_key=key)
        elif way == "argument":
            resolve(api_key=key, env={"TINKER_BASE_URL": LOOPBACK})
        elif way == "environment":
            resolve(env={"TINKER_BASE_URL": LOOPBACK, "TINKER_API_KEY": key})
        else:
            ServiceClient(api_key=key)
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)


def test_an_ordinary_key_is_accepted():
    check_key("tml-abc_DEF.123~+/=")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8000", "needs a scheme"),
        ("localhost:8000", "needs a scheme"),
        ("example.com", "needs a scheme"),
        ("//example.com", "needs a scheme"),
        ("ftp://example.com", "needs a scheme"),
        ("http://", "needs a scheme"),
        ("https:///path", "needs a scheme"),
        ("http://127.0.0.1:99999", "can't be read"),
        ("http://127.0.0.1:port", "can't be read"),
        ("http://[::1", "can't be read"),
        ("https://user:pass@example.com", "user name or password"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url, message):
    for refuse in (
        lambda: resolve(base_url=url, api_key=KEY, env={}),
        lambda: ServiceClient(base_url=url, api_key=KEY),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            refuse()
        assert "pass@" not in str(caught.value)


# ---------------------------------------------------------------- keys and servers


@pytest.mark.parametrize("make", [ServiceClient, lambda: ServiceClient(config=Config()), lambda: resolve(env={})])
def test_with_no_key_and_no_url_the_error_names_every_way_out(make):
    with pytest.raises(ConfigError) as caught:
        make()
    for way in ("TINKER_API_KEY", "TINKER_BASE_URL", "local:", "tinker-actors serve"):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:8000", "http://127.0.0.1", "https://127.8.9.10", "http://[::1]:8000", "http://LOCALHOST"]
)
def test_no_key_is_needed_on_loopback_and_one_may_go_there(url):
    assert resolve(base_url=url, env={}).api_key is None
    assert resolve(base_url=url, api_key=KEY, env={}).api_key == KEY


@pytest.mark.parametrize("url", ["http://10.0.0.5:8000", "http://example.com", "http://localhost.example.com"])
def test_a_key_over_http_to_another_host_has_to_be_allowed(url):
    with pytest.raises(ConfigError, match="allow_plaintext_key") as caught:
        resolve(base_url=url, api_key=KEY, env={})
    assert KEY not in str(caught.value)
    with pytest.raises(ConfigError, match="allow_plaintext_key"):
        ServiceClient(base_url=url, api_key=KEY)
    assert resolve(Config(allow_plaintext_key=True), base_url=url, api_key=KEY, env={}).api_key == KEY
    secure = url.replace("http://", "https://")
    assert resolve(base_url=secure, api_key=KEY, env={}).api_key == KEY


@pytest.mark.parametrize("url", ["http://example.com", "https://example.com"])
def test_another_host_needs_a_key(url):
    with pytest.raises(ConfigError, match=r"no API key for example\.com") as caught:
        resolve(base_url=url, env={})
    assert "no server to talk to" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("TINKER_APIKEY", "TINKER_API_KEY"),
        ("TINKERAPI_KEY", "TINKER_API_KEY"),
        ("TINKER_URL", "TINKER_BASE_URL"),
        ("TINKER_BASEURL", "TINKER_BASE_URL"),
    ],
)
@pytest.mark.parametrize("url", [None, "https://example.com"])
def test_a_misspelt_variable_is_named_where_something_is_missing(written, meant, url):
    with pytest.raises(ConfigError) as caught:
        resolve(base_url=url, env={written: "hush-hush", "TINKER_TAGS": "a"})
    assert f"{written} is set, which nothing reads: did you mean {meant}?" in str(caught.value)
    assert "hush-hush" not in str(caught.value)
    assert "TINKER_TAGS" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("127.255.0.1", True), ("::1", True), ("LocalHost", True),
     ("0.0.0.0", False), ("10.0.0.1", False), ("127.0.0.1.example.com", False), ("::2", False), ("", False)],
)  # fmt: skip
def test_loopback_is_this_machine_only(host, expected):
    assert is_loopback(host) is expected


# ---------------------------------------------------------------- secrets

SECRET = Config(
    base_url="https://example.com",
    api_key=KEY,
    default_headers={"X-Token": "header-secret"},
    proxy="http://user:proxy-secret@proxy:3128",
    project_id="visible",
)


@pytest.mark.parametrize("config", [SECRET, resolve(SECRET, env={})], ids=["given", "resolved"])
def test_reprs_and_pickles_hold_no_secrets(config):
    pickled = pickle.dumps(config)
    for secret in (KEY, "header-secret", "proxy-secret"):
        for text in (repr(config), str(config), f"{config}", f"{[config]}"):
            assert secret not in text
        assert secret.encode() not in pickled
    assert "visible" in repr(config)
    assert b"visible" in pickled


def test_an_unpickled_config_takes_its_key_from_where_it_is():
    config = pickle.loads(pickle.dumps(resolve(SECRET, env={})))
    assert config.api_key is None
    assert config.default_headers == {}
    public = set(Config.__struct_fields__) - {"api_key", "default_headers", "proxy"}
    assert all(getattr(config, name) == getattr(SECRET, name) for name in public)
    assert resolve(config, env={"TINKER_API_KEY": "another"}).api_key == "another"


def test_the_repr_shows_every_other_setting():
    shown = repr(Config())
    for name in Config.__struct_fields__:
        assert (f"{name}=" in shown) == (name not in ("api_key", "default_headers", "proxy"))


def test_replacing_a_field_checks_it_again():
    with pytest.raises(ConfigError, match="max_submits"):
        msgspec.structs.replace(Config(), max_submits=0)


# ---------------------------------------------------------------- what can't be sent or connected to


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"X-Team": "\u7814"}, "outside Latin-1"),
        ({"X-Team": "\udce9"}, "outside Latin-1"),
        ({"X-Team": "a\nb: hidden"}, "line break"),
        ({"X-Team": "hidden\x7f"}, "forbids"),
        ({"X Team": "hidden"}, "a name that HTTP does not allow"),
        ({"": "hidden"}, "a name"),
        ({"X-T\u00e9am": "hidden"}, "a name"),
        ({"Content-Length": "5"}, "how a message travels"),
        ({"transfer-encoding": "chunked"}, "how a message travels"),
        ({"Host": "hidden"}, "how a message travels"),
        ({"X-A": "hidden", "x-a": "2"}, "twice"),
    ],
)
def test_headers_that_can_not_be_sent_are_refused_without_their_values(headers, says):
    with pytest.raises(ConfigError, match=says) as caught:
        Config(default_headers=headers)
    assert "hidden" not in str(caught.value)
    assert repr(next(reversed(headers))) in str(caught.value)


def test_latin_1_is_sent():
    assert Config(default_headers={"X-Team": "caf\u00e9\t!"}).default_headers == {"X-Team": "caf\u00e9\t!"}


@pytest.mark.parametrize("name", ["CLOUDFLARE_ACCESS_CLIENT_ID", "CLOUDFLARE_ACCESS_CLIENT_SECRET"])
def test_headers_of_the_environment_are_checked_as_well(name):
    with pytest.raises(ConfigError, match=name) as caught:
        resolve(base_url=LOOPBACK, env={name: "hidden\u201d"})
    assert "hidden" not in str(caught.value)


def test_a_header_of_the_environment_gives_way_to_one_in_other_letters():
    env = {"CLOUDFLARE_ACCESS_CLIENT_ID": "id"}
    config = resolve(Config(default_headers={"cf-access-client-id": "mine"}), base_url=LOOPBACK, env=env)
    assert config.default_headers == {"cf-access-client-id": "mine"}


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("socks5://u:hidden@127.0.0.1:1080", "a socks5 proxy"),
        ("127.0.0.1:3128", "without a scheme"),
        ("proxy", "without a scheme"),
        ("", "without a scheme"),
        ("http://u:hidden@127.0.0.1:99999", "can't be read"),
        ("http://u:hidden@127.0.0.1:port", "can't be read"),
        ("http://u:hidden@:3128", "needs a host"),
        ("http://127.0.0.1:0", "port 0"),
        ("http://pro xy:3128", "can't be one"),
        ("http://pr\u00f6xy:3128", "not ASCII"),
        ("http://u:hidden\udce9@proxy:3128", "no URL has"),
        (" http://u:hidden@proxy:3128", "a space"),
    ],
)
def test_a_proxy_that_can_not_be_one_is_refused_without_being_shown(proxy, says):
    with pytest.raises(ConfigError, match=says) as caught:
        Config(proxy=proxy)
    assert "hidden" not in str(caught.value)
    assert "proxy" in str(caught.value)


def test_a_proxy_in_tls_for_a_server_in_tls_is_refused_and_others_are_not():
    config = Config(proxy="https://u:hidden@proxy.example.com", api_key=KEY, allow_plaintext_key=True)
    with pytest.raises(ConfigError, match="TLS") as caught:
        resolve(config, base_url="https://example.com", env={})
    assert "hidden" not in str(caught.value)
    assert resolve(config, base_url="http://example.com", env={}).proxy == config.proxy


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"HTTPS_PROXY": "socks5://u:hidden@127.0.0.1:1"}, "a socks5 proxy"),
        ({"HTTPS_PROXY": "http://u:hidden@127.0.0.1:99999"}, "can't be read"),
        ({"SSL_CERT_FILE": __file__}, "certificates"),
        ({"SSL_CERT_FILE": "/no/such/file"}, "certificates"),
    ],
)
def test_what_the_environment_says_of_the_way_is_checked_when_a_client_is_made(variables, says, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=says) as caught:
        ServiceClient(base_url="https://example.com", api_key=KEY)
    assert "hidden" not in str(caught.value)


def test_certificates_that_are_none_are_refused_when_a_client_is_made():
    with pytest.raises(ConfigError, match="certificates"):
        ServiceClient(base_url="https://example.com", api_key=KEY, config=Config(cafile=__file__))


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("http://127.0.0.1:8000/my path/", "http://127.0.0.1:8000/my%20path"),
        ("http://127.0.0.1:8000/caf\u00e9/\u7814", "http://127.0.0.1:8000/caf%C3%A9/%E7%A0%94"),
        ("http://127.0.0.1:8000/a%20b%2F", "http://127.0.0.1:8000/a%20b%2F"),
        ("http://127.0.0.1:8000/100%/x", "http://127.0.0.1:8000/100%25/x"),
        ('http://127.0.0.1:8000/"<>', "http://127.0.0.1:8000/%22%3C%3E"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://my_host.example.com./x", "https://my_host.example.com./x"),
    ],
)
def test_the_path_of_a_base_url_is_quoted(url, right):
    assert resolve(base_url=url, api_key=KEY, env={}).base_url == right


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/\udce9",
        "http://127.0.0.1:8000/a\nb",
        "http://127.0.0.1:8000\n",
        " http://127.0.0.1:8000",
        "http://127.0.0.1:8000/?x=1",
        "http://127.0.0.1:8000/#x",
        "http://127.0.0.1:0",
        "http://my host",
        "http://b\u00fccher.example",
        "http://a..b",
        "http://" + "a" * 64,
        "http://[::g]",
        "http://host%00",
    ],
)
def test_what_no_url_can_have_is_refused(url):
    with pytest.raises(ConfigError, match="The base URL"):
        resolve(base_url=url, api_key=KEY, env={})


@pytest.mark.parametrize("way", ["config", "environment"])
@pytest.mark.parametrize("bad", ["\ud800", "a\udce9b"])
@pytest.mark.parametrize("name", ["project_id", "tags"])
def test_text_that_is_no_unicode_is_refused(name, bad, way):
    variable = {"project_id": "TINKER_PROJECT_ID", "tags": "TINKER_TAGS"}[name]
    with pytest.raises(ConfigError, match=f"{name} is .* surrogate"):
        if way == "config":
            Config(**{name: (bad,) if name == "tags" else bad})
        else:
            resolve(base_url=LOOPBACK, env={variable: bad})


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("value", [float("inf"), 1e300, 10**400])
def test_a_number_that_no_timer_or_counter_takes_is_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        Config(**{name: value})


def test_the_name_of_a_session_is_text():
    for bad in ("\ud800", 7):
        with pytest.raises(TinkerError, match="display_name"):
            ServiceClient(base_url=LOOPBACK, display_name=bad)


@pytest.mark.parametrize(
    "url",
    ["http://user:pass/word-of-mine@host", "socks5://user:pass#word-of-mine@host", "http://u:pass?word-of-mine@h"],
)
@pytest.mark.parametrize("field", ["base_url", "proxy"])
def test_a_password_with_odd_characters_is_not_shown_either(field, url):
    """Such a URL can't be read as it was meant, and is told without what may be part of the password."""
    with pytest.raises(ConfigError) as caught:
        resolve(Config(**{field: url}), base_url=None if field == "base_url" else LOOPBACK)
    shown = [str(caught.value), repr(caught.value.__context__)]
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        if frame.f_code.co_filename != __file__:
            shown.append(repr(frame.f_locals))
    assert not [text for text in shown if "word-of-mine" in text or "pass" in text.replace("password", "")]
