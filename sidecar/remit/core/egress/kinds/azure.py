"""Azure OpenAI: by deployment (its name is the model's), and the v1 paths, which are OpenAI's."""

from __future__ import annotations

import re

from remit.core.egress.exchange import Mapped, Unmapped
from remit.core.egress.kinds.call import Call
from remit.core.egress.kinds.chat import MINI_IMAGE_TOKENS, map_chat
from remit.core.egress.kinds.fields import checked_model
from remit.core.egress.kinds.openai import map_below, map_embeddings, map_images

_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?|preview|latest|v1", re.ASCII)


def map_azure(call: Call) -> Mapped | None:
    """The request as one of Azure OpenAI's; None for a path that is none of those known here."""
    if call.segments[:2] == ("openai", "v1"):
        _version(call, required=False)
        return map_below(call, "openai", "v1", image_tokens=MINI_IMAGE_TOKENS)
    if call.request.method != "POST" or call.segments[:2] != ("openai", "deployments") or len(call.segments) < 4:
        return None
    deployment = call.segments[2]
    mappers = {
        ("chat", "completions"): lambda name: map_chat(call, model=name, image_tokens=MINI_IMAGE_TOKENS),
        ("embeddings",): lambda name: map_embeddings(call, model=name),
        ("images", "generations"): lambda name: map_images(call, model=name),
    }
    found = mappers.get(call.segments[3:])
    if found is None:
        return None
    _version(call, required=True)
    return found(checked_model(deployment, "the deployment"))


def _version(call: Call, *, required: bool) -> None:
    version = call.query("api-version").get("api-version")
    if required and version is None:
        raise Unmapped("the query has no api-version")
    if version is not None and not _VERSION.fullmatch(version):
        raise Unmapped("the query's api-version is none")
