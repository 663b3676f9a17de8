"""Python httpx over HTTP/1.1 and HTTP/2. Run by `run`, which sets CA, TOKEN and URL."""

import asyncio
import os
import ssl

import httpx

URL, TOKEN = os.environ["URL"], os.environ["TOKEN"]
GOOD = {"verification-token": TOKEN, "content-type": "application/json"}
WRONG = {"verification-token": "wrong-0123456789abcdef"}
trusted = ssl.create_default_context(cafile=os.environ["CA"])
count = 0


def check(answer, status, body=None):
    global count
    # Guesses from one address may be limited.
    statuses = (401, 429) if status == 401 else (status,)
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert body is None or answer.text.strip() == body, answer.text
    count += 1


def pieces(size):
    while size > 0:
        yield b"x" * min(size, 50_000)
        size -= 50_000


def one_by_one(http2):
    with httpx.Client(http2=http2, verify=trusted, timeout=60) as client:
        for size in (0, 1, 1000, 70_000, 5_000_000, 40_000_000):
            answer = client.post(URL, content=b"x" * size, headers=GOOD)
            check(answer, 200, "stored")
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            check(client.post(URL, content=pieces(size), headers=GOOD), 200, "stored")
        # Over HTTP/2, httpcore looks for no answer while the server's window is closed to its body, as it is to a refused
        # one beyond 64 KiB.
        for body in (b"{}", b"x" * (60_000 if http2 else 1_000_000)):
            check(client.post(URL, content=body, headers=WRONG), 401)
            check(client.post(URL, content=body), 401)
        # A refused message does not spoil what comes after it.
        check(client.post(URL, content=b"{}", headers=GOOD), 200, "stored")
        challenge = {"verification-token": TOKEN, "challenge": "hello"}
        check(client.post(URL, json=challenge), 200, "hello")
        check(client.get(URL, params=challenge), 200, "hello")
        for _ in range(100):
            check(client.post(URL, json={"Meta": {}}, headers=GOOD), 200, "stored")


async def at_once(http2):
    async with httpx.AsyncClient(http2=http2, verify=trusted, timeout=60) as client:
        asked = [client.post(URL, content=b"x" * 20_000, headers=GOOD) for _ in range(50)]
        for answer in await asyncio.gather(*asked):
            check(answer, 200, "stored")


for http2 in (False, True):
    one_by_one(http2)
    asyncio.run(at_once(http2))
print(f"{count} requests as they should be")
