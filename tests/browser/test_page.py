"""A moderator at work: only the keyboard, in a real browser, on a real server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from store.workspace import Workspace
from tests.integration.api.serving import (
    Server,
    make_key,
    make_workspace,
    publish_users,
    serving,
)

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"))
    publish_users(workspace, seed=1)
    return workspace


@pytest.fixture(scope="module")
def server(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log: Path = tmp_path_factory.mktemp("log") / "server.log"
    with serving(workspace, log) as server:
        yield server


@pytest.mark.parametrize("javascript", [True, False])
def test_a_moderator_finds_the_violators_who_behave_like_a_user(
    browser: Browser, workspace: Workspace, server: Server, javascript: bool
) -> None:
    """Also a check that no console message, such as a breach of the CSP, is ever printed."""
    secret = make_key(workspace, f"moderator {javascript}", "neighbors:read", "risk:read")
    context = browser.new_context(base_url=server.url, java_script_enabled=javascript)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))

    sign_in(page, secret)
    look_up(page, "user-0000100")

    expect(page.get_by_role("heading", level=1)).to_contain_text("user-0000100")
    expect(page.get_by_role("heading", name="Risk")).to_be_visible()
    rows = page.get_by_role("table").get_by_role("row")
    expect(rows).to_have_count(11)
    expect(rows.nth(1)).to_contain_text("behavior")

    page.get_by_label("Known violators only").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Known violators only")).to_be_checked()
    expect(page.locator("td .badge.violator")).to_have_count(10)
    expect(page.get_by_text("10 for spam")).to_be_visible()

    page.get_by_label("Looking for").select_option("the same kind of behavior")
    page.get_by_role("button", name="Look up").click()
    expect(page.get_by_text("in kind, wherever it happens")).to_be_visible()
    expect(page.get_by_label("Known violators only")).to_be_checked()
    expect(page.locator("td .badge.violator")).to_have_count(10)

    neighbor = rows.nth(1).get_by_role("link")
    name = neighbor.inner_text()
    neighbor.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    expect(page.get_by_label("Looking for")).to_have_value("same_kind")

    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your API key")).to_be_visible()
    page.goto("/?user_id=user-0000100")
    expect(page.get_by_label("Your API key")).to_be_visible()
    assert [text for text in complaints if "Password forms" not in text] == []
    context.close()


def test_nothing_is_wider_than_a_phone_and_focus_is_always_visible(
    browser: Browser, workspace: Workspace, server: Server
) -> None:
    secret = make_key(workspace, "on the way", "*")
    context = browser.new_context(base_url=server.url, viewport={"width": 360, "height": 700})
    page = context.new_page()

    sign_in(page, secret)
    look_up(page, "ü")

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.goto("/?user_id=ü")
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    context.close()


def sign_in(page: Page, secret: str) -> None:
    """Sign in with the keyboard."""
    page.goto("/")
    page.get_by_label("Your API key").focus()
    page.keyboard.type(secret)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Who behaves like this user?")).to_be_visible()


def look_up(page: Page, user_id: str) -> None:
    """Look a user up with the keyboard."""
    page.get_by_label("User id").focus()
    page.keyboard.insert_text(user_id)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Look-alikes", exact=True)).to_be_visible()
