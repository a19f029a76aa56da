"""Check that no file of the app is too long to read in one go."""

import sys
from pathlib import Path

LIMIT = 400

files = [file for file in Path("background").rglob("*.py") if "migrations" not in file.parts]
lengths = {file: len(file.read_text().splitlines()) for file in files}
wrong = [f"{file} has {length} lines; at most {LIMIT}" for file, length in lengths.items() if length > LIMIT]
print("\n".join(wrong) or f"{len(files)} files, {sum(lengths.values())} lines, the longest {max(lengths.values())}")
sys.exit(bool(wrong))
