"""Who may do what, asked through the browser: with its cookies, its tokens, and from other places."""

from playwright.sync_api import expect

from background.admin.permissions import VERBS
from background.models import Run
from tests.admin.conftest import VIEWS
from tests.admin.test_permissions import actions, address, state_of_all

POST = """async ([url, fields]) => {
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    const body = new URLSearchParams([...fields, ["csrfmiddlewaretoken", token]]);
    return (await fetch(url, { method: "POST", body, redirect: "manual" })).status;
}"""


def test_a_viewer_is_offered_no_verb_and_every_one_is_refused(sign_in, world, at, complaints):
    page = sign_in(*VIEWS, name="viewer")
    verbs = {verb: address(world, *verb.split(".")) for verb in VERBS}
    for model in ("job", "run", "service", "host", "queue"):
        for where in (at(f"{model}_changelist"), at(f"{model}_change", world[model].pk)):
            page.goto(where)
            for url in verbs.values():
                expect(page.locator(f'a[href^="{url}"], form[action^="{url}"]')).to_have_count(0)
            expect(page.locator("select[name=action]")).to_have_count(0)
            expect(page.locator("#content input[type=submit][name], #content .submit-row input")).to_have_count(0)
    before = state_of_all()
    for verb, url in verbs.items():
        assert page.evaluate(POST, [url, [["reason", "x"], ["post", "yes"]]]) == 403, verb
    for model, name in actions():
        fields = [["action", name], ["_selected_action", str(world[model].pk)], ["post", "yes"], ["confirm", "yes"]]
        assert page.evaluate(POST, [at(f"{model}_changelist"), fields]) in (403, 405), (model, name)
    assert state_of_all() == before
    assert complaints and all("403 (Forbidden)" in one or "405 (Method" in one for one in complaints)
    complaints.clear()


def test_opening_the_address_of_a_verb_changes_nothing(sign_in, world, at):
    page = sign_in()
    before = state_of_all()
    for verb in VERBS:
        page.goto(address(world, *verb.split(".")))
        expect(page.locator("#content h1")).to_have_count(1)
    assert state_of_all() == before


def test_a_form_on_another_site_does_nothing(sign_in, site, world, complaints):
    page, before = sign_in(), state_of_all()
    page.context.route(
        "http://elsewhere.example/**", lambda route: route.fulfill(body="hello", content_type="text/html")
    )
    for verb in VERBS:
        page.goto("http://elsewhere.example/")
        url = f"{site.url}{address(world, *verb.split('.'))}"
        with page.expect_navigation() as told:
            page.set_content(f'<form method="post" action="{url}"><input name="reason" value="x"></form>')
            page.evaluate("document.forms[0].submit()")
        assert told.value.status == 403, verb
    assert state_of_all() == before
    complaints.clear()  # the refusal


def test_a_form_without_its_token_does_nothing(sign_in, make_run, at, complaints):
    run = make_run(status="ready")
    page = sign_in()
    page.goto(at("run_cancel", run.pk))
    page.locator("#content-main [name=csrfmiddlewaretoken]").evaluate("token => token.remove()")
    with page.expect_navigation() as told:
        page.get_by_role("button", name="Cancel run").click()
    assert told.value.status == 403 and Run.objects.get().status == "ready"
    complaints.clear()
