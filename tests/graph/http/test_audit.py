"""The audits of graphql-http, the reference implementation of GraphQL over HTTP, against the served application."""

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import orjson
import pytest

from tests.graph.support.callers import Client

PACKAGE = Path(__file__).parents[2] / "graphql_http_audit"
AUDITS = 61
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@pytest.fixture(scope="session")
def audit_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script that runs the audits, next to the packages that it needs; nothing is written into the checkout."""
    tools = {name: shutil.which(name) for name in ("node", "npm")}
    missing = [name for name, path in tools.items() if path is None]
    # `make test` needs no more than Python, make and git. Where Node is expected, its absence is a failure.
    if "node" in missing and os.environ.get("CI") != "true":
        pytest.skip("node is not on the PATH; install Node.js 20 or later to run the audits of graphql-http")
    assert missing == [], f"the audits of graphql-http need {' and '.join(missing)}; install Node.js 20 with npm"
    directory = tmp_path_factory.mktemp("graphql_http_audit")
    for name in ("package.json", "audit.mjs", ".npmrc"):
        shutil.copy(PACKAGE / name, directory)
    command = [str(tools["npm"]), "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(directory)]
    # Node has a built-in list of authorities; it uses the system's, for instance behind a proxy, only on request.
    trusted = {"NODE_EXTRA_CA_CERTS": str(AUTHORITIES)} if AUTHORITIES.exists() else {}
    variables = {**trusted, **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory, env=variables)  # noqa: S603
    assert done.returncode == 0, f"npm install of {PACKAGE / 'package.json'} failed: {done.stdout}{done.stderr}"
    return directory / "audit.mjs"


async def test_every_audit_of_graphql_http_is_ok(audit_script: Path, client: Client) -> None:
    url = str(client.http.base_url.join("/graphql"))
    node = await asyncio.create_subprocess_exec(
        "node", str(audit_script), url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await node.communicate()
    assert node.returncode == 0, stderr.decode()
    results = orjson.loads(stdout)
    assert [result for result in results if result["status"] != "ok"] == []
    assert Counter(result["status"] for result in results) == {"ok": AUDITS}
