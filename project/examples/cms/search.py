"""Owns the full-text index: a table beside the articles, of the kind that each database searches best."""

import re
from typing import Any, NamedTuple

from django.db import connection, transaction

from project.examples.cms.models import Article


class Kind(NamedTuple):
    """What one database calls it; `put` takes id, title and body, `find` the words and a limit."""

    create: list[str]
    put: str
    find: str


KINDS = {
    "sqlite": Kind(
        create=["CREATE VIRTUAL TABLE cms_search USING fts5(title, body, tokenize = 'porter unicode61')"],
        put="INSERT INTO cms_search (rowid, title, body) VALUES (%s, %s, %s)",
        find="SELECT rowid FROM cms_search WHERE cms_search MATCH %s ORDER BY bm25(cms_search, 10.0, 1.0) LIMIT %s",
    ),
    "postgresql": Kind(
        create=[
            "CREATE TABLE cms_search (rowid bigint PRIMARY KEY, words tsvector NOT NULL)",
            "CREATE INDEX cms_search_words ON cms_search USING gin (words)",
        ],
        put=(
            "INSERT INTO cms_search (rowid, words)"
            " VALUES (%s, setweight(to_tsvector('english', %s), 'A') || to_tsvector('english', %s))"
        ),
        find=(
            "SELECT rowid FROM cms_search, websearch_to_tsquery('english', %s) AS sought"
            " WHERE words @@ sought ORDER BY ts_rank(words, sought) DESC, rowid LIMIT %s"
        ),
    ),
    # Sorted by relevance as it is. InnoDB finds what is committed only.
    "mysql": Kind(
        create=[
            "CREATE TABLE cms_search (rowid bigint PRIMARY KEY, title varchar(200) NOT NULL, body longtext NOT NULL,"
            " FULLTEXT (title, body)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"
        ],
        put="INSERT INTO cms_search (rowid, title, body) VALUES (%s, %s, %s)",
        find="SELECT rowid FROM cms_search WHERE MATCH (title, body) AGAINST (%s) LIMIT %s",
    ),
}


def create(apps: Any, schema_editor: Any) -> None:
    """Make the index's table; for a migration."""
    for statement in KINDS[schema_editor.connection.vendor].create:
        schema_editor.execute(statement)


@transaction.atomic
def refresh(limit: int = 500) -> int:
    """Bring the index up to date with up to `limit` changed articles, and return how many it were. Blocks.

    An article that changes meanwhile is stale again: what is noted is the change that was read, not the time.
    """
    changed = list(Article.objects.stale().order_by("changed_at")[:limit])
    with connection.cursor() as cursor:
        for article in changed:
            cursor.execute("DELETE FROM cms_search WHERE rowid = %s", [article.pk])
            # PostgreSQL indexes at most a megabyte of a text.
            cursor.execute(KINDS[connection.vendor].put, [article.pk, article.title, article.body[:250_000]])
            Article.objects.filter(pk=article.pk).update(indexed_at=article.changed_at)
        cursor.execute("DELETE FROM cms_search WHERE rowid NOT IN (SELECT id FROM cms_article)")
    return len(changed)


def find(text: str) -> list[Article]:
    """Return up to twenty published articles with these words, the best first. Whatever is typed is words, never an operator. Blocks."""
    words = re.findall(r"\w+", text)[:20]
    if not words:
        return []
    sought = " ".join(f'"{word}"' for word in words) if connection.vendor == "sqlite" else " ".join(words)
    with connection.cursor() as cursor:
        cursor.execute(KINDS[connection.vendor].find, [sought, 200])  # some may not be published
        ids = [id for (id,) in cursor.fetchall()]
    found = Article.objects.published().in_bulk(ids)
    return [found[id] for id in ids if id in found][:20]
