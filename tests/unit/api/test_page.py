import re
from html import unescape
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.__main__ import _run
from api.app import create_app
from embedder.errors import ModelMissing
from index.answers import Freshness
from index.errors import PurposeUnavailable, RiskUnavailable
from store.errors import DatabaseError
from tests.unit.api.fakes import World


@pytest.fixture
def browser(client: TestClient) -> TestClient:
    """Somebody who is not signed in."""
    del client.headers["Authorization"]
    client.follow_redirects = True
    return client


def form_token(page: Any) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def sign_in(browser: TestClient, key: str) -> Any:
    token = form_token(browser.get("/"))
    return browser.post("/sign-in", data={"key": key, "form_token": token})


def words(page: Any) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def test_a_moderator_signs_in_looks_a_user_up_and_signs_out(browser: TestClient) -> None:
    home = sign_in(browser, "everything")
    user = browser.get("/?user_id=u-2&k=5")
    browser.post("/sign-out", data={"form_token": form_token(user)})
    after = browser.get("/?user_id=u-2")

    assert "Who behaves like this user?" in home.text
    said = words(user)
    assert "Likely a violator" in said
    assert "82 %" in said
    assert "about 82 turned out to be violators; the data allows 71 to 90" in said
    assert "known violator: spam" in said
    assert "Ring 17" in said
    assert (
        "2 of the 5 most similar users, one for each behavior, are known violators: "
        "1 for bot, 1 for spam." in said
    )
    assert "behavior 0.42, target 0.35, statistics 0.12" in said
    assert "A person decides; the system never bans." in said
    assert "Sign in" in after.text
    assert "Risk" not in words(after).replace("how risky", "")


@pytest.mark.parametrize(
    ("failure", "title"),
    [
        (DatabaseError("the disk is full"), "The operational database can't answer"),
        (ModelMissing("no model"), "The model can't be used"),
    ],
)
def test_whatever_fails_behind_the_page_is_told_on_the_page(
    browser: TestClient,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    title: str,
) -> None:
    sign_in(browser, "everything")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(world.keys, "find", fail)
    page = browser.get("/?user_id=u-1")

    assert page.status_code == 503
    assert page.headers["content-type"].startswith("text/html")
    assert title in words(page)


def test_only_known_violators_can_be_shown(browser: TestClient) -> None:
    sign_in(browser, "everything")

    page = browser.get("/?user_id=u-1&known_violators=true")

    assert "The closest 3 known violators: 2 for spam, 1 for bot." in words(page)
    assert 'name="known_violators" type="checkbox" value="true" checked' in page.text


def test_what_is_looked_for_stays_chosen_and_follows_the_links(
    browser: TestClient, world: World
) -> None:
    sign_in(browser, "everything")

    page = browser.get("/?user_id=u-1&purpose=same_kind")

    assert world.live.current().asked[-1].purpose == "same_kind"
    assert '<option value="same_kind" selected>' in page.text
    assert 'href="/?user_id=u-2&amp;k=10&amp;purpose=same_kind"' in page.text
    plain = browser.get("/?user_id=u-1")
    assert world.live.current().asked[-1].purpose is None
    assert 'href="/?user_id=u-2&amp;k=10"' in plain.text


def test_a_build_without_the_purpose_is_explained(browser: TestClient, world: World) -> None:
    sign_in(browser, "everything")
    world.live.current().failure = PurposeUnavailable("build b-1 has no weights for 'same_kind'")

    page = browser.get("/?user_id=u-1&purpose=same_kind")

    assert page.status_code == 503
    assert "Look for the same person instead" in words(page)


def test_users_exactly_alike_take_one_row_and_are_named_in_it(browser: TestClient) -> None:
    """The first twenty of them, known violators first, and how many more there are."""
    sign_in(browser, "everything")

    said = words(browser.get("/?user_id=u-1"))

    assert "ü 23 others exactly alike ü-copy-0 spam ü-copy-1 ü-copy-2" in said
    assert "ü-copy-19 and 3 more" in said
    assert "ü-copy-20" not in said
    assert said.count("exactly alike ü-copy") == 1


def test_too_little_data_is_said_in_words(browser: TestClient) -> None:
    sign_in(browser, "everything")

    said = words(browser.get("/?user_id=newcomer"))

    assert "Not enough data" in said
    assert "2 events are too few to compare this user with violators" in said
    assert "between" not in said


def test_an_unknown_user_gets_a_friendly_page(browser: TestClient) -> None:
    sign_in(browser, "everything")

    page = browser.get("/?user_id=%3Cb%3Estranger")

    assert page.status_code == 404
    assert "Check the spelling" in words(page)
    assert "<b>stranger" not in page.text
    assert "&lt;b&gt;stranger" in page.text


def test_no_build_gets_a_friendly_page(browser: TestClient, world: World) -> None:
    sign_in(browser, "everything")
    world.live.build = None

    page = browser.get("/")

    assert page.status_code == 503
    assert "lookalike rebuild" in words(page)
    assert "Retry-After" in page.headers


def test_a_wrong_key_gets_a_friendly_page(browser: TestClient) -> None:
    page = sign_in(browser, "wrong")

    assert page.status_code == 401
    assert "This key is unknown or revoked." in words(page)
    assert "lookalike_session" not in browser.cookies


def test_a_key_without_the_scope_gets_a_friendly_page(browser: TestClient) -> None:
    page = sign_in(browser, "risk")

    assert page.status_code == 403
    assert "lacks the scope neighbors:read" in words(page)
    assert "Sign out" in page.text


def test_a_key_without_the_risk_scope_sees_no_risk(browser: TestClient) -> None:
    sign_in(browser, "neighbors")

    said = words(browser.get("/?user_id=u-2"))

    assert "risk:read, so the risk is not shown, nor a ring" in said
    assert "82 %" not in said
    assert "24 %" not in said
    assert "Ring 17" not in said
    assert "none found" not in said


def test_a_key_with_the_risk_scope_sees_the_ring(browser: TestClient) -> None:
    sign_in(browser, "everything")

    said = words(browser.get("/?user_id=u-2"))

    assert "Ring 17 12 users closer to each other than chance; 5 of the others" in said
    assert "at least 24 %" in said


def test_a_build_without_risk_still_shows_look_alikes(
    browser: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(browser, "everything")

    def fail(_: object) -> None:
        raise RiskUnavailable("no risk model")

    monkeypatch.setattr(world.live.build, "risk_of_users", fail)
    page = browser.get("/?user_id=u-2")

    assert page.status_code == 200
    assert "without a risk model" in words(page)


def test_a_stale_build_warns(browser: TestClient, world: World) -> None:
    sign_in(browser, "everything")
    assert world.live.build is not None
    world.live.build.state = Freshness("stale", 5 * 86_400.0)

    assert "Old data." in words(browser.get("/"))
    assert "5 days ago" in words(browser.get("/"))


@pytest.mark.parametrize("query", ["k=0", "k=101", "k=x", "known_violators=perhaps", "purpose=fun"])
def test_a_form_that_does_not_fit_is_explained(browser: TestClient, query: str) -> None:
    sign_in(browser, "everything")

    page = browser.get(f"/?user_id=u-1&{query}")

    assert page.status_code == 422
    assert 'role="alert"' in page.text


def test_ids_are_escaped_everywhere(browser: TestClient) -> None:
    sign_in(browser, "everything")

    page = browser.get("/", params={"user_id": "<script>alert(1)</script>"})

    assert page.status_code == 200
    assert "<script" not in page.text
    assert "&lt;script&gt;" in browser.get("/?user_id=u-1").text


def test_pages_forbid_scripts_and_frames(browser: TestClient) -> None:
    for path in ("/", "/docs"):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]

        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
    assert "style=" not in browser.get("/").text


def test_a_session_ends_when_its_key_is_revoked(browser: TestClient, world: World) -> None:
    sign_in(browser, "everything")
    world.keys.revoke("everything")

    assert "Your API key" in browser.get("/?user_id=u-1").text


def test_a_session_is_valid_in_every_worker_and_the_key_is_not_in_it(
    browser: TestClient, world: World
) -> None:
    sign_in(browser, "neighbors")
    cookie = browser.cookies["lookalike_session"]
    another = TestClient(create_app(world.services), cookies={"lookalike_session": cookie})

    assert "Who behaves like this user?" in another.get("/").text
    forged = TestClient(
        create_app(world.services), cookies={"lookalike_session": cookie[:-2] + "xx"}
    )
    assert "Your API key" in forged.get("/").text


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(client: TestClient) -> None:
    answer = client.get("/")
    token = form_token(answer)
    signed = client.post("/sign-in", data={"key": "everything", "form_token": token})

    for header in (answer.headers["set-cookie"], signed.headers["set-cookie"]):
        assert "HttpOnly" in header
        assert "samesite=strict" in header.lower()
        assert "Secure" not in header
    safe = client.post(
        "https://testserver/sign-in", data={"key": "everything", "form_token": token}
    )
    assert "Secure" in safe.headers["set-cookie"]


@pytest.mark.parametrize(("trusted", "is_secure"), [("testclient", True), ("10.0.0.1", False)])
def test_cookies_are_secure_behind_a_proxy_that_is_trusted_to_end_tls(
    world: World, monkeypatch: pytest.MonkeyPatch, trusted: str, is_secure: bool
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("uvicorn.run", lambda _, **options: given.update(options))
    _run(world.services.config, "an application")
    config = uvicorn.Config("an application", **given)
    assert config.proxy_headers
    app: Any = create_app(world.services)
    behind: Any = ProxyHeadersMiddleware(app, trusted_hosts=config.forwarded_allow_ips)

    answer = TestClient(behind).get("/", headers={"X-Forwarded-Proto": "https"})

    assert ("Secure" in answer.headers["set-cookie"]) == is_secure


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
def test_a_form_from_elsewhere_is_refused(browser: TestClient, path: str) -> None:
    sign_in(browser, "everything")
    stolen = form_token(browser.get("/"))
    browser.cookies.delete("lookalike_form")

    for token in ("", "forged", stolen):
        page = browser.post(path, data={"key": "everything", "form_token": token})
        assert page.status_code == 403


def test_an_api_key_in_a_header_does_not_sign_a_browser_in(client: TestClient) -> None:
    assert "Your API key" in client.get("/").text


def test_looking_a_user_up_is_audited(browser: TestClient, world: World) -> None:
    sign_in(browser, "neighbors")
    browser.get("/?user_id=u-2")

    browser.__exit__()
    assert [(entry.key_name, entry.subject) for entry in world.audited] == [("neighbors", "u-2")]


def test_the_page_has_what_assistive_technology_needs(browser: TestClient) -> None:
    sign_in(browser, "everything")

    page = browser.get("/?user_id=u-2").text

    assert '<html lang="en">' in page
    assert 'class="skip" href="#main"' in page
    assert page.count("<h1") == 1
    assert "<caption>" in page
    assert page.count('scope="col"') == 6
    assert 'scope="row"' in page
    fields = set(re.findall(r'<(?:input|select) id="([^"]+)"', page))
    assert fields == {"user_id", "k", "known_violators", "purpose"}
    assert all(f'<label for="{field}">' in page for field in fields)
