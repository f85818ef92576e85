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

# The time that driver and browser may take to start on a busy machine; no test measures it.
LIMIT_S = 60
PROGRAMS = ("chromedriver", "chromium")
# Chromium as root needs --no-sandbox. The other options stop requests to any host but the server under test.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,900"),
)


def missing_programs() -> list[str]:
    """Return the programs that browser tests need and that are not on the PATH."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Browser:
    """One browser with an empty profile: it shares nothing that another one has loaded or stored."""

    def __init__(self, http: httpx.AsyncClient, session: str) -> None:
        self._http = http
        self._session = session

    async def open(self, url: str) -> None:
        """Go to `url`, as if typed into the address bar, and wait until it is loaded."""
        await self._command("url", url=url)

    async def reload(self) -> None:
        """Reload the page."""
        await self._command("refresh")

    async def script(self, body: str, *arguments: object) -> Any:
        """Run the body of a function in the page, and return its result."""
        return await self._command("execute/sync", script=body, args=arguments)

    async def wait(self, expression: str) -> Any:
        """Wait until an expression is true in the page, and return its value."""
        async with asyncio.timeout(LIMIT_S):
            while not (value := await self.script(f"return {expression}")):
                await asyncio.sleep(0.05)
        return value

    async def complaints(self) -> list[str]:
        """Return the errors and warnings that the page has written to its console since the last call."""
        entries = await self._command("se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] in {"SEVERE", "WARNING"}]

    async def screenshot(self, path: Path) -> None:
        """Write a screenshot of the page as a PNG file."""
        response = (await self._http.get(f"/session/{self._session}/screenshot")).raise_for_status()
        path.write_bytes(base64.b64decode(response.json()["value"]))

    async def _command(self, command: str, **parameters: object) -> Any:
        response = await self._http.post(f"/session/{self._session}/{command}", json=parameters)
        value = response.json()["value"]
        assert response.is_success, value
        return value


@asynccontextmanager
async def driver() -> AsyncIterator[httpx.AsyncClient]:
    """Start chromedriver, and yield an HTTP client for it."""
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
    """Start a new browser through a driver, and close it at the end."""
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
