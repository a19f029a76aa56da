"""How pages look and feel: contrast in every theme, width of a phone, keys alone, and what a screen reader is told."""

import pytest
from playwright.sync_api import expect

from tests.browser import demo

# The least contrast between each word's colour and what is behind it; and between a mark and what is behind it.
CONTRAST = """([selector, least]) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgb = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = "transparent"; canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const linear = one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    const light = rgba => [0.2126, 0.7152, 0.0722].reduce((sum, share, n) => sum + share * linear(rgba[n] / 255), 0);
    const behind = element => {
        for (let one = element; one; one = one.parentElement) {
            const found = rgb(getComputedStyle(one).backgroundColor);
            if (found[3] === 255) return found;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll(selector)].filter(one => one.getClientRects().length).map(one => {
        const style = getComputedStyle(one), drawn = one instanceof SVGElement;
        const colour = !drawn ? style.color : style.fill === "none" || one.localName === "line" ? style.stroke : style.fill;
        const [a, b] = [light(rgb(colour)), light(behind(one.closest("svg") || one))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), one.outerHTML.slice(0, 120)];
    }).filter(([ratio]) => ratio < least);
}"""
# A page, what is text on it, and what is a mark.
WORDS = ", ".join(
    f"#content {one}"
    for one in (
        ".bg-state",
        ".bg-quiet",
        ".bg-level",
        ".bg-at",
        ".bg-override",
        ".bg-axis span",
        ".bg-top",
        ".bg-legend",
        ".bg-label",
    )
)
# An empty day is no mark; the cross on one has the colour of the page, so it stands out as the mark does.
MARKS = "#content svg :is(rect, path, line)[class]:not(.bg-mark-none, .bg-cross)"


@pytest.fixture
def shop(db):
    return demo.fill()


def places(at, shop):
    lists = [at(f"{model}_changelist") for model in ("dashboard", "run", "job", "service", "host", "queue")]
    return [*lists, *(at(f"{model}_change", row.pk) for model, rows in shop.items() for row in rows.values())]


@pytest.mark.themes
@pytest.mark.parametrize("browsers", ["light", "dark"])
def test_words_and_marks_stand_out_in_every_theme(sign_in, shop, at, browsers):
    page = sign_in(color_scheme=browsers)
    for where in places(at, shop):
        page.goto(where)
        for theme in ("auto", "light", "dark"):
            page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
            assert page.evaluate(CONTRAST, [WORDS, 4.5]) == [], (where, theme)
            assert page.evaluate(CONTRAST, [MARKS, 3]) == [], (where, theme)


def test_the_button_for_the_theme_leads_through_three_of_them(sign_in, shop, at):
    page = sign_in()
    page.goto(at("run_changelist"))
    seen = set()
    for _ in range(3):
        page.locator(".theme-toggle").locator("visible=true").first.click()
        seen.add(page.evaluate("document.documentElement.dataset.theme"))
    assert seen == {"auto", "light", "dark"}


def test_on_a_phone_no_page_is_wider_than_the_screen_and_the_verbs_are_there(sign_in, shop, at):
    page = sign_in(viewport={"width": 360, "height": 740})
    too_wide = {}
    for where in places(at, shop):
        page.goto(where)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 360:
            too_wide[where] = width
        for verb in page.locator("#content .object-tools a").all():
            box = verb.bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= 360, (where, verb.text_content())
    assert not too_wide
    page.goto(at("run_change", shop["run"]["run-running"].pk))
    expect(page.get_by_role("link", name="Cancel run…")).to_be_in_viewport()


def test_from_the_dashboard_to_a_cancelled_run_with_keys_alone(sign_in, shop, at):
    run = shop["run"]["run-ready"]
    page = sign_in()
    page.goto(at("dashboard_changelist"))
    for link in ("Queued 1", f"#{run.short_id}", "Cancel run…"):
        tab_to(page, link)
        with page.expect_navigation():
            page.keyboard.press("Enter")
    tab_to(page, "Reason")
    page.keyboard.type("by keyboard")
    tab_to(page, "Cancel run")
    page.keyboard.press("Enter")
    expect(page.locator("#run-state .bg-head")).to_contain_text("cancelled")
    run.refresh_from_db()
    assert run.status == "cancelled" and run.end_reason


NAME = """() => {
    const one = document.activeElement, style = getComputedStyle(one);
    const name = one.labels?.[0]?.textContent || one.value || one.textContent;
    return [name.trim().replace(/:$/, ""), one.matches(":focus-visible") && style.visibility === "visible"];
}"""


def tab_to(page, name):
    for _ in range(200):  # the newest Django has the filters before the list
        page.keyboard.press("Tab")
        found, seen = page.evaluate(NAME)
        if found == name:
            assert seen
            return
    raise AssertionError(f"{name} is not reached by Tab")


NAMELESS = """() => {
    const named = one => one.getAttribute("aria-label") || one.getAttribute("aria-labelledby") || one.title || one.textContent.trim()
        || one.labels?.length || (["submit", "button"].includes(one.type) && one.value)
        || one.querySelector("img[alt]:not([alt='']), [title]");
    const controls = "#content :is(a[href], button, input:not([type=hidden]), select, textarea, summary)";
    return [...document.querySelectorAll(controls)].filter(one => one.getClientRects().length && !named(one))
        .map(one => one.outerHTML.slice(0, 150));
}"""


def test_every_control_has_a_name(sign_in, shop, at):
    page = sign_in()
    for where in places(at, shop):
        page.goto(where)
        nameless = page.evaluate(NAMELESS)
        assert nameless == [], where
