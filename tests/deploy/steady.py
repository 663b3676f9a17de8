"""Sends messages without a break, each over a connection of its own, until told to stop; none may fail.

    steady.py PORT CERTIFICATE STOP

Ends when the file STOP is there, with the number of messages; with 1 at the first that is not answered 200. The token
is read from TOKEN_FILE before each message.
"""

import http.client
import os
import ssl
import sys
import time

context = ssl.create_default_context(cafile=sys.argv[2])
count, longest = 0, 0.0
while not os.path.exists(sys.argv[3]):
    with open(os.environ["TOKEN_FILE"], encoding="utf-8") as file:
        token = file.read().strip()
    begun = time.monotonic()
    connection = http.client.HTTPSConnection("localhost", int(sys.argv[1]), context=context, timeout=30)
    connection.request("POST", "/redox", "{}", {"verification-token": token, "Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        sys.exit(f"message {count + 1}: {answer.status}")
    count += 1
    longest = max(longest, time.monotonic() - begun)
print(f"{count} messages on {count} connections, all answered 200; the longest took {longest:.1f} s")
