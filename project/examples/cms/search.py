"""Owns the full-text index: a table beside the articles, of the kind that each database searches best."""

import re
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from project.examples.cms.models import Article

# PostgreSQL indexes at most a megabyte of a text.
LONGEST = 250_000


@dataclass(frozen=True, slots=True)
class Kind:
    """What one database calls it; `put` takes id, title and body, `find` the words and a limit."""

    create: tuple[str, ...]
    put: str
    find: str
    key: str = "article_id"


KINDS = {
    "sqlite": Kind(
        create=("CREATE VIRTUAL TABLE cms_search USING fts5(title, body, tokenize = 'porter unicode61')",),
        put="INSERT OR REPLACE INTO cms_search (rowid, title, body) VALUES (%s, %s, %s)",
        find="SELECT rowid FROM cms_search WHERE cms_search MATCH %s ORDER BY bm25(cms_search, 10.0, 1.0) LIMIT %s",
        key="rowid",
    ),
    "postgresql": Kind(
        create=(
            "CREATE TABLE cms_search (article_id bigint PRIMARY KEY, words tsvector NOT NULL)",
            "CREATE INDEX cms_search_words ON cms_search USING gin (words)",
        ),
        put=(
            "INSERT INTO cms_search (article_id, words) VALUES"
            " (%s, setweight(to_tsvector('english', %s), 'A') || to_tsvector('english', %s))"
            " ON CONFLICT (article_id) DO UPDATE SET words = excluded.words"
        ),
        find=(
            "SELECT article_id FROM cms_search, websearch_to_tsquery('english', %s) AS sought"
            " WHERE words @@ sought ORDER BY ts_rank(words, sought) DESC, article_id LIMIT %s"
        ),
    ),
    # Sorted by relevance as it is. InnoDB finds what is committed only.
    "mysql": Kind(
        create=(
            "CREATE TABLE cms_search (article_id bigint PRIMARY KEY, title varchar(200) NOT NULL, body longtext NOT NULL,"
            " FULLTEXT (title, body)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
        ),
        put="REPLACE INTO cms_search (article_id, title, body) VALUES (%s, %s, %s)",
        find="SELECT article_id FROM cms_search WHERE MATCH (title, body) AGAINST (%s) LIMIT %s",
    ),
}


def kind() -> Kind:
    return KINDS[connection.vendor]


def create(apps: Any, schema_editor: Any) -> None:
    """Make the index's table; for a migration."""
    for statement in KINDS[schema_editor.connection.vendor].create:
        schema_editor.execute(statement)


def drop(apps: Any, schema_editor: Any) -> None:
    schema_editor.execute("DROP TABLE cms_search")


def refresh(limit: int = 500) -> int:
    """Bring the index up to date with up to `limit` changed articles, and return how many it were. Blocks.

    An article that changes meanwhile is stale again: what is noted is the change that was read, not the time.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        changed = list(Article.objects.stale().order_by("changed_at")[:limit])
        for article in changed:
            if article.published_at is not None:
                cursor.execute(kind().put, [article.pk, article.title, article.body[:LONGEST]])
            Article.objects.filter(pk=article.pk).update(indexed_at=article.changed_at)
        forget(cursor)
    return len(changed)


def forget(cursor: Any) -> None:
    """Take out of the index what nobody may see (any more)."""
    visible = "SELECT id FROM cms_article WHERE published_at IS NOT NULL"
    cursor.execute(f"DELETE FROM cms_search WHERE {kind().key} NOT IN ({visible})")


def rebuild() -> None:
    """Empty the index, so that the next refreshes fill it anew. Blocks."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM cms_search")
        Article.objects.update(indexed_at=None)


def find(text: str, limit: int = 20) -> list[Article]:
    """Return the published articles with these words, the best first. Whatever is typed is words, never an operator. Blocks."""
    words = re.findall(r"\w+", text)[:20]
    if not words:
        return []
    sought = " ".join(f'"{word}"' for word in words) if connection.vendor == "sqlite" else " ".join(words)
    with connection.cursor() as cursor:
        cursor.execute(kind().find, [sought, limit])
        ids = [id for (id,) in cursor.fetchall()]
    found = Article.objects.published().filter(published_at__lte=timezone.now()).in_bulk(ids)
    return [found[id] for id in ids if id in found]
