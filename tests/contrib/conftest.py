from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from tests.contrib.old_tables import OLD


@pytest.fixture
def old_tables(transactional_db: None) -> Iterator[None]:
    with connection.schema_editor() as editor:
        for model in OLD:
            editor.create_model(model)
    yield
    with connection.schema_editor() as editor:
        for model in reversed(OLD):
            editor.delete_model(model)
