"""A synchronisation for the tests; a process finds it by BACKGROUND["DISCOVER"], a test by importing it."""

import os

from background.contrib.sync import Source, sync


class Stock(Source):
    """Pull the stock of the tests' warehouse."""

    url = os.environ.get("PULL_URL", "")
    model = "app.Pulled"
    key = "sku"
    seen = "seen_at"

    def row(self, item):
        return {"sku": item["id"], "name": item["name"], "price": item["price"]}


if Stock.url:  # else a test declares what it needs
    sync(concurrency=None)(Stock)
