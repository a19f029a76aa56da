"""Check that the pages every reader looks for exist, and that relative links in the documentation lead somewhere."""

import re
import sys
from pathlib import Path

PAGES = ["README.md", "CHANGELOG.md", "docs/architecture.md", "docs/CONTRIBUTING.md", "docs/conformance.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")

wrong = [f"{page} is missing" for page in PAGES if not Path(page).exists()]
pages = [page for page in [*Path().glob("*.md"), *Path("docs").rglob("*.md")] if page.exists()]
for page in pages:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in (match[1] or match[2] for match in LINK.finditer(text)):
        path = link.split("#")[0]
        if path and not re.match(r"[a-z]+:", link) and not (page.parent / path).exists():
            wrong.append(f"{page}: {link} leads nowhere")

print("\n".join(wrong) or f"{len(pages)} pages, every relative link leads somewhere")
sys.exit(bool(wrong))
