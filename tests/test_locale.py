"""The catalogues are whole: no message without words, every placeholder kept, compiled as they stand."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polib
import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import translation

APP = Path(__file__).resolve().parent.parent / "background"
LANGUAGES = ["de", "es", "fr"]
PLACEHOLDER = re.compile(r"%\(\w+\)[.\d]*[a-z]|%[.\d]*[sdf%]|\{\w*\}")


def catalogue(language):
    return polib.pofile(str(APP / f"locale/{language}/LC_MESSAGES/django.po"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_message_is_without_words(language):
    found = catalogue(language)
    assert [one.msgid for one in found.untranslated_entries() + found.fuzzy_entries()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_are_kept(language):
    for one in catalogue(language):
        wanted = {frozenset(PLACEHOLDER.findall(text)) for text in (one.msgid, one.msgid_plural) if text}
        for text in [one.msgstr, *one.msgstr_plural.values()]:
            assert not text or frozenset(PLACEHOLDER.findall(text)) in wanted, (one.msgid, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_what_is_written(language):
    written = {
        (one.msgid, one.msgctxt): (one.msgstr, one.msgstr_plural) for one in catalogue(language).translated_entries()
    }
    compiled = polib.mofile(str(APP / f"locale/{language}/LC_MESSAGES/django.mo"))
    assert {(one.msgid, one.msgctxt): (one.msgstr, one.msgstr_plural) for one in compiled} == written


def test_the_catalogues_have_the_messages_of_the_code(tmp_path):
    if shutil.which("xgettext") is None:
        pytest.skip("GNU gettext is not installed")
    shutil.copytree(APP, tmp_path / "background", ignore=shutil.ignore_patterns("locale", "__pycache__"))
    (tmp_path / "background/locale").mkdir()
    command = [sys.executable, "-P", "-m", "django", "makemessages", "-l", "de", "--no-location", "-v0"]
    bare = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=tmp_path / "background", env=bare, check=True, timeout=100)
    asked = polib.pofile(str(tmp_path / "background/locale/de/LC_MESSAGES/django.po"))
    for language in LANGUAGES:
        assert keys(catalogue(language)) == keys(asked)


def keys(catalogue):
    return {(one.msgctxt, one.msgid) for one in catalogue}


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", ("offen", "öffnen", "Lauf")),
        ("fr", ("ouverte", "ouvrir", "Exécution")),
        ("es", ("abierto", "abrir", "Ejecución")),
    ],
)
def test_a_word_with_two_meanings_has_two_translations(language, words):
    with translation.override(language):
        found = [translation.pgettext(*key) for key in (("state", "open"), ("verb", "open"), ("noun", "Run"))]
    assert tuple(found) == words
    # Django's own button says "Run" and means the verb: ours must not take its word.
    assert {(None, "Run"), (None, "open")}.isdisjoint(keys(catalogue(language)))


@pytest.mark.django_db
@pytest.mark.parametrize(("language", "word"), [("de", "Läufe"), ("es", "Ejecuciones"), ("fr", "Exécutions")])
def test_the_admin_speaks_the_language(client, settings, language, word):
    settings.LANGUAGE_CODE = language
    client.force_login(User.objects.create_superuser("ana"))
    with translation.override(language, deactivate=True):  # else it would leave that of LANGUAGE_CODE above active
        page = client.get(reverse("admin:background_run_changelist")).content.decode()
    assert word.lower() in page.lower()
