"""An agent in a pod, run by the image's Python: it knows a base URL, and says what became of each call, a line each.

PAUSE (seconds) between rounds, MODELS asked in each, DIRECT the provider's own address, LAST rounds after SIGTERM.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from urllib.parse import urlsplit

ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))


def ask(base: str, model: str) -> tuple[int, str]:
    """Status and what was said; 0 where there was no connection."""
    url = urlsplit(base)
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ.get("OPENAI_API_KEY", "-")}
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=15)
    try:
        connection.request("POST", f"{url.path}/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        read = json.loads(answer.read())
        error = read.get("error", {})
        return answer.status, error.get("message", "") if error else read["choices"][0]["message"]["content"]
    except (OSError, ValueError, http.client.HTTPException) as error:
        return 0, type(error).__name__
    finally:
        connection.close()


def tell(what: str, base: str, model: str) -> int:
    """Ask, and write it down."""
    status, said = ask(base, model)
    print(json.dumps({"at": time.time(), "what": what, "status": status, "said": said[:200]}), flush=True)
    return status


base = os.environ["OPENAI_BASE_URL"]
last = int(os.environ.get("LAST", "3"))
while last > 0:
    if ended:
        last -= 1
    for model in os.environ.get("MODELS", "small,large").split(","):
        tell(("after SIGTERM: " if ended else "") + model, base, model)
    if os.environ.get("DIRECT"):
        tell("direct", os.environ["DIRECT"], "small")
    time.sleep(float(os.environ.get("PAUSE", "1")))
print(json.dumps({"at": time.time(), "what": "ended", "status": 0, "said": ""}), flush=True)
