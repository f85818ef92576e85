"""A real browser: headless Chromium, driven by chromedriver, which speaks W3C WebDriver over plain HTTP."""

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

# What the driver's own start and the browser's may take on a busy machine; nothing measures it.
LIMIT_S = 60
PROGRAMS = ("chromedriver", "chromium")
# Root's browser has no sandbox. Nothing is looked for in any other place than the server under test.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,900"),
)


def missing_programs() -> list[str]:
    """Return the programs that a test with a browser needs, and that are not on the PATH."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Browser:
    """One browser with a profile of its own: nothing that another one has loaded or stored is in it."""

    def __init__(self, http: httpx.AsyncClient, session: str) -> None:
        self._http = http
        self._session = session

    async def open(self, url: str) -> None:
        """Go to `url`, as by typing it into the address bar, and wait until it is loaded."""
        await self._told("url", url=url)

    async def reload(self) -> None:
        """Load the page anew."""
        await self._told("refresh")

    async def script(self, body: str, *arguments: object) -> Any:
        """Return what the body of a function returns in the page."""
        return await self._told("execute/sync", script=body, args=arguments)

    async def wait(self, expression: str) -> Any:
        """Wait until an expression is true in the page, and return its value."""
        async with asyncio.timeout(LIMIT_S):
            while not (value := await self.script(f"return {expression}")):
                await asyncio.sleep(0.05)
        return value

    async def complaints(self) -> list[str]:
        """Return what the page has written to its console as errors and warnings since the last look."""
        entries = await self._told("se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] in {"SEVERE", "WARNING"}]

    async def screenshot(self, path: Path) -> None:
        """Write what the page shows into a PNG file."""
        response = (await self._http.get(f"/session/{self._session}/screenshot")).raise_for_status()
        path.write_bytes(base64.b64decode(response.json()["value"]))

    async def _told(self, command: str, **parameters: object) -> Any:
        response = await self._http.post(f"/session/{self._session}/{command}", json=parameters)
        value = response.json()["value"]
        assert response.is_success, value
        return value


@asynccontextmanager
async def driver() -> AsyncIterator[httpx.AsyncClient]:
    """Start chromedriver, and give an HTTP client of it."""
    process = await asyncio.create_subprocess_exec(
        "chromedriver", "--port=0", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            while b"successfully on port" not in (line := await process.stdout.readline()):
                assert line, "chromedriver ended"
        port = int(line.rpartition(b"on port")[2].strip(b" .\n"))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT_S) as http:
            yield http
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def browser(http: httpx.AsyncClient) -> AsyncIterator[Browser]:
    """Start a browser of its own through a driver, and end it."""
    profile = tempfile.mkdtemp(prefix="folio-browser-")
    options = {"args": [*FLAGS, f"--user-data-dir={profile}"]}
    wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    try:
        response = await http.post("/session", json={"capabilities": {"alwaysMatch": wanted}})
        assert response.is_success, response.text
        session = response.json()["value"]["sessionId"]
        try:
            yield Browser(http, session)
        finally:
            await http.delete(f"/session/{session}")
    finally:
        await asyncio.to_thread(shutil.rmtree, profile, ignore_errors=True)
