# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""HTML pages without other files: what `sarnn inspect` and `sarnn evaluate` show in a browser."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.files import write_text

Rows = Sequence[Sequence[str]]
#: A longer table is folded away until asked for.
MAX_OPEN_ROWS = 20
#: Of the page, pixels.
ENLARGED_HEIGHT = 150


def write_html(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write a page.

    :param parts: HTML, one element each.
    :raises OSError: it cannot be written.
    """
    heading = html.escape(title)
    write_text(path, _PAGE.replace("TITLE", heading).replace("CONTENT", "\n".join(parts)))


def table(heads: Sequence[str], rows: Rows) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    head = "".join(f"<th>{html.escape(one)}</th>" for one in heads)
    shown = f"<table><tr>{head}</tr>{body}</table>"
    return folded(f"{len(rows)} rows", shown) if len(rows) > MAX_OPEN_ROWS else shown


def folded(summary: str, content: str) -> str:
    """:param content: HTML, which a click on the summary shows."""
    return f"<details><summary>{html.escape(summary)}</summary>{content}</details>"


def figure(content: str, caption: str) -> str:
    """Both are HTML."""
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"


def picture(image: NDArray[np.uint8]) -> str:
    """uint8 (H, W, 3) RGB, as an element."""
    return f'<img src="{image_url(image, "jpg")}">'


def enlarged(image: NDArray[np.uint8]) -> str:
    """A model image with its pixels visible, about `ENLARGED_HEIGHT` high."""
    rows, columns = image.shape[:2]
    side = max(1, round(ENLARGED_HEIGHT / rows))
    size = f'width="{columns * side}" height="{rows * side}"'
    url = image_url(image, "png")
    return f'<img class="model" {size} src="{url}" title="{columns} x {rows}">'


def image_url(image: NDArray[np.uint8], kind: str) -> str:
    """The file's content in place of its address."""
    encoded = cv2.imencode(f".{kind}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    return data_url(encoded, kind)


def data_url(content: bytes, kind: str) -> str:
    """:param kind: of image, as the file's name would end."""
    name = {"jpg": "jpeg"}.get(kind, kind)
    return f"data:image/{name};base64,{base64.b64encode(content).decode()}"


_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>TITLE</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em }
table { border-collapse: collapse; margin-bottom: 1em }
td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: left }
p.error, p.warning, p.note { border-left: .4em solid; padding-left: .8em }
p.error { border-color: #c0392b }
p.warning { border-color: #d4a017 }
p.note { border-color: #2980b9 }
figure { display: inline-block; margin: 0 .8em .8em 0; vertical-align: top }
figcaption { font-size: 13px }
img.model { image-rendering: pixelated }
img, svg { margin: 0 .4em .4em 0; border: 1px solid #ccc; vertical-align: top; max-width: 100% }
</style>
<h1>TITLE</h1>
CONTENT
"""
