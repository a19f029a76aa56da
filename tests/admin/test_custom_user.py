"""A site whose users are of another model, in a process of its own: AUTH_USER_MODEL cannot be changed in this one."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_person_of_another_user_model_runs_sees_and_cancels(tmp_path):
    foreign = {"DATABASE_URL", "BACKGROUND_TEST_FOLDER", "BACKGROUND_TEST_DATABASE"}
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    environment["BACKGROUND_TEST_FOLDER"] = str(tmp_path)
    command = [sys.executable, "-m", "tests.people"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout + done.stderr
