"""The login: password, token and session, asked for before anything else, told nowhere."""

import asyncio
import base64
import time

import pytest

from tests.ui.asking import HERE, Recorder, ask, ask_async, run
from ui import login as module
from ui.guard import Guard
from ui.hosts import Hosts
from ui.login import Login

TOKEN = "a-token-of-22-letters-"
PAGE = [*HERE, ("Accept", "text/html"), ("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
FORM = [*HERE, ("Origin", "http://127.0.0.1:7860"), ("Content-Type", "application/x-www-form-urlencoded")]


@pytest.fixture(autouse=True)
def delays(monkeypatch):
    """What would have been waited for."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return waited


@pytest.fixture()
def behind():
    return Recorder()


@pytest.fixture()
def guard(behind):
    return Guard(behind, Hosts("127.0.0.1", ("https://safe.example.org",)), Login(("anna", "pass:wörd"), TOKEN))


def _basic(text):
    return [*HERE, ("Authorization", "Basic " + base64.b64encode(text.encode()).decode())]


def _cookie(answer):
    return answer.header("set-cookie").partition(";")[0]


def test_a_page_is_led_to_the_login_and_back_to_where_it_wanted(guard, behind):
    sent = ask(guard, "/?tab=train&run=0001-x", headers=PAGE)
    assert (sent.status, sent.header("location")) == (303, "/studio/login?tab=train&run=0001-x")
    form = ask(guard, "/studio/login?tab=train&run=0001-x", headers=PAGE)
    assert form.status == 200 and b"autofocus" in form.body and b"0001-x" not in form.body and form.header("cache-control") == "no-store"
    entered = ask(guard, "/studio/login?tab=train&run=0001-x", "POST", FORM, b"user=anna&password=pass%3Aw%C3%B6rd")
    assert (entered.status, entered.header("location")) == (303, "/?tab=train&run=0001-x")
    assert not behind.asked
    with_cookie = [*HERE, ("Cookie", "other=1; " + _cookie(entered))]
    assert ask(guard, "/studio/status", headers=with_cookie).body == b"hello"
    again = ask(guard, "/studio/login?tab=train", headers=with_cookie)
    assert (again.status, again.header("location")) == (303, "/?tab=train")


def test_the_cookie_is_for_the_browser_alone(guard):
    told = ask(guard, "/studio/login", "POST", FORM, f"token={TOKEN}".encode()).header("set-cookie")
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(told.split("; ")) and "Secure" not in told
    assert len(told.partition(";")[0].partition("=")[2]) >= 43  # 256 bits
    proxied = [("Host", "safe.example.org"), ("Origin", "https://safe.example.org"), *FORM[2:]]
    assert "Secure" in ask(guard, "/studio/login", "POST", proxied, f"token={TOKEN}".encode()).header("set-cookie").split("; ")


@pytest.mark.parametrize("path", ["/", "/studio/login"])
def test_a_token_in_the_address_does_not_stay_there(guard, path):
    entered = ask(guard, f"{path}?tab=runs&token={TOKEN}&x=%3Cb%3E", headers=PAGE)
    assert (entered.status, entered.header("location")) == (303, "/?tab=runs&x=%3Cb%3E")
    again = ask(guard, f"{path}?token={TOKEN}", headers=[*PAGE, ("Cookie", _cookie(entered))])
    assert (again.status, again.header("location"), again.header("set-cookie")) == (303, "/", None)


def test_who_comes_by_a_link_of_another_site_is_led_by_our_own_page(guard):
    """Browsers send a strict cookie only with what our own page asks for: after a redirect they would leave it out."""
    link = [*PAGE[:2], ("Sec-Fetch-Site", "cross-site"), *PAGE[3:]]
    entered = ask(guard, f"/?token={TOKEN}&q=%22%3E%3Cscript%3E", headers=link)
    assert entered.status == 200 and entered.header("set-cookie")
    assert b'content="0;url=/?q=%22%3E%3Cscript%3E"' in entered.body and TOKEN.encode() not in entered.body
    assert b'url=/studio/login"' in ask(guard, "/", headers=link).body


@pytest.mark.parametrize(
    "headers", [_basic("anna:pass:wörd"), [*HERE, ("Authorization", f"Bearer {TOKEN}")], [*HERE, ("authorization", f"bearer  {TOKEN}")]]
)
def test_programs_show_it_in_a_header(guard, headers, delays):
    assert ask(guard, "/gradio_api/info", headers=headers).body == b"hello"
    assert ask(guard, "/studio/datasets", "POST", headers, b"{}").body == b"hello"
    assert not delays


WRONG = [_basic(text) for text in ("anna:wrong", "anna", "", f"anna:{TOKEN}", "anna:pass", "anna:pass:wörd:")]
WRONG += [
    [*HERE, ("Authorization", value)]
    for value in ("x", "Basic !!!", "Basic /w==", "Bearer", "Bearer " + "x" * 70000, f"Bearer {TOKEN}x", f"Digest {TOKEN}")
]


@pytest.mark.parametrize("headers", WRONG)
def test_what_is_wrong_waits_and_is_refused(guard, behind, delays, headers):
    answer = ask(guard, "/studio/status", headers=headers)
    assert answer.status == 401 and delays == [0.1] and not behind.asked
    assert answer.header("www-authenticate") == "Bearer"


@pytest.mark.parametrize(
    "body", [b"", b"user=anna", b"user=anna&password=", b"token=", b"token=x", b"\xff" * 100, b"&" * 1000, b"user[]=anna", b"%"]
)
def test_a_wrong_form_is_told_so(guard, behind, delays, body):
    answer = ask(guard, "/studio/login", "POST", FORM, body)
    assert answer.status == 401 and b"That was not right." in answer.body and len(delays) == 1 and not behind.asked
    assert not answer.header("set-cookie")


def test_a_form_of_any_length_is_not_read_on(guard):
    assert ask(guard, "/studio/login", "POST", FORM, [b"x" * 10000] * 3).status == 413


def test_delays_grow_to_two_seconds_and_are_forgotten(guard, delays, monkeypatch):
    for _ in range(8):
        assert ask(guard, "/?token=wrong", headers=PAGE).status == 401
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    later = time.monotonic() + 100
    monkeypatch.setattr(module.time, "monotonic", lambda: later)
    ask(guard, "/?token=wrong", headers=PAGE)
    assert delays[-1] == 0.1


def test_who_waits_keeps_nobody_else_waiting(guard, monkeypatch):
    gate = {}

    async def sleep(seconds):
        await gate["open"].wait()

    async def all_at_once():
        gate["open"] = asyncio.Event()
        wrong = [asyncio.create_task(ask_async(guard, "/studio/status", "GET", _basic("anna:wrong"))) for _ in range(100)]
        entered = None
        while not entered or entered.status == 0:
            entered = await ask_async(guard, f"/?token={TOKEN}", "GET", PAGE)
        gate["open"].set()
        return entered, [await w for w in wrong]

    entered, refused = run(all_at_once())
    assert entered.status == 303 and {a.status for a in refused} == {401}


def test_a_right_word_among_too_many_wrong_ones_is_not_told_apart(guard, monkeypatch):
    """Guessing in parallel is no faster: what comes while many wrong attempts wait is not even looked at."""
    held = Login(("anna", "pass"), None)
    held._delayed = module.MAX_DELAYED
    assert ask(Guard(Recorder(), Hosts(), held), "/studio/status", headers=_basic("anna:pass")).status == 401


def test_leaving_ends_the_session(guard):
    entered = ask(guard, f"/?token={TOKEN}", headers=PAGE)
    mine = [*FORM, ("Cookie", _cookie(entered))]
    assert ask(guard, "/studio/logout", headers=[*PAGE, mine[-1]]).body == b"hello"  # a GET changes nothing
    left = ask(guard, "/studio/logout", "POST", mine)
    assert (left.status, left.header("location")) == (303, "/studio/login") and "Max-Age=0" in left.header("set-cookie")
    assert ask(guard, "/studio/status", headers=mine).status == 401


def test_the_login_itself_is_guarded(guard):
    foreign = [*HERE, ("Origin", "http://evil.example"), *FORM[2:]]
    assert ask(guard, "/studio/login", "POST", foreign, f"token={TOKEN}".encode()).status == 403
    assert ask(guard, f"/?token={TOKEN}", headers=[("Host", "evil.example")]).status == 403
    assert ask(guard, "/studio/login", "DELETE", FORM).status == 405
    assert ask(guard, f"/studio/status?token={TOKEN}", headers=PAGE).status == 401


def test_a_password_alone_or_a_token_alone():
    only_token, only_name = (Guard(Recorder(), Hosts(), Login(*given)) for given in ((None, TOKEN), (("anna", "x"), None)))
    assert b'name="user"' not in ask(only_token, "/studio/login").body and b'name="token"' in ask(only_token, "/studio/login").body
    assert b'name="token"' not in ask(only_name, "/studio/login").body and b'name="user"' in ask(only_name, "/studio/login").body
    for guard, headers in ((only_token, _basic(":")), (only_name, [*HERE, ("Authorization", "Bearer ")])):
        assert ask(guard, "/studio/status", headers=headers).status == 401


def test_sessions_do_not_pile_up(guard, monkeypatch):
    monkeypatch.setattr(module, "MAX_SESSIONS", 3)
    cookies = [_cookie(ask(guard, f"/?token={TOKEN}", headers=PAGE)) for _ in range(5)]
    assert [ask(guard, "/studio/status", headers=[*HERE, ("Cookie", c)]).status for c in cookies] == [401, 401, 200, 200, 200]
