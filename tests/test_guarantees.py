"""The page on guarantees names tests: they must be there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]*(?:\.py)?(?:::\w+)?)`", PAGE)))


def test_the_page_names_tests():
    assert len(NAMED) > 20


@pytest.mark.parametrize("named", NAMED)
def test_a_test_that_the_page_names_is_there(named):
    path, _, name = named.partition("::")
    assert (ROOT / path).exists(), path
    if name:
        defined = {
            one.name for one in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(one, ast.FunctionDef)
        }
        assert name in defined, named


def test_each_promise_of_the_table_names_its_attack():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "| how it is kept |" not in line]
    promises = [line for line in rows if line.count("|") == 4 and "tests/" in line]
    assert len(promises) >= 17
